"""The (t, k) map of temporal contributions, vanishing and exploding."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  """Each row is one loss step t, scaled by its largest contribution."""
  config = record["config"]
  figure, axes = style.new(1.75, 1, 2, sharey=True)
  for axis, gain, norms in zip(
    axes, config["gains"], record["curves"]["norms"], strict=True
  ):
    norms = records.numbers(norms)
    steps = len(norms)
    below = np.tril(np.ones_like(norms, bool))
    shown = np.where(below, norms, np.nan) / norms.max(1, keepdims=True)
    with np.errstate(divide="ignore"):
      image = axis.imshow(
        np.log10(shown), origin="lower", cmap="magma", vmin=-6, vmax=0,
        extent=(0.5, steps + 0.5, 0.5, steps + 0.5), interpolation="nearest",
      )  # fmt: skip
    axis.plot([0.5, steps + 0.5], [0.5, steps + 0.5], color="black", lw=0.5)
    axis.set_xlabel("step $k$")
    axis.set_xticks([1, steps // 2, steps])
    axis.set_yticks([1, steps // 2, steps])
    style.letter(axis, f"gain {gain}")
  axes[0].set_ylabel("loss step $t$")
  bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=18, extend="min")
  bar.set_label(r"$\log_{10}$ contribution / largest at $t$", fontsize=7)
  style.save(figure, path)
