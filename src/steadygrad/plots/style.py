"""One look for all figures: a column wide, legible in greyscale."""

import io
import pathlib
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from steadygrad import files

matplotlib.use("Agg")  # Draws into files, where there is no screen too.

COLUMN = 3.3  # Inches, the width of a column.
# Dark and middle grey when printed without colour; the paper's blue and red.
BLUE, RED, GREY = "#123f8c", "#d9534a", "0.45"
# Light to dark, each with a dash of its own.
LINES: tuple[dict[str, Any], ...] = (
  dict(color="#123f8c", ls="-"),
  dict(color="#d9534a", ls=(0, (5, 1.5))),
  dict(color="#6c9a3d", ls=(0, (1, 1))),
)
MORE_LINES = (*LINES, dict(color="#b08fd0", ls=(0, (5, 1, 1, 1))))


def new(
  height: float, rows: int = 1, columns: int = 1, **options
) -> tuple[Figure, Any]:
  """Figure and axes at the width of a column."""
  plt.rcParams.update(
    {
      "font.family": "STIXGeneral",
      "mathtext.fontset": "stix",
      "font.size": 8,
      "axes.labelsize": 8,
      "axes.titlesize": 8,
      "xtick.labelsize": 7,
      "ytick.labelsize": 7,
      "legend.fontsize": 7,
      "legend.frameon": False,
      "axes.linewidth": 0.6,
      "lines.linewidth": 1.1,
      "xtick.major.width": 0.6,
      "ytick.major.width": 0.6,
    }
  )
  figure, axes = plt.subplots(
    rows,
    columns,
    figsize=(COLUMN, height),
    layout="constrained",
    **options,
  )
  return figure, axes


def clean(*axes) -> None:
  """No frame on the upper and right side."""
  for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)


def level(axis, height: float, text: str) -> None:
  """A dotted line across a panel, named on its right."""
  axis.axhline(height, color=GREY, lw=0.6, ls=":")
  axis.annotate(
    text, (1.01, height), xycoords=("axes fraction", "data"), va="center",
    fontsize=6, color=GREY, annotation_clip=False,
  )  # fmt: skip


def letter(axis, text: str) -> None:
  """Names a panel above its upper left corner."""
  axis.set_title(text, loc="left", fontsize=8, pad=3)


def save(figure, path: str | pathlib.Path, dots: int = 300) -> None:
  """Writes the PNG at so many dots an inch and closes the figure.

  Raises:
    OSError: if it cannot be written; then the old picture is as it was.
  """
  files.write_whole(path, png(figure, dots))


def png(figure, dots: int = 300) -> bytes:
  """The picture at so many dots an inch; closes the figure."""
  picture = io.BytesIO()
  figure.savefig(picture, dpi=dots, format="png")
  plt.close(figure)
  return picture.getvalue()
