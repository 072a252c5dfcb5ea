"""Who answers wrongly when: a row for each network, a column for each step."""

import pathlib

import numpy as np
from figures import groups, style
from matplotlib.ticker import MaxNLocator

AROUND = 20  # Steps shown on either side of the longest trained length.


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of kind "every_step": a panel a setting."""
  settings: dict[tuple, list[dict]] = {}
  for run in record["runs"].values():
    key = (run["init"], run["algorithm"], run["length"], run["max_length"] or 0)
    settings.setdefault(key, []).append(run)
  steps = record["config"]["steps"]
  middle = max(max(key[2:]) for key in settings)
  low, high = max(1, middle - AROUND), min(steps, middle + AROUND)
  heights = [len(runs) for runs in settings.values()]
  figure, axes = style.new(
    0.8 + 0.45 * len(heights) + 0.1 * sum(heights), len(heights), sharex=True,
    squeeze=False, gridspec_kw={"height_ratios": heights},
  )  # fmt: skip
  for axis, (key, runs) in zip(axes[:, 0], settings.items(), strict=True):
    runs = sorted(runs, key=lambda run: run["first_seed"])
    errors = np.array([run["errors"][low - 1 : high] for run in runs])
    image = axis.imshow(
      errors, aspect="auto", cmap="Greys", vmin=0, vmax=1,
      interpolation="nearest",
      extent=(low - 0.5, high + 0.5, len(runs) + 0.5, 0.5),
    )  # fmt: skip
    axis.set_yticks(range(1, len(runs) + 1))
    axis.set_yticklabels([run["first_seed"] for run in runs], fontsize=6)
    axis.set_ylabel("seed")
    axis.set_title(_name(*key), loc="left", fontsize=7, pad=3)
  axes[-1, 0].set_xlabel("asked after so many steps")
  axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
  bar = figure.colorbar(image, ax=axes[:, 0], fraction=0.05, pad=0.02)
  bar.set_label("wrong", fontsize=7)
  figure.suptitle(
    f"{record['config']['task'].replace('_', ' ')}: {record['config']['size']}"
    " sequences; chance 50 % wrong",
    fontsize=6,
  )
  style.save(figure, path)


def _name(init: str, algorithm: str, length: int, longest: int) -> str:
  at = f"{length} to {longest}" if longest else f"{length}"
  start = groups.INITS.get(init, init)
  return f"{groups.NAMES[algorithm]} from {start}, trained at {at}"
