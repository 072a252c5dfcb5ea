"""The error against each wait of temporal order: a panel a wait."""

import pathlib

from figures import groups, style

PLACES = ("before the first symbol", "between the two", "after the second")


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of kind "waits".

  Raises:
    ValueError: if runs of one setting differ in another.
  """
  fields = ("init", "algorithm", "solved_below", "start", "initial_state_scale")
  fields += ("label_smoothing", "start_speed")
  told, everyone = record["config"], list(record["runs"].values())
  settings = groups.by(everyone, fields)
  figure, axes = style.new(4.2, 3, sharex=True, sharey=True)
  for axis, place, usual in zip(axes, PLACES, told["usual"], strict=True):
    row = PLACES.index(place)
    for number, (key, runs) in enumerate(settings.items()):
      line = style.MORE_LINES[number % 4]
      for i, run in enumerate(runs):
        label = _name(*key, len(runs)) if not (i or row) else None
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


def _name(
  init, algorithm, below, start, scale, smoothing, speed, seeds: int
) -> str:
  words = [groups.NAMES[algorithm], groups.INITS.get(init, init)]
  words.append(f"{seeds} seed{'s' * (seeds > 1)}")
  rule = f"until under {100 * (below or 0.01):g} % wrong"
  words.append("\nfrom a trained network" if start else rule)
  if scale:
    words.append(f"initial states N(0, {scale:g})")
  if smoothing:
    words.append(f"\nlabels smoothed by {smoothing:g}")
  if speed:
    words.append(f"started {speed:g} times as fast")
  return ", ".join(words).replace(", \n", ",\n")
