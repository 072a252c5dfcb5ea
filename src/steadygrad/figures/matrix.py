"""Which network solves which problem: a field each, dark where all seeds do."""

import pathlib

import numpy as np

from steadygrad.figures import groups, tables
from steadygrad.figures.labels import label
from steadygrad.plots import style

_ROW, _NAMES = 0.2, 1.3  # Inches.
_SMALL = 5.0
_DARKEST = 1.5  # Share that would be black.


def draw(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture: a row a network, a column a problem.

  A field is as dark as the share of seeds that solved the problem. In it stand
  how many did, and the median of their updates; a dash was not run.

  Raises:
    ValueError: if seeds of one network and problem differ in another setting.
  """
  found = tables.by_problem(runs)
  problems = tables.problems_of(found)
  height = _ROW * len(found) + _NAMES + 0.25
  figure, axis = style.new(height)
  shares = np.full((len(found), len(problems)), np.nan)
  for y, row in enumerate(found.values()):
    for x, problem in enumerate(problems):
      if problem not in row:
        axis.text(x, y, "–", ha="center", va="center", fontsize=_SMALL)
        continue
      shares[y, x] = _field(axis, x, y, row[problem])
  axis.imshow(shares, cmap="Greys", vmin=0, vmax=_DARKEST, aspect="auto")
  axis.set_yticks(range(len(found)), _names(list(found)))
  names = [
    f"{tables.problem_name(p)}\n(chance {_chance(found, p):.0%} wrong)"
    for p in problems
  ]
  axis.set_xticks(range(len(problems)), names, rotation=60, ha="left")
  axis.tick_params(
    labelsize=_SMALL, length=0, labeltop=True, labelbottom=False, pad=1
  )
  axis.set_xticks(np.arange(len(problems)) + 0.5, minor=True)
  axis.set_yticks(np.arange(len(found)) + 0.5, minor=True)
  axis.grid(which="minor", color="0.8", lw=0.4)
  axis.tick_params(which="minor", length=0)
  axis.spines[:].set_visible(False)
  figure.supxlabel(_told(found), fontsize=_SMALL + 1)
  style.save(figure, path)


def _field(axis, x: int, y: int, members: list[dict]) -> float:
  """Writes what stands in a field; the share of seeds that solved."""
  number, *_ = groups.solved(members)
  share = number / len(members)
  said = f"{number}/{len(members)}"
  if number:
    said += f"\n{np.median(groups.updates_to_solve(members)):.0f}"
  color = "white" if share > 0.7 else "black"
  place = dict(ha="center", va="center", linespacing=0.95)
  axis.text(x, y, said, fontsize=_SMALL - 0.5, color=color, **place)
  return share


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


def _told(found: dict) -> str:
  members = [m for row in found.values() for m in row.values()]
  seeds = groups.span([len(m) for m in members], "d")
  budget = groups.budget([run for m in members for run in m])
  return (
    "above: solved / seeds; below: median of the updates to solve\n"
    f"{seeds} seeds each, cut at {budget} updates"
  )
