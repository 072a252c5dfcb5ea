"""A sample of music above a stretch of the test set, as piano-rolls."""

import pathlib

import numpy as np

from steadygrad.data.music import LOWEST_NOTE
from steadygrad.plots import style


def draw(
  sample: np.ndarray, real: np.ndarray, path: str | pathlib.Path
) -> None:
  """Writes the picture.

  Args:
    sample: [T, 88] of 0 and 1.
    real: [T', 88] of the data.
    path: of the PNG.
  """
  figure, axes = style.new(2.9, 2, sharex=True, sharey=True)
  for axis, roll, text in zip(
    axes, (sample, real), ("composed", "of the test set"), strict=True
  ):
    axis.imshow(
      roll.T, origin="lower", aspect="auto", cmap="Greys", vmin=0, vmax=1,
      interpolation="nearest",
      extent=(0, len(roll), LOWEST_NOTE - 0.5, LOWEST_NOTE + 87.5),
    )  # fmt: skip
    axis.set_ylabel("MIDI note")
    axis.set_yticks([36, 48, 60, 72, 84])
    style.letter(axis, text)
  used = np.flatnonzero(sample.any(0) if sample.any() else real.any(0))
  used = np.union1d(used, np.flatnonzero(real.any(0))) + LOWEST_NOTE
  axes[0].set_ylim(used.min() - 2, used.max() + 2)
  axes[0].set_xlim(0, max(len(sample), len(real)))
  axes[1].set_xlabel("step")
  style.clean(*axes)
  style.save(figure, path)
