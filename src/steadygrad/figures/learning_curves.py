"""Validation error against passes on music and text, a panel a data set.

Every seed is a line that ends where its training did. The dot marks the pass
whose parameters were tested.
"""

import pathlib

import numpy as np

from steadygrad import records
from steadygrad.figures import table1
from steadygrad.figures.labels import METHODS
from steadygrad.plots import style

COLUMNS = 2


def draw(
  found: list[dict], path: str | pathlib.Path, *, paper: table1.Preset
) -> None:
  """Writes the picture of records of the paper's network.

  Args:
    found: the records.
    path: of the PNG.
    paper: see `table1.markdown`.

  Raises:
    ValueError: as `table1.markdown`, or if no record is of the paper's network.
  """
  grouped = table1.groups(found, paper)
  own = {k: v for k, v in grouped.items() if k[1] == "elman"}
  if not own:
    raise ValueError("records must have one of the paper's network, got none")
  panels = [data for data in table1.NAMES if any(k[0] == data for k in own)]
  rows = -(-len(panels) // COLUMNS)
  figure, axes = style.new(1.5 * rows + 0.3, rows, COLUMNS, squeeze=False)
  for axis in axes.flat[len(panels) :]:
    axis.axis("off")
  for axis, data in zip(axes.flat, panels, strict=False):
    shown = [
      _lines(axis, own.get((data, "elman", algorithm), []), look)
      for algorithm, look in zip(METHODS, style.LINES, strict=True)
    ]
    lowest = min(low for low, _ in shown)
    # Early passes would squeeze what there is to see.
    top = max(1.25 * lowest, *[1.02 * h for _, h in shown])
    axis.set_ylim(0.99 * lowest, min(top, 1.01 * axis.dataLim.y1))
    axis.set_title(
      table1.NAMES[data].replace("Penn Treebank", "PTB"), fontsize=7
    )
    axis.set_xlabel("passes")
    unit = next(v for k, v in own.items() if k[0] == data)[0]["results"]["unit"]
    axis.set_ylabel(unit, fontsize=7)
    style.clean(axis)
  handles = [
    figure.axes[0].plot([], [], label=name, **look)[0]
    for name, look in zip(METHODS.values(), style.LINES, strict=True)
  ]
  figure.suptitle("validation error", fontsize=8)
  figure.legend(handles=handles, loc="outside lower center", ncols=3)
  style.save(figure, path)


def _lines(axis, same: list[dict], look: dict) -> tuple[float, float]:
  """Draws every seed; (lowest, largest of the seeds' lowest) errors."""
  lows = []
  for record in same:
    epochs = records.numbers(record["curves"]["epoch"])
    best = records.numbers(record["results"]["best_epoch"])
    valid = records.numbers(record["curves"]["valid"])
    for values, at in zip(valid.T, best, strict=True):
      values = np.where(np.isfinite(values), values, np.nan)
      axis.plot(epochs, values, **look | {"lw": 0.8})
      if at > 0:
        low = values[epochs == at]
        axis.plot([at], low, "o", ms=2.2, color=look["color"])
        lows.append(float(low[0]))
  return (min(lows), max(lows)) if lows else (np.inf, -np.inf)
