"""Error signals by lag in networks trained with and without Omega."""

import pathlib

import numpy as np

from steadygrad import records
from steadygrad.figures.labels import METHODS
from steadygrad.plots import style


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of evaluate.py --test=signals.

  A line is the median over stretches of the test set, the shade its quartiles.
  """
  figure, axis = style.new(2.2)
  curves = sorted(record["curves"].items())
  for (name, quartiles), look in zip(curves, style.LINES * 2, strict=False):
    cell, algorithm = name.split("-")
    label = METHODS[algorithm] if cell == "elman" else f"{cell.upper()}, "
    label += "" if cell == "elman" else METHODS[algorithm]
    low, middle, high = records.numbers(quartiles)
    lags = np.arange(len(middle))
    positive = middle > 0
    axis.plot(lags[positive], middle[positive], **look, label=label)
    positive = low > 0
    axis.fill_between(
      lags[positive], low[positive], high[positive],
      color=look["color"], alpha=0.15, lw=0,
    )  # fmt: skip
  axis.set_yscale("log")
  axis.set_xlabel("lag $t - k$ (steps)")
  axis.set_ylabel(
    r"$|\partial E_t/\partial x_k| \;/\; |\partial E_t/\partial x_t|$"
  )
  axis.set_title(f"{record['data']}, test set", fontsize=8)
  axis.legend()
  style.clean(axis)
  style.save(figure, path)
