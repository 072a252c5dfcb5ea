"""Draws a record of music or text: learning curves, every seed a line."""

import pathlib

import numpy as np
from matplotlib.ticker import NullFormatter

from steadygrad import records
from steadygrad.plots import style

_LABELS = {
  "valid": "validation",
  "loss": "training",
  "gradient_norm": "mean",
  "gradient_norm_max": "largest",
}


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record on music or text.

  Args:
    record: see `runs.results`.
    path: of the PNG.
  """
  config, results = record["config"], record["results"]
  curves = {k: records.numbers(v) for k, v in record["curves"].items()}
  panels = [
    (("valid", "loss"), f"{results['unit']}", None),
    (("gradient_norm", "gradient_norm_max"), r"$\|\nabla\|$", 10),
    (("rate",), "learning rate", 2),
    (("omega",), r"$\Omega$", None),
    (("spectral_radius",), r"$\rho(W_{rec})$", None),
  ]
  panels = [p for p in panels if p[0][0] in curves]
  figure, axes = style.new(0.9 * len(panels) + 1.1, len(panels), sharex=True)
  for axis, (names, label, base) in zip(axes, panels, strict=True):
    for name, look in zip(names, style.LINES, strict=False):
      for seed, values in enumerate(curves[name].T):
        axis.plot(
          curves["epoch"],
          values,
          **look,
          label=None if seed else _LABELS.get(name),
        )
    axis.set_ylabel(label)
    if base:
      axis.set_yscale("log", base=base)
      axis.yaxis.set_minor_formatter(NullFormatter())
  _floor(axes[0], results["floors"]["first_order"]["valid"], curves)
  for axis in axes[:2]:
    # Above the panel, where no line can run through it.
    axis.legend(
      loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1
    )
  by_norm = config["algorithm"] != "msgd" and config["clip"] == "by_norm"
  if by_norm and config["max_norm"] != "inf":
    axes[1].axhline(config["max_norm"], color=style.GREY, lw=0.8, ls=":")
  axes[-1].set_xlabel("passes over the training set")
  told = ", ".join(f"{x:.3g}" for x in records.numbers(results["test"]))
  figure.suptitle(
    f"{config['data']}, {config['model']}, {config['algorithm']}: test {told}",
    fontsize=8,
  )
  style.clean(*axes)
  style.save(figure, path)


def _floor(axis, height: float, curves: dict) -> None:
  """The first-order model's validation error, and room for the curves."""
  axis.axhline(height, color=style.GREY, lw=0.8, ls="--")
  axis.annotate(
    "first-order model",
    (0.98, height),
    xycoords=("axes fraction", "data"),
    ha="right",
    va="bottom",
    fontsize=6,
    color=style.GREY,
  )
  shown = np.concatenate([curves["valid"].ravel(), curves["loss"].ravel()])
  shown = shown[np.isfinite(shown)]
  if shown.size:
    axis.set_ylim(min(shown.min(), height) * 0.95, height * 1.15)
