"""Error at the checks against updates: a panel a task and its lengths.

Every seed is a line that ends where its training did. Curves of `collect.py`
are thinned, so that a check at which a run was solved is there and not every
one before it.
"""

import numpy as np

from steadygrad.figures import groups
from steadygrad.figures.labels import METHODS, label
from steadygrad.plots import style

_MOST = len(style.MORE_LINES)  # Settings that lines tell apart.


def draw(runs: list[dict], path) -> None:
  """Writes the picture.

  Raises:
    ValueError: if there are more settings than lines, or runs of a setting
      differ in more than their seed.
  """
  settings = list(groups.by(runs, groups.SETTINGS).values())
  panels = _panels(settings)
  names = list(dict.fromkeys(_name(members[0]) for members in settings))
  if len(names) > _MOST:
    raise ValueError(
      f"runs must be of at most {_MOST} settings, got {len(names)}: choose with"
      f" --where; {'; '.join(names)}"
    )
  figure, axes = style.new(
    1.35 * len(panels) + 0.5 + 0.13 * len(names), len(panels), 1, squeeze=False
  )
  axes = axes[:, 0]
  for axis, (title, members) in zip(axes, panels.items(), strict=True):
    _panel(axis, members, names)
    style.letter(axis, title)
  axes[-1].set_xlabel("updates")
  style.clean(*axes)
  for number, name in enumerate(names):
    axes[0].plot([], [], **style.MORE_LINES[number], label=name)
  seeds = groups.span([len(members) for members in settings], "d")
  figure.suptitle(groups.told(runs, f"{seeds} seeds a setting"), fontsize=6)
  figure.legend(
    loc="outside lower center", ncol=1, fontsize=6, title_fontsize=6,
    title="method: units, rate, and its threshold and weight",
  )  # fmt: skip
  style.save(figure, path)


def _panels(settings: list[list[dict]]) -> dict[str, list[dict]]:
  """{title: runs} of each task and its lengths."""
  panels: dict[str, list[dict]] = {}
  for members in settings:
    config = members[0]["config"]
    task = config["task"].replace("_", " ")
    title = f"{task}, {label(config, ('length',))} steps"
    panels.setdefault(title, []).extend(members)
  return panels


def _name(run: dict) -> str:
  config = run["config"]
  return f"{METHODS[config['algorithm']]}: {groups.settings(config)}"


def _panel(axis, runs: list[dict], names: list[str]) -> None:
  size = groups.span([run["config"]["check_size"] for run in runs], "d")
  floor = 0.5 / max(run["config"]["check_size"] for run in runs)
  for run in runs:
    line = style.MORE_LINES[names.index(_name(run))]
    error = np.array(run["curves"]["error"], float)
    axis.plot(run["curves"]["update"], np.maximum(error, floor), **line, lw=0.7)
    if run["outcome"] == "solved":
      axis.plot(
        run["curves"]["update"][-1], max(error[-1], floor), "o", ms=2.2,
        color=line["color"],
      )  # fmt: skip
  chance = runs[0]["chance_error"]
  for height, text in ((chance, f"chance {chance:.2g}"), (0.01, "solved .01")):
    style.level(axis, height, text)
  axis.set_yscale("log")
  axis.set_ylabel(f"wrong of {size}")
