"""Grids of runs: lists of values become configurations of one seed each."""

import dataclasses
import importlib
import itertools
import math
import pathlib
from collections.abc import Iterator, Sequence

from absl import flags

from steadygrad import options, training
from steadygrad.config import TrainConfig
from steadygrad.runs import names

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
MAX_RUNS = 100_000  # Of a grid: each has a record and a state of its own.
PRESETS = pathlib.Path(__file__).parent / "presets"
# Numbers that are traced, and what is the host's business: none of them chooses
# a program. A program's configuration holds the defaults in their place.
_NOT_COMPILED = (
  *training.Hyper._fields,
  "init",
  "start",
  "start_speed",
  "seeds",
  "first_seed",
  "max_updates",
  "check_every",
)
# What an algorithm does not look at; two runs that differ there are one run.
_OMEGA = ("omega_weight", "omega_ratio", "omega_reduction")
_OMEGA = (*_OMEGA, "omega_min_squared_norm")
UNUSED = {"msgd": ("max_norm", *_OMEGA), "msgd_c": _OMEGA, "msgd_cr": ()}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """A flag for each field of `TrainConfig`, which takes a list of values."""
  for field in FIELDS.values():
    text = f"{field.metadata['help']} One value, or several with commas."
    if field.name in ("seeds", "first_seed"):
      text = field.metadata["help"]
    if choices := field.metadata["choices"]:
      text = f"{text} Of: {', '.join(choices)}."
    text = f"{text} Default: the preset's, or {field.default}."
    flags.DEFINE_string(field.name, None, text, flag_values=flag_values)


def values_from_flags(values: flags.FlagValues) -> dict[str, list]:
  """{field: values} of the flags that were given.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  given = {name: values[name].value for name in FIELDS}
  return {
    name: [parse(FIELDS[name], word) for word in text.split(",")]
    for name, text in given.items()
    if text is not None
  }


def parse(field: dataclasses.Field, word: str):
  """A field's value from one word of a command line."""
  kind, word = field.metadata["kind"], word.strip()
  if field.default is None and word.lower() == "none":
    return None
  try:
    if kind is bool:
      return {"true": True, "false": False}[word.lower()]
    return kind(word)
  except (ValueError, KeyError):
    raise ValueError(
      f"{field.name} must be {options.KINDS[kind]}, got {word!r}"
    ) from None


def preset(name: str) -> list[dict]:
  """The grids of experiments/presets/<name>.py.

  Raises:
    ValueError: naming the presets there are.
  """
  presets = sorted(p.stem for p in PRESETS.glob("[a-z]*.py"))
  if name not in presets:
    raise ValueError(
      f"preset must be one of {', '.join(presets)}; got {name!r}"
    )
  return importlib.import_module(f"presets.{name}").GRIDS


def expand(grids: Sequence[dict], given: dict[str, list]) -> list[TrainConfig]:
  """Every run of every grid once, shortest sequences first.

  Args:
    grids: {field: value or list of values} each, of a preset; [{}] for none.
    given: {field: values}, which go before the grids'.

  Returns:
    Configurations of one seed. Where an algorithm does not look at a field it
    has its default value.

  Raises:
    ValueError: naming a field, its value and what is allowed.
  """
  found = {}
  for grid in grids:
    for config in _product(_lists(grid) | given):
      # What seeds share is worked out once: there may be thousands of them.
      stem, (*before, text) = names.stem(config), _order(config)
      for seed in range(config.first_seed, config.first_seed + config.seeds):
        if (name := f"{stem}-{seed}") not in found:
          run = options.replaced(config, seeds=1, first_seed=seed)
          found[name] = (*before, seed, text), run
  return [run for _, run in sorted(found.values(), key=lambda pair: pair[0])]


def _lists(grid: dict) -> dict[str, list]:
  return {
    name: list(value) if isinstance(value, (list, tuple)) else [value]
    for name, value in grid.items()
  }


def _product(lists: dict[str, list]) -> Iterator[TrainConfig]:
  """A configuration of all seeds for each combination of values."""
  for name in lists.keys() - FIELDS.keys():
    raise ValueError(f"a grid has the unknown field {name}")
  for name, values in lists.items():
    if not values:
      raise ValueError(f"{name} must have a value, got {values}")
  for name in ("seeds", "first_seed"):
    if len(lists.get(name, [0])) != 1:
      raise ValueError(f"{name} must be one number, got {lists[name]}")
  first = _without_unused({name: values[0] for name, values in lists.items()})
  runs = first.seeds * math.prod(map(len, lists.values()))
  if runs > MAX_RUNS:
    raise ValueError(f"a grid must have at most {MAX_RUNS} runs, got {runs}")
  for choice in itertools.product(*lists.values()):
    yield _without_unused(dict(zip(lists, choice, strict=True)))


def _without_unused(fields: dict) -> TrainConfig:
  config = TrainConfig(**fields).resolved()
  unused = {name: FIELDS[name].default for name in UNUSED[config.algorithm]}
  return dataclasses.replace(config, **unused)


def longest(config: TrainConfig) -> int:
  """Steps of the longest sequences, but for what a task adds."""
  return config.max_length or config.length


def _order(config: TrainConfig):
  # Runs of one program stand together, and their seeds, which come before the
  # last of these, outermost, so that a sweep that is cut has all methods and
  # initialisations of its first seeds.
  text = str(options.replaced(config, seeds=1, first_seed=0))
  return longest(config), config.task, str(program(config)), text


def program(config: TrainConfig) -> TrainConfig:
  """What a compiled program depends on; the rest at its default value.

  MSGD is MSGD-C with a threshold of infinity.
  """
  defaults = {name: FIELDS[name].default for name in _NOT_COMPILED}
  config = dataclasses.replace(config, **defaults)
  if config.algorithm == "msgd":
    config = dataclasses.replace(config, algorithm="msgd_c")
  return config


def numbers(config: TrainConfig) -> training.Hyper:
  """The numbers that the program of this run is given."""
  hyper = training.hyper(config)
  if config.algorithm == "msgd":
    hyper = hyper._replace(max_norm=math.inf)
  return hyper
