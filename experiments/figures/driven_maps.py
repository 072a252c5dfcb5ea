"""Fig. 5: each map as a constant one and a shift by the input."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  """Thin lines: the constant map; arrows: the inputs' shifts."""
  xs = records.numbers(record["curves"]["xs"])
  halves = records.numbers(record["curves"]["after_the_constant_map"])
  us = records.numbers(record["config"]["us"])
  figure, axis = style.new(2.7)
  axis.axvline(0, color="black", ls=":", lw=0.9)
  for orbit, half, line, mark in zip(
    xs, halves, style.LINES, "os", strict=False
  ):
    colour = line["color"]
    for t, (x, middle, after) in enumerate(
      zip(orbit[:-1], half, orbit[1:], strict=True)
    ):
      axis.plot([x, middle], [t, t + 0.6], color=colour, lw=0.8, ls=line["ls"])
      if us[t]:
        axis.annotate(
          "", (after, t + 0.6), (middle, t + 0.6),
          arrowprops=dict(arrowstyle="-|>,head_width=.12,head_length=.22",
                          color="0.35", lw=1.1, shrinkA=0, shrinkB=0),
        )  # fmt: skip
      axis.plot([after, after], [t + 0.6, t + 1], color=colour, lw=0.8)
    axis.plot(orbit, np.arange(len(orbit)), mark, color=colour, ms=3)
  # The way the constant map moves a state on either side of the boundary.
  for sign in (-1, 1):
    axis.annotate(
      "", (sign * 0.95, -0.75), (sign * 0.25, -0.75),
      arrowprops=dict(arrowstyle="-|>,head_width=.15,head_length=.3", ls="--",
                      color="black", lw=0.9, shrinkA=0, shrinkB=0),
    )  # fmt: skip
    axis.text(sign * 1.0, -0.75, r"$\tilde F$", ha="left" if sign > 0 else
              "right", va="center", fontsize=8)  # fmt: skip
  axis.plot([], [], color=style.BLUE, lw=0.8, label=r"constant map $\tilde F$")
  axis.plot([], [], color="0.35", lw=1.1, label=r"input's shift $U_t$")
  figure.legend(loc="outside upper center", ncol=2)
  axis.set_ylim(len(us) + 0.4, -1.3)
  axis.set_xlim(-1.45, 1.45)
  axis.set_xlabel("state $x_t$")
  axis.set_ylabel("step $t$")
  style.clean(axis)
  style.save(figure, path)
