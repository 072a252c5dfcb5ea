"""Error against the length of the test sequences, every seed a line."""

from figures import groups, style


def draw(runs: list[dict], path) -> None:
  """Writes the picture of all runs that were tested at other lengths.

  Raises:
    ValueError: if there is none, or they are not of one task and test size.
  """
  tested = [run for run in runs if "generalisation" in run]
  if not tested:
    raise ValueError(
      "sweeps must have runs that evaluate.py --test=lengths has tested, got"
      " none"
    )
  for name, values in (
    ("task", {run["config"]["task"] for run in tested}),
    ("size", {run["generalisation"]["size"] for run in tested}),
  ):
    if len(values) > 1:
      raise ValueError(f"runs must have one {name}, got {sorted(values)}")
  size = tested[0]["generalisation"]["size"]
  floor = 0.5 / size  # Where no error at all is drawn on a log axis.
  fields = ("length", "max_length", "algorithm", "init", "solved_below")
  fields += ("start", "initial_state_scale", "label_smoothing", "start_speed")
  settings = groups.by(tested, fields)
  names = [_name(key, members) for key, members in settings.items()]
  lines = sum(name.count("\n") + 1 for name in names)
  figure, axis = style.new(2.1 + 0.15 * lines)  # The legend below.
  for number, members in enumerate(settings.values()):
    line = style.MORE_LINES[number % 4]
    for i, run in enumerate(members):
      found = run["generalisation"]
      heights = [max(error, floor) for error in found["errors"]]
      axis.plot(
        found["lengths"], heights, **line, lw=0.8, marker="os^D"[number % 4],
        ms=2.5, label=names[number] if i == 0 else None,
      )  # fmt: skip
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


def _name(key: tuple, runs: list[dict]) -> str:
  length, longest, algorithm, init, below, start, scale, smoothing, speed = key
  steps = f"{length} to {longest}" if longest else f"{length}"
  words = [
    groups.NAMES[algorithm],
    groups.INITS.get(init, init),
    f"trained at {steps}",
    f"{len(runs)} seed{'s' * (len(runs) > 1)}",
  ]
  name = ", ".join(words) + ("" if start else _rule(below))
  if start:
    name += f",\n{groups.budget(runs)} updates from a trained network"
  if speed:
    name += f",\nstarted {speed:g} times as fast"
  if scale:
    name += f", initial states N(0, {scale:g})"
  if smoothing:
    name += f",\nlabels smoothed by {smoothing:g}"
  return name


def _rule(below: float | None) -> str:
  return "" if below is None else f",\nuntil under {100 * below:g} % wrong"
