"""Which crossings make the gradient explode."""

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  config, curves = record["config"], record["curves"]
  figure, (start, bias) = style.new(3.4, 2, 1)
  start.semilogy(
    records.numbers(curves["x_0"]), records.numbers(curves["in_start"]),
    color=style.BLUE,
  )  # fmt: skip
  start.axvline(0, color="black", ls=":", lw=0.9)
  start.axhline(1.25 ** config["steps"], color="0.5", lw=0.6)
  start.text(
    -1, 1.25 ** config["steps"] * 0.6, "$1.25^{50}$", va="top", fontsize=7
  )
  start.text(0.06, 1e-2, "boundary of the basins", fontsize=7)
  start.set_xlabel("first state $x_0$  ($b=-2.5$)")
  start.set_ylabel(r"$|\partial x_{50}/\partial x_0|$")
  labels = {"lower": "$x_0=-3$", "boundary": "$x_0=.3$", "upper": "$x_0=3$"}
  for (kind, text), line in zip(labels.items(), style.LINES, strict=True):
    bias.semilogy(
      records.numbers(curves["b"]), records.numbers(curves["slopes"][kind]),
      label=text, **line,
    )  # fmt: skip
  for i, b in enumerate(config["folds"], 1):
    bias.axvline(b, color="0.6", lw=0.6)
    bias.text(b, 1.02, f"$b_{i}$", fontsize=7, ha="center", va="bottom",
              transform=bias.get_xaxis_transform())  # fmt: skip
  bias.set_xlabel("bias $b$")
  bias.set_ylabel(r"$|dx_{50}/db|$")
  bias.legend(loc="upper left", borderaxespad=0.1, handlelength=1.8)
  style.letter(start, "(a)")
  style.letter(bias, "(b)")
  style.clean(start, bias)
  figure.align_ylabels()
  style.save(figure, path)
