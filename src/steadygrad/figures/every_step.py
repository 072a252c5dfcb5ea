"""Who answers wrongly when: a row for each network, a column for each step."""

import pathlib

import numpy as np
from matplotlib.ticker import MaxNLocator

from steadygrad.figures import groups
from steadygrad.figures.labels import SHORT, label
from steadygrad.plots import style

AROUND = 20  # Steps shown on either side of the longest trained length.


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of kind "every_step": a panel a setting.

  Raises:
    ValueError: if runs of a panel differ in another setting.
  """
  fields = ("init", "algorithm", "length", "max_length", "solved_below")
  everyone, told = list(record["runs"].values()), record["config"]
  settings, steps = groups.by(everyone, fields), told["steps"]
  middle = max(max(key[2], key[3] or 0) for key in settings)
  low, high = max(1, min(middle, steps) - AROUND), min(steps, middle + AROUND)
  heights = [len(runs) for runs in settings.values()]
  figure, axes = style.new(
    0.8 + 0.45 * len(heights) + 0.1 * sum(heights), len(heights), sharex=True,
    squeeze=False, gridspec_kw={"height_ratios": heights},
  )  # fmt: skip
  for axis, runs in zip(axes[:, 0], settings.values(), strict=True):
    runs = sorted(runs, key=lambda run: run["config"]["first_seed"])
    errors = np.array([run["errors"][low - 1 : high] for run in runs])
    image = axis.imshow(
      errors, aspect="auto", cmap="Greys", vmin=0, vmax=1,
      interpolation="nearest",
      extent=(low - 0.5, high + 0.5, len(runs) + 0.5, 0.5),
    )  # fmt: skip
    axis.set_yticks(range(1, len(runs) + 1))
    seeds = [run["config"]["first_seed"] for run in runs]
    axis.set_yticklabels(seeds, fontsize=6)
    axis.set_ylabel("seed")
    axis.set_title(_name(runs[0]["config"]), loc="left", fontsize=6.5, pad=3)
  axes[-1, 0].set_xlabel("asked after so many steps")
  axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
  bar = figure.colorbar(image, ax=axes[:, 0], fraction=0.05, pad=0.02)
  bar.set_label("wrong", fontsize=7)
  chance = groups.span([run["chance_error"] for run in everyone], ".0%")
  figure.suptitle(
    f"{told['task'].replace('_', ' ')}: {told['size']} sequences; trained until"
    f" solved,\nat most {groups.budget(everyone)} updates; chance: {chance}"
    " wrong",
    fontsize=6,
  )
  style.save(figure, path)


def _name(config: dict) -> str:
  """The setting of a panel."""
  rule = {"solved_below": config["solved_below"] or 0.01}
  until = label(config | rule, ("solved_below",), words=SHORT)
  at = label(config, ("length",))
  return f"{label(config, ('init', 'algorithm'))}, at {at} {until}"
