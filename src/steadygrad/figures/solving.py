"""Updates to solve, a dot a seed: a panel a problem, a row a network."""

import pathlib

from steadygrad.figures import groups, tables
from steadygrad.figures.labels import label
from steadygrad.plots import style

_HEIGHT = 0.155  # Inches of a row.
_APART = 0.11  # Of a row, between two seeds that took the same time.


def draw(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture.

  A dot is a seed that solved the problem, at its updates; at the right stands
  how many of all did. Rows are in the order of the table of comparators.

  Raises:
    ValueError: if seeds of one network and problem differ in another setting.
  """
  found = tables.by_problem(runs)
  problems = tables.problems_of(found)
  rows = sum(len(row) for row in found.values())
  height = rows * _HEIGHT + 0.35 * len(problems) + 0.7
  counts = [sum(p in row for row in found.values()) for p in problems]
  figure, axes = style.new(
    height,
    len(problems),
    squeeze=False,
    sharex=True,
    gridspec_kw={"height_ratios": counts},
  )
  most = max(run["config"]["max_updates"] for run in runs)
  for axis, problem in zip(axes[:, 0], problems, strict=True):
    rows = [name for name in found if problem in found[name]]
    for height, name in enumerate(reversed(rows)):
      _row(axis, height, found[name][problem], most)
    axis.set_yticks(range(len(rows)), [_name(n) for n in reversed(rows)])
    axis.tick_params(axis="y", labelsize=5.5, length=0)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xscale("log")
    chance = found[rows[0]][problem][0]["chance_error"]
    name = tables.problem_name(problem)
    # On the right: long names would run out of the picture there.
    title = f"{name} (chance: {chance:.0%} wrong)"
    axis.set_title(title, loc="right", fontsize=7, pad=3)
  axes[-1, 0].set_xlabel("updates to solve")
  sizes = groups.span(
    [len(m) for row in found.values() for m in row.values()], "d"
  )
  figure.suptitle(
    f"{sizes} seeds each, cut at {groups.budget(runs)} updates; right: solved",
    fontsize=6,
  )
  style.clean(*axes[:, 0])
  style.save(figure, path)


def _name(network: tuple) -> str:
  config = tables.network_config(network)
  method = label(config, ("optimizer",)).replace("Ω", "$\\Omega$")
  return f"{label(config, ('model',))}, {method}"


def _offsets(updates: list[int]) -> list[float]:
  """Heights that show seeds of the same number of updates one by one."""
  found = []
  for i, value in enumerate(updates):
    before, all_ = updates[:i].count(value), updates.count(value)
    found.append(_APART * (before - (all_ - 1) / 2))
  return found


def _row(axis, height: int, members: list[dict], most: int) -> None:
  updates = groups.updates_to_solve(members)
  axis.axhline(height, color="0.85", lw=0.4, zorder=0)
  axis.plot(
    updates,
    [height + offset for offset in _offsets(updates)],
    ls="",
    marker="o",
    ms=2,
    mew=0,
    color=style.BLUE,
  )
  solved = groups.solved(members)[0]
  axis.annotate(
    f"{solved} of {len(members)}",
    (1.01, height),
    xycoords=("axes fraction", "data"),
    va="center",
    fontsize=5.5,
    annotation_clip=False,
  )
  axis.set_xlim(100, 2 * most)
