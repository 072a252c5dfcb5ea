"""What the dynamics did at each update: loss, gradient, spectra, attractors.

Draws any record with `curves` = {"update": [K], name: {fields of
`analysis.DynamicsRecord`, [K] each, delta_norms [K, lags]}}.
"""

import numpy as np

from steadygrad import records
from steadygrad.figures.labels import METHODS
from steadygrad.plots import style

ROWS = (
  ("loss", "loss (nats)", "linear"),
  ("gradient_norm", r"$\|\nabla\|$", "log"),
  ("spectral_radius", r"$\rho$", "linear"),
  ("largest_singular_value", r"$\sigma_{\max}$", "linear"),
  ("lyapunov_exponent", r"$\lambda_1$", "linear"),
  ("attractor_count", "attractors", "linear"),
)


def draw(record: dict, path) -> None:
  curves = record["curves"]
  runs = [name for name in curves if name != "update"]
  updates = records.numbers(curves["update"])
  figure, axes = style.new(6.6, len(ROWS) + len(runs), 1, sharex=True)
  for axis, (key, label, scale) in zip(axes, ROWS, strict=False):
    for name, line in zip(runs, style.LINES, strict=False):
      values = records.numbers(curves[name][key])
      axis.plot(updates, values, lw=0.9, label=METHODS.get(name, name), **line)
    axis.set_yscale(scale)
    axis.set_ylabel(label)
    if key in ("spectral_radius", "largest_singular_value"):
      axis.axhline(1, color="black", lw=0.5)
    if key == "lyapunov_exponent":
      axis.axhline(0, color="black", lw=0.5)
    if key == "attractor_count":
      axis.yaxis.get_major_locator().set_params(integer=True)
  axes[0].legend(loc="lower left", borderaxespad=0.1)
  every = record["config"]["lags_every"]
  for axis, name in zip(axes[len(ROWS) :], runs, strict=True):
    norms = records.numbers(curves[name]["delta_norms"])
    with np.errstate(divide="ignore"):
      image = axis.pcolormesh(
        updates, np.arange(norms.shape[1]) * every, np.log10(norms.T),
        cmap="magma", vmin=-8, vmax=1, shading="nearest", rasterized=True,
      )  # fmt: skip
    axis.set_ylabel(f"lag\n{METHODS.get(name, name)}")
  bar = figure.colorbar(image, ax=axes[len(ROWS) :], aspect=12, extend="both")
  bar.set_label(r"$\log_{10}|\delta_k|$", fontsize=7)
  axes[-1].set_xlabel("updates")
  style.clean(*axes[: len(ROWS)])
  figure.align_ylabels()
  style.save(figure, path)
