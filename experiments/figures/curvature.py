"""Where the gradient explodes so does the curvature along it."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  curves = record["curves"]
  figure, (wall, linear) = style.new(1.95, 1, 2)
  b = records.numbers(curves["b"])
  wall.semilogy(
    b, records.numbers(curves["gradient_norm"]), label=r"$|g|$",
    **style.LINES[0],
  )  # fmt: skip
  wall.semilogy(
    b, np.abs(records.numbers(curves["curvature"])),
    label=r"$|g^{\!\top} H g|/|g|^2$", **style.LINES[1],
  )  # fmt: skip
  wall.set_xlabel(f"bias $b$  ($w={record['config']['w']:g}$)")
  wall.set_ylabel("slope and curvature")
  wall.set_ylim(1e-2, 1e11)
  wall.set_xticks([-2.63, -2.61, -2.59])
  wall.legend(loc="upper left", handlelength=1.8, borderaxespad=0)
  style.letter(wall, "(a) the wall")
  for i, w in enumerate(record["config"]["linear_w"]):
    first = records.numbers(curves["linear_first"][i])
    second = records.numbers(curves["linear_second"][i])
    steps = np.arange(1, len(first) + 1)
    linear.semilogy(steps, first, lw=1.1 - 0.3 * i, **style.LINES[0])
    linear.semilogy(steps[1:], second[1:], lw=1.1, **style.LINES[1])
    height = 2 * second[-1] if i else 0.1 * first[-1]
    linear.text(50, height, f"$w={w:g}$", ha="right", fontsize=7)
  linear.plot([], [], label=r"$\partial x_t/\partial w$", **style.LINES[0])
  linear.plot([], [], label=r"$\partial^2 x_t/\partial w^2$", **style.LINES[1])
  linear.set_xlabel("step $t$")
  linear.set_ylim(0.005, 1e9)
  linear.legend(loc="upper left", handlelength=1.8, borderaxespad=0)
  style.letter(linear, r"(b) $x_t=w\,x_{t-1}$")
  style.clean(wall, linear)
  style.save(figure, path)
