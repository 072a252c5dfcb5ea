"""Fig. 4: a small change of x_0 that becomes a large change of x_t."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  xs = records.numbers(record["curves"]["xs"])
  slopes = records.numbers(record["curves"]["slopes"])
  steps = np.arange(xs.shape[1])
  figure, (state, slope) = style.new(
    2.3, 1, 2, sharey=True, gridspec_kw={"width_ratios": [1.5, 1]}
  )
  for orbit, growth, line, mark in zip(
    xs, slopes, style.LINES, "os", strict=False
  ):
    state.plot(orbit, steps, marker=mark, ms=2.5, lw=0.9, **line)
    slope.plot(growth, steps, marker=mark, ms=2.5, lw=0.9, **line)
  state.axvline(0, color="black", ls=":", lw=0.9)
  for t, height in ((0, -0.35), (len(steps) - 1, len(steps) - 0.65)):
    state.annotate(
      "", (xs[0, t], height), (xs[1, t], height),
      arrowprops=dict(arrowstyle="|-|,widthA=.15,widthB=.15", lw=0.6,
                      shrinkA=0, shrinkB=0),
    )  # fmt: skip
  state.text(0.13, -0.75, r"$\Delta x_0$", fontsize=7, va="center")
  state.text(
    0.05, len(steps) + 0.3, rf"$\Delta x_{{{len(steps) - 1}}}$", fontsize=7,
    va="center",
  )  # fmt: skip
  state.text(
    0.04, 0.985, "one basin", transform=state.transAxes, fontsize=7, va="top"
  )
  state.text(
    0.97, 0.985, "the other", transform=state.transAxes, fontsize=7, va="top",
    ha="right",
  )  # fmt: skip
  state.set_yticks(range(0, len(steps), 4))
  state.set_ylim(len(steps) + 1.5, -1.8)
  state.set_xlabel("state $x_t$")
  state.set_ylabel("step $t$")
  slope.set_xlabel(r"$|\partial x_t/\partial x_0|$")
  slope.set_xlim(0, None)
  style.letter(state, "(a)")
  style.letter(slope, "(b)")
  style.clean(state, slope)
  style.save(figure, path)
