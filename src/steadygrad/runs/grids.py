"""Grids of runs: lists of values become configurations of one seed each."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from steadygrad import options
from steadygrad.runs import names
from steadygrad.training.config import (
  Config,
  CorpusConfig,
  TaskConfig,
  fitting,
  program,
  without_unused,
)

MAX_RUNS = 100_000  # Of a grid: each has a record and a state of its own.


def expand(
  grids: Sequence[dict], given: dict[str, list], kind: type = TaskConfig
) -> list[Config]:
  """Every run of every grid once, shortest sequences first.

  Args:
    grids: {field: value or list of values} each, of a preset; [{}] for none.
    given: {field: values}, which go before the grids'.
    kind: of configuration.

  Returns:
    Configurations of one seed. Where an algorithm does not look at a field it
    has its default value.

  Raises:
    ValueError: naming a field, its value and what is allowed.
  """
  found = {}
  for grid in grids:
    for config in _product(_lists(grid) | given, kind):
      # What seeds share is worked out once: there may be thousands of them.
      stem, (*before, text) = names.stem(config), _order(config)
      for run in names.of_seeds(config):
        if (name := f"{stem}-{run.first_seed}") not in found:
          found[name] = (*before, run.first_seed, text), run
  return [run for _, run in sorted(found.values(), key=lambda pair: pair[0])]


def kind_of(grid: list[dict]) -> type[Config]:
  """What the grids of a preset are of: those with `data`, of a corpus.

  Raises:
    ValueError: if some have it and others have not.
  """
  kinds = {CorpusConfig if "data" in one else TaskConfig for one in grid}
  if len(kinds) != 1:
    raise ValueError("a preset must have data in all of its grids or in none")
  return kinds.pop()


def over_defaults(
  given: dict[str, list], kind: type, defaults: Callable[[str, str], dict]
) -> list[dict]:
  """Grids of one combination each, with what `defaults` has for its others.

  Args:
    given: {field: values}.
    kind: of configuration; `CorpusConfig`.
    defaults: (data, algorithm) -> {field: value}.
  """
  grids = []
  for choice in itertools.product(*given.values()):
    chosen = dict(zip(given, choice, strict=True))
    first = kind(**chosen)  # Names and values are checked first.
    values = fitting(defaults(first.data, first.algorithm), chosen)
    grids.append(values | chosen)
  return grids


def _lists(grid: dict) -> dict[str, list]:
  return {
    name: list(value) if isinstance(value, (list, tuple)) else [value]
    for name, value in grid.items()
  }


def _product(lists: dict[str, list], kind: type) -> Iterator[Config]:
  """A configuration of all seeds for each combination of values."""
  for name in lists.keys() - options.fields(kind).keys():
    raise ValueError(f"a grid has the unknown field {name}")
  for name, values in lists.items():
    if not values:
      raise ValueError(f"{name} must have a value, got {values}")
  for name in ("seeds", "first_seed"):
    if len(lists.get(name, [0])) != 1:
      raise ValueError(f"{name} must be one number, got {lists[name]}")
  first = kind(**{name: values[0] for name, values in lists.items()})
  runs = first.seeds * math.prod(map(len, lists.values()))
  if runs > MAX_RUNS:
    raise ValueError(f"a grid must have at most {MAX_RUNS} runs, got {runs}")
  for choice in itertools.product(*lists.values()):
    config = kind(**dict(zip(lists, choice, strict=True)))
    yield without_unused(config.resolved())


def longest(config: Config) -> int:
  """Steps of the longest sequences, but for what a task adds."""
  if isinstance(config, CorpusConfig):
    return config.chunk_length
  return config.max_length or config.length


def subject(config: Config) -> str:
  """The task or the data set."""
  return config.data if isinstance(config, CorpusConfig) else config.task


def _order(config: Config) -> tuple:
  # Runs of one program stand together, and their seeds, which come before the
  # last of these, outermost, so that a sweep that is cut has all methods and
  # initialisations of its first seeds.
  text = _text(options.replaced(config, seeds=1, first_seed=0))
  return longest(config), subject(config), _text(program(config)), text


def _text(config: Config) -> str:
  return str(sorted(dataclasses.asdict(config).items()))
