"""Table 1 in Markdown: the paper's numbers, and ours from records.

Every number of ours is a mean over seeds, with the standard deviation over
them, at the pass with the best validation error. Records of one data set and
method are put together; which configuration they have stands below.
"""

from collections.abc import Callable

import numpy as np

from steadygrad import records
from steadygrad.figures.labels import METHODS
from steadygrad.training.config import TEXT, differences

# (data set, algorithm) -> {field: value} of the paper's settings.
Preset = Callable[[str, str], dict]

HELPS = {"msgd": "", "msgd_c": ", clipped", "msgd_cr": ", clipped, Ω"}
OPTIMIZERS = {"sgd": "SGD", "nesterov": "Nesterov", "adam": "Adam"}
OPTIMIZERS["adamw"] = "AdamW"
CELLS = {"elman": "the paper's network", "lstm": "LSTM"}
NAMES = {
  "piano": "Piano-midi.de",
  "nottingham": "Nottingham",
  "musedata": "MuseData",
  "jsb": "JSB chorales",
  "ptb": "Penn Treebank, next character",
  "ptb5": "Penn Treebank, 5th character",
}
# ICML, Table 1: MSGD, MSGD+C, MSGD+CR, the best RNN and the best of all then.
PAPER = {
  ("piano", "train"): (6.87, 6.81, 7.01, 7.04, 6.32),
  ("piano", "test"): (7.56, 7.53, 7.46, 7.57, 7.05),
  ("nottingham", "train"): (3.67, 3.21, 2.95, 3.20, 1.81),
  ("nottingham", "test"): (3.80, 3.48, 3.36, 3.43, 2.31),
  ("musedata", "train"): (8.25, 6.54, 6.43, 6.47, 5.20),
  ("musedata", "test"): (7.11, 7.00, 6.97, 6.99, 5.60),
  ("ptb", "train"): (1.46, 1.34, 1.36, None, None),
  ("ptb", "test"): (1.50, 1.42, 1.41, 1.41, 1.37),
  ("ptb5", "train"): (None, 3.76, 3.70, None, None),
  ("ptb5", "test"): (None, 3.89, 3.74, None, None),
}


def network(config: dict, paper: Preset) -> str:
  """The text "elman" as in the paper's preset; what else there is, by name."""
  words = [config["optimizer"], config["init"], *budget(config, paper)]
  usual = paper(config["data"], config["algorithm"])["init"]
  if config["model"] != "elman" or words == ["sgd", usual]:
    return config["model"]
  return ", ".join([config["model"], *words])


def budget(config: dict, paper: Preset) -> list[str]:
  """Rate, passes at most, when it is halved: what is not as in the preset."""
  preset = paper(config["data"], config["algorithm"])
  if config["optimizer"] != "sgd":
    return []
  words = {
    "learning_rate": "rate {:g}",
    "max_epochs": "up to {} passes",
    "min_gain": "rate halved under a gain of {:.1%}",
  }
  told = [
    text.format(config[name])
    for name, text in words.items()
    if name in preset and config[name] != preset[name]
  ]
  # Records may be older than the field.
  if average := config.get("average"):
    told.append(f"weights averaged by {average:g} an update")
  return told


def groups(found: list[dict], paper: Preset) -> dict[tuple, list[dict]]:
  """{(data, network, algorithm): records}, in the table's order.

  Raises:
    ValueError: if two records of one group hold the same seed or differ in
      their settings.
  """
  out: dict[tuple, list[dict]] = {}
  for record in found:
    config = record["config"]
    key = config["data"], network(config, paper), config["algorithm"]
    out.setdefault(key, []).append(record)
  for key, same in out.items():
    for record in same[1:]:
      other = differences(same[0]["config"], record["config"])
      if named := other.keys() - {"seeds", "first_seed"}:
        raise ValueError(
          f"records of {', '.join(key)} differ in {', '.join(sorted(named))};"
          " give those of one configuration"
        )
    seeds = [s for record in same for s in seeds_of(record)]
    if len(set(seeds)) != len(seeds):
      raise ValueError(
        f"records of {', '.join(key)} hold the same seed twice: {seeds}; give"
        " those of one configuration"
      )
  order = list(NAMES)
  return dict(sorted(out.items(), key=lambda x: (order.index(x[0][0]), x[0])))


def seeds_of(record: dict) -> range:
  """The seeds of a record."""
  config = record["config"]
  return range(config["first_seed"], config["first_seed"] + config["seeds"])


def values(same: list[dict], name: str) -> np.ndarray:
  """Of every seed; NaN for one that diverged in its first pass."""
  each = [records.numbers(r["results"].get(name, [])) for r in same]
  return np.concatenate(each)


def cell(same: list[dict], name: str) -> str:
  """Mean ± standard deviation over seeds, and how many there are."""
  found = values(same, name)
  good = found[np.isfinite(found)]
  if not len(found):
    return "–"
  if not len(good):
    return f"diverged ({len(found)})"
  digits = 3 if same[0]["config"]["data"] in TEXT else 2
  text = f"{good.mean():.{digits}f}"
  if len(good) > 1:
    text += f" ± {good.std(ddof=1):.{digits}f}"
  lost = len(found) - len(good)
  return text + f" ({len(good)}" + (f", {lost} diverged)" if lost else ")")


def _number(value: float | None) -> str:
  return "–" if value is None else f"{value:.2f}"


def main_table(grouped: dict) -> list[str]:
  """A row for each data set and fold, the paper's number before ours."""
  lines = [
    "| data | fold | "
    + " | ".join(f"{n}, paper | ours" for n in METHODS.values())
    + " | best RNN then | best then | first-order model |",
    "|---|---|" + "---|" * (2 * len(METHODS) + 3),
  ]
  for data in NAMES:
    own = {a: grouped.get((data, "elman", a), []) for a in METHODS}
    if not any(own.values()):
      continue
    some = next(r for r in own.values() if r)[0]["results"]
    folds = ["train", "test"]
    if "test_per_piece" in some:
      folds += ["train_per_piece", "test_per_piece"]
    for fold in folds:
      paper = PAPER.get((data, fold), (None,) * 5)
      words = [NAMES[data], fold.replace("_per_piece", ", mean of pieces")]
      for known, same in zip(paper, own.values(), strict=False):
        words += [_number(known), cell(same, fold) if same else "–"]
      words += [_number(known) for known in paper[3:]]
      words.append(_number(some["floors"]["first_order"][fold]))
      lines.append(f"| {' | '.join(words)} |")
  return lines


def other_table(grouped: dict, paper: Preset) -> list[str]:
  """What the paper does not have: its network trained otherwise, an LSTM."""
  others = {k: v for k, v in grouped.items() if k[1] != "elman"}
  if not others:
    return []
  lines = [
    "",
    "| data | network | parameters | train | valid | test |",
    "|---|---|---|---|---|---|",
  ]
  for (data, _, algorithm), same in others.items():
    config = same[0]["config"]
    how = OPTIMIZERS[config["optimizer"]] + HELPS[algorithm]
    how = [CELLS[config["model"]], how, f"from {config['init']}"]
    if config["model"] == "elman":
      how += budget(config, paper)
    words = [NAMES[data], ", ".join(how)]
    words.append(str(same[0]["results"]["parameters"]))
    words += [cell(same, fold) for fold in ("train", "valid", "test")]
    lines.append(f"| {' | '.join(words)} |")
  return lines


def settings(grouped: dict) -> list[str]:
  """One line for each group: what decides it, passes, and how it ended."""
  shown = (
    "hidden_size", "init", "optimizer", "batch_size", "learning_rate",
    "max_norm", "omega_weight", "omega_decay", "go_back",
  )  # fmt: skip
  lines = [""]
  for (data, kind, algorithm), same in grouped.items():
    config = same[0]["config"]
    told = ", ".join(f"{name} {config[name]}" for name in shown)
    passes = values(same, "epochs").astype(int).tolist()
    best = values(same, "best_epoch").astype(int).tolist()
    ends = sorted({s for r in same for s in r["results"]["status"]})
    lines.append(
      f"- {NAMES[data]}, {kind}, {METHODS[algorithm]}: {told}; passes"
      f" {passes}, best {best}, {' and '.join(ends)}; parameters"
      f" {same[0]['results']['parameters']}."
    )
  return lines


def markdown(found: list[dict], *, paper: Preset) -> str:
  """The table, and the settings of every group.

  Args:
    found: records on music and text.
    paper: the settings that need no mention, of (data set, algorithm).

  Raises:
    ValueError: as `groups`.
  """
  grouped = groups(found, paper)
  text = [
    "Nats per step for music, bits per character for text; music as the mean"
    " over all steps unless said otherwise. Ours: mean ± standard deviation"
    " over seeds (number of seeds), at the best validation error's pass.",
    "",
  ]
  lines = main_table(grouped) + other_table(grouped, paper)
  return "\n".join(text + lines + settings(grouped))
