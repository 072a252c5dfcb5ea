"""Omega's immediate derivative against its total one along two runs."""

from steadygrad import records
from steadygrad.figures.labels import METHODS
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  curves = record["curves"]
  methods = [name for name in METHODS if name in curves]
  updates = records.numbers(curves["update"])
  figure, axes = style.new(2.9, 3, 1, sharex=True)
  rows = (
    ("cosine", "cosine", "linear"),
    ("ratio", "norm ratio", "log"),
    ("loss", "loss (nats)", "linear"),
  )
  for axis, (key, label, scale) in zip(axes, rows, strict=True):
    for name, line in zip(methods, style.LINES, strict=False):
      values = records.numbers(curves[name][key])
      axis.plot(updates, values, label=METHODS[name], **line)
    axis.set_ylabel(label)
    axis.set_yscale(scale)
  axes[0].axhline(0, color="black", lw=0.5)
  axes[0].set_ylim(-0.3, 1)
  axes[1].axhline(1, color="black", lw=0.5)
  axes[2].legend(loc="lower left")
  axes[-1].set_xlabel("updates")
  style.clean(*axes)
  figure.align_ylabels()
  style.save(figure, path)
