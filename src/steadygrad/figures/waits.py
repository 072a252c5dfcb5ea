"""The error against each wait of temporal order: a panel a wait."""

import pathlib

from steadygrad.figures import groups
from steadygrad.figures.labels import label
from steadygrad.plots import style

PLACES = ("before the first symbol", "between the two", "after the second")
_FIELDS = ("init", "algorithm", "solved_below", "start", "initial_state_scale")
_FIELDS += ("label_smoothing", "start_speed")
_TOLD = ("algorithm", "init", "seeds", "solved_below", "start")
_TOLD += ("initial_state_scale", "label_smoothing", "start_speed")
_BREAKS = ("start", "label_smoothing")


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of kind "waits".

  Raises:
    ValueError: if runs of one setting differ in another.
  """
  told, everyone = record["config"], list(record["runs"].values())
  settings = groups.by(everyone, _FIELDS)
  figure, axes = style.new(4.2, 3, sharex=True, sharey=True)
  for axis, place, usual in zip(axes, PLACES, told["usual"], strict=True):
    row = PLACES.index(place)
    for number, runs in enumerate(settings.values()):
      line = style.MORE_LINES[number % 4]
      for i, run in enumerate(runs):
        label = _name(runs) if not (i or row) else None
        axis.plot(
          told["waits"], run["errors"][row], **line, lw=0.8, label=label
        )
    axis.axvline(usual, color=style.GREY, lw=0.6, ls=":")
    chance = everyone[0]["chance_error"]
    style.level(axis, chance, f"chance {chance:g}")
    style.letter(axis, f"wait {place} (dotted: {usual}, kept elsewhere)")
    axis.set_ylabel("wrong")
  style.clean(*axes)
  axes[-1].set_xscale("log")
  axes[-1].set_ylim(-0.03, 1)
  axes[-1].set_xlabel("distractors in that place")
  figure.suptitle(
    f"{told['task'].replace('_', ' ')}: {told['size']} sequences a point;"
    " trained at lengths\nof 50 to 200, so that at most 39, 98 and 99 wait",
    fontsize=6,
  )
  figure.legend(loc="outside lower center", ncol=1)
  style.save(figure, path)


def _name(runs: list[dict]) -> str:
  """The setting of these runs, and how many they are."""
  config = runs[0]["config"] | {"seeds": len(runs)}
  rule = None if config["start"] else config["solved_below"] or 0.01
  return label(config | {"solved_below": rule}, _TOLD, breaks=_BREAKS)
