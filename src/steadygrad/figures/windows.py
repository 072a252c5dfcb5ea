"""Windows of learning rates in which all seeds learn, rule by rule.

A seed has learned a task once 18 of 20 losses in a row were under .05, see
`training.stability`, and a text once its validation error was under 2.5 bits a
character. The window of a rule is its longest contiguous stretch of rates at
which all seeds learned, the lower one of two as long. It is open at an end
where the grid of rates ends too.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from steadygrad.figures import groups
from steadygrad.figures.labels import OPTIMIZERS, RULES, WORDS, label
from steadygrad.figures.tables import markdown
from steadygrad.plots import style
from steadygrad.training.evaluation import wilson_interval

_NETWORK = ("model", "forget_bias", "leak", "layers", "positions")
_RULE = ("algorithm", "clip", "max_norm")
_BITS = 2.5  # A text whose validation error is lower has been learned.
# These have a place in the picture; others are not in it.
_ORDER = ("none", *(rule for rule in RULES if rule != "none"))


class Window(NamedTuple):
  """What became of a rule with a network and an optimiser.

  Attributes:
    points: {rate: runs}, lowest rate first.
    rates: of the window, lowest first; empty if there is none.
  """

  points: dict[float, list[dict]]
  rates: list[float]

  @property
  def open(self) -> tuple[bool, bool]:
    """Whether the grid of rates ends where the window begins, and ends."""
    tried = list(self.points)
    if not self.rates:
      return False, False
    return self.rates[0] == tried[0], self.rates[-1] == tried[-1]

  @property
  def runs(self) -> list[dict]:
    """The runs in the window; without one, those of the best rate."""
    if self.rates:
      return [run for rate in self.rates for run in self.points[rate]]
    return max(self.points.values(), key=_learned)


def windows(runs: Sequence[dict]) -> dict[tuple, dict[str, Window]]:
  """{(network, optimiser): {rule: its window}}.

  Raises:
    ValueError: if a run has no "stability", is of music, or runs differ in more
      than network, optimiser, rule, rate and seed.
  """
  if not all("stability" in run for run in runs):
    raise ValueError(
      "records must be of runs that say when they learned, which they did not"
      " before there was `stability` in results"
    )
  if not all(_is_text(run) or "task" in run["config"] for run in runs):
    raise ValueError("records must be of tasks or of text, got some of music")
  fields = (*_NETWORK, "optimizer", *_RULE, "learning_rate")
  groups.check_same(runs, (*fields, "hidden_size", "weight_decay"))
  found: dict[tuple, dict[tuple, dict]] = {}
  for key, members in groups.by(runs, fields).items():
    config = members[0]["config"]
    panel = label(config, ("model",)), OPTIMIZERS[config["optimizer"]]
    rule = _ORDER.index(_clip(config)), _name(config)
    points = found.setdefault(panel, {}).setdefault(rule, {})
    points[key[-1]] = members
  return {
    panel: {
      name: Window(points, _longest(points))
      for (_, name), points in sorted(rules.items())
    }
    for panel, rules in found.items()
  }


def _clip(config: dict[str, Any]) -> str:
  return "none" if config["algorithm"] == "msgd" else config["clip"]


def _name(config: dict[str, Any]) -> str:
  """Such as "Algorithm 1 at 1"."""
  rule = RULES[_clip(config)]
  threshold = WORDS["max_norm"](config)
  omega = " and Ω" if config["algorithm"] == "msgd_cr" else ""
  return f"{rule}{f' at {threshold}' if threshold else ''}{omega}"


def _is_text(run: dict) -> bool:
  return run.get("unit") == "bits per character"


def _has_learned(run: dict) -> bool:
  if _is_text(run):
    return float(run["valid"]) < _BITS
  return run["stability"]["learned_at"] is not None


def _learned(runs: Sequence[dict]) -> int:
  return sum(map(_has_learned, runs))


def _longest(points: dict[float, list[dict]]) -> list[float]:
  """The longest stretch of neighbouring rates at which all seeds learned."""
  best, now = [], []
  for rate, members in points.items():
    now = [*now, rate] if _learned(members) == len(members) else []
    best = now if len(now) > len(best) else best
  return best


def _spikes(runs: Sequence[dict]) -> float:
  """Spikes in 1,000 updates."""
  seen = [run["stability"] for run in runs]
  return 1000 * sum(s["spikes"] for s in seen) / sum(s["updates"] for s in seen)


def table(runs: Sequence[dict]) -> str:
  """A row for each network, optimiser and rule.

  Learned are seeds in the window, or without one at the best rate, with the
  95 % interval of Wilson. What follows is of the same runs.
  """
  header = ["network", "optimiser", "rule", "window of rates", "tried"]
  measure = "bits a character" if _is_text(runs[0]) else "updates to learn"
  header += ["learned, 95 % interval", f"{measure}, median (range)"]
  header += ["spikes in 1,000 updates", "largest loss, median", "acted"]
  rows = []
  for (network, optimizer), rules in windows(runs).items():
    for name, window in rules.items():
      rows.append([network, optimizer, name, *_cells(window)])
  return markdown(header, rows)


def _cells(window: Window) -> list[str]:
  runs = window.runs
  number = _learned(runs)
  low, high = wilson_interval(number, len(runs))
  seen = [run["stability"] for run in runs]
  good = [run for run in runs if _has_learned(run)]
  if _is_text(runs[0]):
    measure = groups.median_and_range([run["valid"] for run in good], ".3f")
  else:
    at = [run["stability"]["learned_at"] for run in good]
    measure = groups.median_and_range(at, ".0f")
  acted = sum(s["clipped"] + s["skipped"] for s in seen)
  return [
    _told(window),
    f"{len(window.points)}",
    f"{number} of {len(runs)}, {low:.0%} to {high:.0%}",
    measure,
    f"{_spikes(runs):.2g}",
    f"{np.median([float(s['largest_loss']) for s in seen]):.3g}",
    f"{acted / sum(s['updates'] for s in seen):.0%}",
  ]


def _told(window: Window) -> str:
  """Such as ".03 to 1 (4)", with ≤ and ≥ where the grid ends."""
  if not window.rates:
    return "none"
  first, last = window.rates[0], window.rates[-1]
  begins, ends = window.open
  below, above = "≤ " if begins else "", "≥ " if ends else ""
  if len(window.rates) == 1:
    return f"{below}{above}{first:g} (1)"
  return f"{below}{first:g} to {above}{last:g} ({len(window.rates)})"


def draw(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture: a panel for each network and optimiser.

  Raises:
    ValueError: as `windows`.
  """
  found = windows(runs)
  networks = list(dict.fromkeys(network for network, _ in found))
  optimizers = [
    o for o in OPTIMIZERS.values() if any(o == own for _, own in found)
  ]
  rules = max(len(own) for own in found.values())
  figure, axes = style.new(
    (0.13 * rules + 0.35) * len(networks) + 0.5,
    len(networks),
    len(optimizers),
    squeeze=False,
    sharex="col",
  )
  for row, network in zip(axes, networks, strict=True):
    both = [found.get((network, optimizer), {}) for optimizer in optimizers]
    names = list(dict.fromkeys(name for own in both for name in own))
    for axis, own, optimizer in zip(row, both, optimizers, strict=True):
      _panel(axis, {name: own.get(name) for name in names})
      axis.set_title(f"{network}, {optimizer}", fontsize=6, pad=3)
    for axis in row[1:]:
      axis.set_yticklabels([])
  for axis in axes[-1]:
    axis.set_xlabel("learning rate")
  seeds = groups.span(
    [
      len(members)
      for own in found.values()
      for window in own.values()
      for members in window.points.values()
    ],
    "d",
  )
  figure.suptitle(
    f"{_trained(runs)}, {seeds} seeds a rate;\nbar: all seeds"
    " learn, arrow: the grid ends; right: spikes in 1,000 updates",
    fontsize=6,
  )
  style.save(figure, path)


def _trained(runs: Sequence[dict]) -> str:
  """What was trained on, and for how long."""
  config = runs[0]["config"]
  updates = [run["stability"]["updates"] for run in runs]
  if _is_text(runs[0]):
    # One that diverges ends before.
    text = f"characters of {config['data']}, learned under {_BITS} bits"
    return f"{text}, {max(updates)} updates"
  task = config["task"].replace("_", " ")
  steps = label(config, ("length",))
  return f"{task}, {steps} steps, {groups.budget(runs)} updates"


def _panel(axis, rules: dict[str, Window | None]) -> None:
  """A bar for each rule, on top of the rates that were tried."""
  for place, window in enumerate(rules.values()):
    if window is None:
      continue
    for rate, members in window.points.items():
      share = _learned(members) / len(members)
      axis.plot(
        rate, place, "o", ms=2.2, mew=0.5, color=style.GREY,
        mfc="none" if share < 1 else style.BLUE,
        alpha=1.0 if share else 0.35,
      )  # fmt: skip
    if not window.rates:
      continue
    first, last = window.rates[0], window.rates[-1]
    axis.plot(
      [first, last], [place] * 2, color=style.BLUE, lw=3, alpha=0.6,
      solid_capstyle="butt",
    )  # fmt: skip
    for rate, ends, mark in zip((first, last), window.open, "<>", strict=True):
      axis.plot(
        rate, place, mark if ends else "|", ms=4, color=style.BLUE, mew=0.8
      )
    axis.annotate(
      f"{_spikes(window.runs):.2g}", (1.01, place),
      xycoords=("axes fraction", "data"), va="center", fontsize=5,
      color=style.RED, annotation_clip=False,
    )  # fmt: skip
  axis.set_xscale("log")
  axis.set_yticks(range(len(rules)), list(rules), fontsize=5)
  axis.tick_params(axis="x", labelsize=6)
  axis.set_ylim(len(rules) - 0.5, -0.5)
  style.clean(axis)
