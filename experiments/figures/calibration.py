"""What a gradient report says, and whether the network learns."""

import math

import numpy as np

from steadygrad.plots import style

_FOOT = -30.0  # Decades; what changes by more lies at the edge.
_PANELS = {"before": "(a) before training", "after": "(b) at 1000 updates"}
_SOLVED = dict(color=style.BLUE, marker="o", s=7, lw=0)
_CHANCE = dict(facecolors="none", edgecolors=style.RED, marker="s", s=9, lw=0.6)


def draw(record: dict, path) -> None:
  """A dot a network: how its best leaf's signal changes over the sequence."""
  rows = record["curves"]
  models = sorted({row["model"] for row in rows.values()})
  figure, axes = style.new(3.3, 1, 2, sharey=True)
  for axis, (stage, title) in zip(axes, _PANELS.items(), strict=True):
    axis.axvspan(-math.log10(2), math.log10(2), color="0.85", lw=0)
    for y, model in enumerate(models):
      for solved, look in ((True, _SOLVED), (False, _CHANCE)):
        found = [
          change(row[stage], row["length"])
          for row in rows.values()
          if row["model"] == model
          and (row["updates_to_solve"] is not None) == solved
        ]
        above = y + (-0.18 if solved else 0.18)
        spread = np.linspace(-0.1, 0.1, len(found)) if found else []
        axis.scatter(found, above + np.asarray(spread), **look)
    axis.set_xlim(_FOOT - 1, 5)
    axis.set_xticks([-30, -20, -10, 0])
    style.letter(axis, title)
  axes[0].set_yticks(range(len(models)), [m.replace("_", " ") for m in models])
  axes[0].invert_yaxis()
  lengths = sorted({row["length"] for row in rows.values()})
  figure.supxlabel(
    "change of the signal over the sequence (decades)\n"
    f"{len(rows)} networks, {' or '.join(map(str, lengths))} steps; grey: the"
    " signal keeps",
    fontsize=7,
  )
  handles = [
    axes[0].scatter([], [], **_SOLVED, label="solves its task"),
    axes[0].scatter([], [], **_CHANCE, label="ends at chance"),
  ]
  figure.legend(handles=handles, loc="outside upper center", ncols=2)
  style.clean(*axes)
  style.save(figure, path)


def change(leaves: list[dict], length: int) -> float:
  """Decades by which the signal of the best leaf changes over T steps."""
  slopes = [
    float(leaf["slope"]) for leaf in leaves if leaf["verdict"] != "unread"
  ]
  best = max(slopes, default=-math.inf)
  return min(max(best * (length - 1) / math.log(10), _FOOT), -_FOOT)
