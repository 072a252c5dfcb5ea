"""Omega's immediate derivative against its total one along two runs."""

from figures import style

from steadygrad import records

NAMES = {"msgd_c": "MSGD-C", "msgd_cr": "MSGD-CR"}


def draw(record: dict, path) -> None:
  curves = record["curves"]
  updates = records.numbers(curves["update"])
  figure, axes = style.new(2.9, 3, 1, sharex=True)
  rows = (
    ("cosine", "cosine", "linear"),
    ("ratio", "norm ratio", "log"),
    ("loss", "loss (nats)", "linear"),
  )
  for axis, (key, label, scale) in zip(axes, rows, strict=True):
    for (name, text), line in zip(NAMES.items(), style.LINES, strict=False):
      axis.plot(updates, records.numbers(curves[name][key]), label=text, **line)
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
