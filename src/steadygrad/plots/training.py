"""Draws a training record: five curves against updates, every seed a line."""

import pathlib

import numpy as np

from steadygrad import records
from steadygrad.plots import style
from steadygrad.plots.style import plt

# Light to dark, so that seeds stay apart in greyscale too.
_COLOURS = plt.get_cmap("viridis")


def _panels(record: dict):
  """(curve, label, log scale, (height, label) of a reference line)."""
  config, results = record["config"], record["results"]
  chance = results["chance_error"]
  clip = None
  by_norm = config["algorithm"] != "msgd" and config["clip"] == "by_norm"
  if by_norm and config["max_norm"] != "inf":
    clip = (config["max_norm"], "threshold")
  return (
    ("loss", "loss (nats)", False, None),
    ("error", "error", True, (chance, f"chance {chance:.3g}")),
    ("gradient_norm", r"$\|\nabla\|$ before clipping", True, clip),
    ("omega", r"$\Omega$", False, None),
    ("spectral_radius", r"$\rho(W_{rec})$", False, (1.0, "1")),
  )


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a training record.

  Args:
    record: of kind "training", see `steadygrad.records`.
    path: of the PNG.
  """
  config, results = record["config"], record["results"]
  curves = {k: records.numbers(v) for k, v in record["curves"].items()}
  panels = [p for p in _panels(record) if p[0] in curves]
  figure, axes = plt.subplots(
    len(panels), 1, figsize=(5.2, 1.25 * len(panels) + 0.9), sharex=True
  )
  updates = curves["update"]
  for axis, (name, title, log, line) in zip(axes, panels, strict=True):
    values = curves[name]
    for seed in range(values.shape[1]):
      shade = _COLOURS(0.85 * seed / max(values.shape[1] - 1, 1))
      label = f"seed {config['first_seed'] + seed}"
      _one_seed(axis, updates, values[:, seed], shade, log, label)
    if line:
      height, text = line
      axis.axhline(height, color="0.4", lw=0.8, ls="--")
      axis.annotate(
        text, (1.01, height), xycoords=("axes fraction", "data"),
        va="center", fontsize=7, color="0.3",
      )  # fmt: skip
    if name == "error":
      axis.axhline(0.01, color="0.4", lw=0.8, ls=":")
      axis.annotate(
        "solved .01", (1.01, 0.01), xycoords=("axes fraction", "data"),
        va="center", fontsize=7, color="0.3",
      )  # fmt: skip
    axis.set_ylabel(title, fontsize=8)
    axis.tick_params(labelsize=7, which="both")
    axis.spines[["top", "right"]].set_visible(False)
  axes[-1].set_xlabel("updates", fontsize=8)
  if config["seeds"] <= 8:
    axes[0].legend(fontsize=6, frameon=False, ncols=2, loc="upper right")
  solved = sum(results["solved"])
  figure.suptitle(
    f"{config['task']}, length {config['length']}, {config['init']}, "
    f"{config['algorithm']}: {solved} of {config['seeds']} seeds solved",
    fontsize=9,
  )
  figure.tight_layout(rect=(0, 0, 0.97, 1), h_pad=0.4)
  figure.align_ylabels()
  style.save(figure, path, 130)


def _one_seed(axis, updates, values, shade, log, label) -> None:
  """A seed's line, with a dot where it ends: solved, diverged or cut."""
  finite = np.isfinite(values)
  if not finite.any():
    return
  if log:
    # An error of exactly 0 has no place on a log axis: drawn at the floor.
    positive = values[finite & (values > 0)]
    floor = min(positive.min(), 1e-3) if positive.size else 1e-3
    values = np.where(finite, np.maximum(values, floor), values)
    axis.set_yscale("log")
  axis.plot(updates, values, color=shade, lw=0.9, label=label)
  last = np.flatnonzero(finite)[-1]
  axis.plot(updates[last], values[last], "o", color=shade, ms=3)
