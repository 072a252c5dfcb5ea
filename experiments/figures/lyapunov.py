"""Lyapunov spectra of three cells at several gains."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style

NAMES = {"elman": "Elman", "gru": "GRU", "lstm": "LSTM"}


def draw(record: dict, path) -> None:
  gains = record["config"]["gains"]
  figure, axes = style.new(1.95, 1, 3, sharey=True)
  for axis, (kind, text) in zip(axes, NAMES.items(), strict=True):
    for gain, spectrum, line, mark in zip(
      gains, record["curves"][kind], style.LINES, "o^s", strict=True
    ):
      values = records.numbers(spectrum)
      index = (np.arange(len(values)) + 0.5) / len(values)
      axis.plot(
        index, values, marker=mark, ms=1.8, lw=0.7, label=f"gain {gain:g}",
        **line,
      )  # fmt: skip
    axis.axhline(0, color="black", lw=0.5)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axis.set_ylim(-6.2, 0.6)
    style.letter(axis, text)
  axes[0].set_ylabel(r"Lyapunov exponent $\lambda_i$ (1/step)")
  axes[1].set_xlabel("index $i$ / size of the state")
  axes[0].legend(loc="lower left", handlelength=1.8, borderaxespad=0.1)
  style.clean(*axes)
  style.save(figure, path)
