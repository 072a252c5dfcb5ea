"""Tables of sweeps, in Markdown: a row for each setting, over its seeds."""

from typing import Any

import numpy as np

from steadygrad import records
from steadygrad.figures import groups
from steadygrad.figures.labels import METHODS, label

# Success of the paper's MSGD-CR, ICML, section 4.1; arXiv v2 has 1 of 8 for the
# random permutation.
PAPER = {
  "addition": "5 of 5, one model for 50 to 200",
  "multiplication": "5 of 5, one model for 50 to 200",
  "temporal_order": "5 of 5, one model for 50 to 200",
  "three_bit_temporal_order": "5 of 5, one model for 50 to 200",
  "random_permutation": "2 of 5",
  "memorization_5_bits": "5 of 5, a model for each of 50 to 200",
  "memorization_20_bits": "5 of 5, a model for each of 50 to 200",
}
_RESULTS = (
  "seeds",
  "solved, 95 % interval",
  "updates to solve, median (range)",
  "error of the unsolved, median (range)",
  "diverged",
  "cut at",
)


def _results(runs: list[dict]) -> list[str]:
  """The cells of `_RESULTS`."""
  number, low, high = groups.solved(runs)
  unsolved = [run["test_error"] for run in runs if run["outcome"] != "solved"]
  return [
    str(len(runs)),
    f"{number}, {low:.0%} to {high:.0%}",
    groups.median_and_range(groups.updates_to_solve(runs), ".0f"),
    groups.median_and_range(unsolved, ".1%"),
    str(sum(run["outcome"] == "diverged" for run in runs)),
    groups.budget(runs),
  ]


def markdown(header: list[str], rows: list[list[str]]) -> str:
  """A table with these names of columns and these rows."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(runs: list[dict], fields: tuple[str, ...]) -> str:
  """A row for each combination of the fields' values."""
  common = ("task", "length", "max_length", "init", "algorithm")
  found = groups.by(runs, (*common, *fields))
  own = [f for f in fields if f not in common]
  rows = []
  for key, members in found.items():
    shown = dict(zip((*common, *fields), key, strict=True))
    config = shown | {"task": shown["task"].replace("_", " ")}
    rows.append(
      [
        config["task"],
        label(config, ("length",)),
        label(config, ("init",)),
        METHODS[config["algorithm"]],
        *[str(config[f]) for f in own],
        *_results(members),
        f"{members[0]['chance_error']:.3%}",
      ]
    )
  names = [f.replace("_", " ") for f in own]
  first = ["task", "length", "initialisation", "method"]
  return markdown([*first, *names, *_RESULTS, "chance"], rows)


def learning_rates(runs: list[dict]) -> str:
  """Each method at each learning rate."""
  return _table(runs, ("learning_rate",))


def omega_modes(runs: list[dict]) -> str:
  """Each form, ratio and reduction of Omega."""
  return _table(runs, ("form", "omega_ratio", "omega_reduction"))


def thresholds(runs: list[dict]) -> str:
  """Each threshold of Algorithm 1."""
  return _table(runs, ("max_norm",))


def tasks(runs: list[dict]) -> str:
  """Every task, length, method and setting, beside chance and the paper."""
  header = ["task", "length", "method", "units, rate, threshold, weight"]
  header += [*_RESULTS, "chance", "loss without input", "paper, MSGD-CR"]
  rows = []
  for key, members in groups.by(runs, groups.SETTINGS).items():
    config = dict(zip(groups.SETTINGS, key, strict=True))
    rows.append(
      [
        config["task"].replace("_", " "),
        label(config, ("length",)),
        METHODS[config["algorithm"]],
        groups.settings(config),
        *_results(members),
        f"{members[0]['chance_error']:.3%}",
        f"{members[0]['chance_loss']:.4g}",
        PAPER.get(config["task"], "not in it"),
      ]
    )
  return markdown(header, rows)


def validation(runs: list[dict]) -> str:
  """Runs on music or text by their validation error, what varies beside it.

  The test error is in no column: settings are chosen without it.
  """
  if not all("valid" in run for run in runs):
    raise ValueError("records must be runs on music and text alone")
  configs = [run["config"] for run in runs]
  varied = [
    name
    for name in configs[0]
    if len({str(config[name]) for config in configs}) > 1
  ]
  errors = records.numbers([run["valid"] for run in runs])
  order = np.argsort(np.where(np.isnan(errors), np.inf, errors), kind="stable")
  rows = [
    [
      *[str(configs[i][name]) for name in varied],
      f"{errors[i]:.4f} {runs[i]['unit']}",
      str(runs[i]["best_epoch"]),
      f"{runs[i]['outcome']} after {runs[i]['updates']}",
    ]
    for i in order
  ]
  header = [name.replace("_", " ") for name in varied]
  return markdown([*header, "validation error", "after pass", "run"], rows)


_NETWORK = ("model", "forget_bias", "leak", "layers", "positions")
_NETWORK += ("optimizer", "algorithm", "learning_rate")
_PROBLEM = ("task", "length", "max_length")


def comparators(runs: list[dict]) -> str:
  """Networks beside each other: a row for each, a column for each problem.

  A cell is solved seeds of all, and the median of their updates, or of the
  error where none is solved. A dash was not run. Below stand Wilson's intervals
  of the shares that occur.
  """
  found = by_problem(runs)
  columns = problems_of(found)
  rows = []
  for network, row in found.items():
    config = network_config(network)
    rows.append(
      [
        label(config, ("model",)),
        label(config, ("optimizer",)),
        f"{config['learning_rate']:g}",
        *[_outcome(row[p]) if p in row else "–" for p in columns],
      ]
    )
  names = map(problem_name, columns)
  table = markdown(["network", "optimiser", "rate", *names], rows)
  members = [m for row in found.values() for m in row.values()]
  return f"{table}\n\n{_intervals(members)}"


def _intervals(members: list[list[dict]]) -> str:
  """What shares of solved seeds say of a network: Wilson's intervals."""
  shares = {(len(m), *groups.solved(m)) for m in members}
  said = [
    f"{number} of {of}, {low:.0%} to {high:.0%}"
    for of, number, low, high in sorted(shares)
  ]
  return f"Intervals of 95 % (Wilson): {'; '.join(said)}."


def by_problem(runs: list[dict]) -> dict[tuple, dict[tuple, list]]:
  """{network: {problem: runs}}, in the order of the table."""
  found: dict[tuple, dict[tuple, list]] = {}
  for key, members in groups.by(runs, (*_PROBLEM, *_NETWORK)).items():
    problem, network = key[: len(_PROBLEM)], key[len(_PROBLEM) :]
    found.setdefault(network, {})[problem] = members
  return found


def problems_of(found: dict[tuple, dict[tuple, list]]) -> list[tuple]:
  """The problems of `by_problem`, by task and then length."""
  problems = {p for row in found.values() for p in row}
  return sorted(problems, key=lambda p: (p[0], p[1], p[2] or 0))


def network_config(network: tuple) -> dict[str, Any]:
  """The settings of a network of `by_problem`."""
  return dict(zip(_NETWORK, network, strict=True))


def problem_name(problem: tuple) -> str:
  """Such as "adding, 50 to 200"."""
  task, length, most = problem
  config = {"length": length, "max_length": most}
  return f"{task.replace('_', ' ')}, {label(config, ('length',))}"


def _outcome(runs: list[dict]) -> str:
  number, *_ = groups.solved(runs)
  said = f"{number} of {len(runs)}"
  if number:
    return f"{said}, {np.median(groups.updates_to_solve(runs)):.0f}"
  errors = records.numbers([run["test_error"] for run in runs])
  return f"{said}, {np.median(errors):.0%} wrong"
