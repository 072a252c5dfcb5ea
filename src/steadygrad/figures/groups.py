"""Runs of one setting, several seeds: what figures of sweeps share."""

from collections.abc import Iterable, Sequence

import numpy as np

from steadygrad.figures.labels import INITS, SHORT, label
from steadygrad.runs import gather
from steadygrad.training.evaluation import wilson_interval

# What tells one setting of a task from another.
SETTINGS = ("task", "length", "max_length", "algorithm", "init", "form")
SETTINGS += ("hidden_size", "learning_rate", "max_norm", "omega_weight")
SETTINGS += ("start", "initial_state_scale", "solved_below")
SETTINGS += ("readout_learning_rate", "label_smoothing")
SETTINGS += ("learning_rate_half_life", "start_speed", "clip")
# What `settings` tells.
_SHOWN = ("hidden_size", "learning_rate", "clip", "max_norm", "omega_weight")
_SHOWN += ("readout_learning_rate", "init", "initial_state_scale")
_SHOWN += ("label_smoothing", "start", "start_speed", "solved_below")
# What runs of one point may differ in.
_SEEDS = ("seeds", "first_seed", "max_updates")


def check_same(runs: Iterable[dict], but: tuple[str, ...] = ()) -> None:
  """ValueError if runs differ in more than seed, budget, and these fields.

  What an algorithm does not look at is no difference.
  """
  seen: dict[str, object] = {}
  for run in runs:
    for field, value in gather.settings_of(run).items():
      if field in _SEEDS or field in but:
        continue
      if seen.setdefault(field, value) != value:
        raise ValueError(
          f"runs to compare differ in {field}, {seen[field]} and {value}:"
          f" choose with --where={field}={value}"
        )


def by(runs: Iterable[dict], fields: tuple[str, ...]) -> dict[tuple, list]:
  """{values of the fields: runs}, in order of the values.

  Raises:
    ValueError: if runs of a group are no sample of one thing, see `check_same`.
  """
  groups: dict[tuple, list] = {}
  for run in runs:
    key = tuple(run["config"][field] for field in fields)
    groups.setdefault(key, []).append(run)
  for members in groups.values():
    check_same(members)
  return {key: groups[key] for key in sorted(groups, key=_in_order)}


def by_start(runs: list[dict]) -> dict[str, dict[tuple, list]]:
  """{initialisation: {(algorithm, length): runs}}, lengths fixed.

  Raises:
    ValueError: if none is left, or they differ in another thing.
  """
  fixed = [run for run in runs if run["config"]["max_length"] is None]
  varied = ("init", "form", "activation", "algorithm", "length")
  check_same(fixed, varied)
  found = {
    init: by(
      [run for run in fixed if run["config"]["init"] == init],
      ("algorithm", "length"),
    )
    for init in INITS
  }
  found = {init: points for init, points in found.items() if points}
  if not found:
    raise ValueError(
      f"records must have runs of fixed length from {', '.join(INITS)}"
    )
  return found


def sizes(starts: dict[str, dict[tuple, list]]) -> str:
  """Numbers of seeds a point."""
  return span(
    [len(m) for points in starts.values() for m in points.values()], "d"
  )


def _in_order(key: tuple):
  return [(x is not None, isinstance(x, str), x) for x in map(_number, key)]


def _number(value):
  return float("inf") if value == "inf" else value


def solved(runs: list[dict]) -> tuple[int, float, float]:
  """(number of solved runs, ends of the Wilson interval of their share)."""
  number = sum(run["outcome"] == "solved" for run in runs)
  return number, *wilson_interval(number, len(runs))


def updates_to_solve(runs: list[dict]) -> list[int]:
  """Of the solved runs."""
  return [run["updates_to_solve"] for run in runs if solved([run])[0]]


def span(values: Iterable, form: str) -> str:
  """The text "least to most", or the one value there is."""
  least, most = (format(f(values), form) for f in (min, max))
  return least if least == most else f"{least} to {most}"


def budget(runs: Sequence[dict]) -> str:
  """Updates at which the runs were cut, or would have been."""
  return span([run["config"]["max_updates"] for run in runs], "d")


def median_and_range(values: Sequence[float], form: str) -> str:
  """The text "median (least to most)", "none" without values."""
  if not values:
    return "none"
  median = format(np.median(values), form)
  if len(values) == 1:
    return median
  return (
    f"{median} ({format(min(values), form)} to {format(max(values), form)})"
  )


def told(runs: list[dict], per: str) -> str:
  """Seeds, rule, budget and chance, for under a figure."""
  rules = [run["config"].get("solved_below") or 0.01 for run in runs]
  rule = span([100 * x for x in rules], "g") + " %"
  chance = span([run["chance_error"] for run in runs], ".0%")
  size = span([run["config"]["test_size"] for run in runs], "d")
  return (
    f"{per}; cut at {budget(runs)} updates (paper: 5000000);\n"
    f"solved: under {rule} wrong of {size} fresh sequences; chance: {chance}"
    " wrong"
  )


def settings(config: dict) -> str:
  """Units, rate, what the algorithm looks at; start and rule if not usual."""
  return label(config, _SHOWN, words=SHORT)
