"""Fig. 3: the bifurcation diagram of one unit with w = 5."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def _runs(mask):
  """(start, stop) of every stretch of equal values, overlapping by one."""
  edges = np.flatnonzero(np.diff(mask)) + 1
  starts = np.r_[0, edges]
  stops = np.r_[np.minimum(edges + 1, len(mask)), len(mask)]
  return zip(starts, stops, strict=True)


def draw(record: dict, path) -> None:
  curves = record["curves"]
  b, x = records.numbers(curves["b"]), records.numbers(curves["x"])
  stable = np.asarray(curves["stable"])
  figure, axis = style.new(2.2)
  axis.axvspan(
    *sorted(f["b"] for f in record["results"]["saddle_nodes"]), color="0.92",
    lw=0,
  )  # fmt: skip
  for start, stop in _runs(stable):
    kept = slice(start, stop)
    if stable[start]:
      axis.plot(b[kept], x[kept], color=style.BLUE, lw=1.4)
    else:
      axis.plot(b[kept], x[kept], color=style.RED, ls="--", lw=1.2)
  folds = sorted(record["results"]["saddle_nodes"], key=lambda f: f["b"])
  for i, fold in enumerate(folds, 1):
    axis.plot(fold["b"], fold["x"], "ko", ms=3)
    left = i == 1
    axis.annotate(
      f"$b_{i}={fold['b']:.4f}$", (fold["b"], fold["x"]),
      (-6 if left else 6, 2 if left else -2), textcoords="offset points",
      ha="right" if left else "left", va="center", fontsize=7,
    )  # fmt: skip
  axis.text(-2.05, 3.1, "stable", color=style.BLUE, fontsize=7, ha="right")
  axis.text(-2.95, -3.1, "stable", color=style.BLUE, fontsize=7, ha="left")
  axis.annotate(
    "boundary of\nthe two basins", (-2.5, 0), (-2.02, -0.1), fontsize=7,
    color=style.RED, va="center",
    arrowprops=dict(arrowstyle="-", color=style.RED, lw=0.5, shrinkB=3),
  )  # fmt: skip
  axis.set_xlim(-3.2, -1.6)
  axis.set_ylim(-4, 4)
  axis.set_xlabel("bias $b$")
  axis.set_ylabel(r"asymptotic state $x_\infty$")
  style.clean(axis)
  style.save(figure, path)
