"""Norms and singular values of the state Jacobians by lag."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  """Blue: the norm, range over sequences; grey: singular values of one."""
  config, curves = record["config"], record["curves"]
  figure, axes = style.new(2.15, 1, 2, sharey=True)
  for i, (axis, gain) in enumerate(zip(axes, config["gains"], strict=True)):
    norms = records.numbers(curves["log10_norms"][i])
    values = records.numbers(curves["log10_singular_values"][i])
    lags = np.arange(1, len(norms) + 1)
    axis.plot(lags, values[:, 1:], color="0.65", lw=0.6)
    axis.plot([], [], color="0.65", lw=0.6, label="singular values")
    axis.fill_between(
      lags, norms.min(1), norms.max(1), color=style.BLUE, alpha=0.25, lw=0
    )
    axis.plot(lags, norms.mean(1), color=style.BLUE, label="norm")
    if curves["log10_bounds"]:
      bound = records.numbers(curves["log10_bounds"][i])
      axis.plot(
        lags, bound, color=style.RED, ls="--",
        label=r"$(\gamma\,\sigma_{\max})^{t-k}$",
      )  # fmt: skip
    axis.axhline(0, color="black", lw=0.5)
    axis.set_ylim(-12.5, 6)
    axis.set_xlabel("lag $t-k$ (steps)")
    style.letter(axis, f"gain {gain}")
  axes[0].set_ylabel(r"$\log_{10}\|\partial x_t/\partial x_k\|$")
  handles, labels = axes[1].get_legend_handles_labels()
  figure.legend(
    handles, labels, loc="outside upper center", ncol=3, handlelength=1.6,
    columnspacing=1.2,
  )  # fmt: skip
  style.clean(*axes)
  style.save(figure, path)
