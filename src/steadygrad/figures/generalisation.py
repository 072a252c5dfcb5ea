"""Error against the length of the test sequences, every seed a line."""

from steadygrad.figures import groups
from steadygrad.figures.labels import WORDS, label
from steadygrad.plots import style

_FIELDS = ("length", "max_length", "algorithm", "init", "solved_below")
_FIELDS += ("start", "initial_state_scale", "label_smoothing", "start_speed")
_TOLD = ("algorithm", "init", "length", "seeds", "solved_below", "start")
_TOLD += ("start_speed", "initial_state_scale", "label_smoothing")
_BREAKS = ("solved_below", "start", "start_speed", "label_smoothing")


def draw(runs: list[dict], path) -> None:
  """Writes the picture of all runs that were tested at other lengths.

  Raises:
    ValueError: if there is none, or they are not of one task and test size.
  """
  tested = _tested(runs)
  size = tested[0]["generalisation"]["size"]
  floor = 0.5 / size  # Where no error at all is drawn on a log axis.
  settings = groups.by(tested, _FIELDS)
  names = [_name(members) for members in settings.values()]
  lines = sum(name.count("\n") + 1 for name in names)
  figure, axis = style.new(2.1 + 0.15 * lines)  # The legend below.
  for number, members in enumerate(settings.values()):
    _setting(axis, members, number, names[number], floor)
  chance = tested[0]["chance_error"]
  for height, text in (
    (chance, f"chance {chance:.3g}"),
    (0.01, "solved .01"),
    (floor, f"0 of {size}"),
  ):
    style.level(axis, height, text)
  axis.set_xscale("log")
  axis.set_yscale("log")
  axis.set_xlabel("length of the test sequences (steps)")
  axis.set_ylabel("wrong")
  style.clean(axis)
  untold = [run for run in tested if not run["config"]["start"]] or tested
  figure.suptitle(
    f"{tested[0]['config']['task'].replace('_', ' ')}: {size} sequences a"
    f" point; trained until solved,\nat most {groups.budget(untold)} updates",
    fontsize=6,
  )
  figure.legend(loc="outside lower center", ncol=1)
  style.save(figure, path)


def _tested(runs: list[dict]) -> list[dict]:
  """Those that were tested; ValueError if they do not fit one picture."""
  tested = [run for run in runs if "generalisation" in run]
  if not tested:
    raise ValueError(
      "records must have runs that evaluate.py --test=lengths has tested, got"
      " none"
    )
  for name, values in (
    ("task", {run["config"]["task"] for run in tested}),
    ("size", {run["generalisation"]["size"] for run in tested}),
  ):
    if len(values) > 1:
      raise ValueError(f"runs must have one {name}, got {sorted(values)}")
  return tested


def _setting(
  axis, runs: list[dict], number: int, name: str, floor: float
) -> None:
  """A line for each seed of one setting, named once."""
  line = style.MORE_LINES[number % 4]
  for i, run in enumerate(runs):
    found = run["generalisation"]
    heights = [max(error, floor) for error in found["errors"]]
    axis.plot(
      found["lengths"], heights, **line, lw=0.8, marker="os^D"[number % 4],
      ms=2.5, label=name if i == 0 else None,
    )  # fmt: skip


def _name(runs: list[dict]) -> str:
  """The setting of these runs, and how many they are."""
  config = runs[0]["config"] | {"seeds": len(runs)}
  words = WORDS | {"length": lambda c: f"trained at {WORDS['length'](c)}"}
  if config["start"]:
    config["solved_below"] = None  # They went on for a number of updates.
    start = f"{groups.budget(runs)} updates {WORDS['start'](config)}"
    words["start"] = lambda _: start
  return label(config, _TOLD, words=words, breaks=_BREAKS)
