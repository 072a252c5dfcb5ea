"""Basins of a two-unit map with its fixed points."""

import numpy as np
from matplotlib.colors import ListedColormap

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  curves = record["curves"]
  low, high = record["config"]["extent"]
  labels = np.asarray(curves["labels"])
  points = records.numbers(curves["points"])
  stable = np.asarray(curves["stable"])
  figure, axis = style.new(2.5)
  axis.imshow(
    np.searchsorted(np.unique(labels), labels),
    origin="lower", extent=(low, high, low, high), interpolation="nearest",
    cmap=ListedColormap(["0.93", "0.72", "0.55"][: len(np.unique(labels))]),
  )  # fmt: skip
  axis.plot(
    *points[stable].T, "o", color=style.BLUE, ms=5, label="stable", ls=""
  )
  axis.plot(
    *points[~stable].T, "o", mfc="white", mec=style.RED, ms=5, mew=1.2,
    label="unstable", ls="",
  )  # fmt: skip
  axis.set_xlabel("$x_1$")
  axis.set_ylabel("$x_2$")
  axis.set_xticks([-2, -1, 0, 1, 2])
  axis.set_yticks([-2, -1, 0, 1, 2])
  axis.legend(loc="upper left", frameon=True, framealpha=1, edgecolor="none")
  style.save(figure, path)
