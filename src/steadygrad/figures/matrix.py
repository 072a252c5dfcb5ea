"""Which network solves which problem: a field each, dark where all seeds do."""

import pathlib

import numpy as np

from steadygrad.figures import groups, tables
from steadygrad.figures.labels import label
from steadygrad.plots import style

_ROW = 0.2  # Inches.
_SMALL = 5.0
_DARKEST = 1.5  # Share that would be black.
SOLVED = 0.01


def draw(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture: a row a network, a column a problem.

  A field is as dark as the share of seeds that solved the problem. In it stand
  how many did, and the median of their updates; a dash was not run.

  Raises:
    ValueError: if seeds of one network and problem differ in another setting.
  """
  found = tables.by_problem(runs)
  problems = tables.problems_of(found)
  fields = {
    (y, x): _solved(row[problem])
    for y, row in enumerate(found.values())
    for x, problem in enumerate(problems)
    if problem in row
  }
  columns = [
    f"{tables.problem_name(p)}\n(chance {_chance(found, p):.0%} wrong)"
    for p in problems
  ]
  members = [m for row in found.values() for m in row.values()]
  told = (
    "above: solved / seeds; below: median of the updates to solve\n"
    f"{_seeds(members)} seeds each, cut at"
    f" {groups.budget([run for m in members for run in m])} updates"
  )
  _draw(path, _names(list(found)), columns, fields, told)


def draw_lengths(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture: a row a network, a column a length of the test.

  Of runs that solved one problem and that `evaluate.py --test=lengths` has
  tested. A field is as dark as the share of them that are under 1 % wrong at
  this length; in it stand how many are, and the median error.

  Raises:
    ValueError: if no run was tested, or they are of several problems.
  """
  tested = [run for run in runs if "generalisation" in run]
  found = tables.by_problem(tested)
  problems = tables.problems_of(found)
  if len(problems) != 1:
    names = "; ".join(map(tables.problem_name, problems)) or "none"
    raise ValueError(
      f"records must hold tested runs of one problem, got {names}"
    )
  members = [row[problems[0]] for row in found.values()]
  lengths = sorted(
    {n for run in tested for n in run["generalisation"]["lengths"]}
  )
  fields = {}
  for y, group in enumerate(members):
    for x, length in enumerate(lengths):
      if errors := _errors(group, length):
        fields[y, x] = _right(errors)
  told = (
    "above: under 1 % wrong / seeds that solved; below: median error\n"
    f"trained at {tables.problem_name(problems[0])} steps, {_seeds(members)}"
    f" seeds each, chance {tested[0]['chance_error']:.0%} wrong"
  )
  columns = [str(length) for length in lengths]
  _draw(path, _names(list(found)), columns, fields, told)


def _draw(
  path: str | pathlib.Path,
  rows: list[str],
  columns: list[str],
  fields: dict[tuple[int, int], tuple[float, str]],
  told: str,
) -> None:
  """Writes fields {(row, column): (darkness, text)}; a dash where none is."""
  turned = any(len(name) > 6 for name in columns)
  height = _ROW * len(rows) + 0.55 + (0.95 if turned else 0)
  figure, axis = style.new(height)
  shares = np.full((len(rows), len(columns)), np.nan)
  for place in np.ndindex(shares.shape):
    shares[place], text = fields.get(place, (np.nan, "–"))
    axis.text(
      *place[::-1],
      text,
      fontsize=_SMALL - 0.5,
      color="white" if shares[place] > 0.7 else "black",
      ha="center",
      va="center",
      linespacing=0.95,
    )
  axis.imshow(shares, cmap="Greys", vmin=0, vmax=_DARKEST, aspect="auto")
  axis.set_yticks(range(len(rows)), rows)
  turn = dict(rotation=60, ha="left") if turned else {}
  axis.set_xticks(range(len(columns)), columns, **turn)
  axis.tick_params(
    labelsize=_SMALL, length=0, labeltop=True, labelbottom=False, pad=1
  )
  axis.set_xticks(np.arange(len(columns)) + 0.5, minor=True)
  axis.set_yticks(np.arange(len(rows)) + 0.5, minor=True)
  axis.grid(which="minor", color="0.8", lw=0.4)
  axis.tick_params(which="minor", length=0)
  axis.spines[:].set_visible(False)
  figure.supxlabel(told, fontsize=_SMALL + 1)
  style.save(figure, path)


def _solved(members: list[dict]) -> tuple[float, str]:
  """What stands in a field of a problem."""
  number, *_ = groups.solved(members)
  said = f"{number}/{len(members)}"
  if number:
    said += f"\n{np.median(groups.updates_to_solve(members)):.0f}"
  return number / len(members), said


def _errors(members: list[dict], length: int) -> list[float]:
  """Of the runs that were tested at this length."""
  found = [dict(zip(*_tested(run), strict=True)) for run in members]
  return [errors[length] for errors in found if length in errors]


def _tested(run: dict) -> tuple[list[int], list[float]]:
  return run["generalisation"]["lengths"], run["generalisation"]["errors"]


def _right(errors: list[float]) -> tuple[float, str]:
  """What stands in a field of a length."""
  number = sum(error < SOLVED for error in errors)
  said = f"{number}/{len(errors)}\n{np.median(errors):.1%}"
  return number / len(errors), said


def _seeds(members: list[list[dict]]) -> str:
  return groups.span([len(m) for m in members], "d")


def _names(networks: list[tuple]) -> list[str]:
  """A name each; with the rate where two would have the same."""
  configs = [tables.network_config(network) for network in networks]
  names = [
    f"{label(c, ('model',))}, {label(c, ('optimizer',))}" for c in configs
  ]
  rates = [
    f" at {c['learning_rate']:g}" if names.count(name) > 1 else ""
    for name, c in zip(names, configs, strict=True)
  ]
  return [
    f"{name}{rate}".replace("Ω", "$\\Omega$")
    for name, rate in zip(names, rates, strict=True)
  ]


def _chance(found: dict, problem: tuple) -> float:
  return next(
    row[problem][0]["chance_error"] for row in found.values() if problem in row
  )
