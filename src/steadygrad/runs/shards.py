"""A part of a sweep's runs, for processes that share no disk."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_ARRAY = "SLURM_ARRAY_TASK"


class Shard(NamedTuple):
  """Part `index` of `count`, from 0."""

  index: int
  count: int

  def of(self, runs: Sequence) -> list:
    """Its runs, every `count`-th: as many short and long ones as the others."""
    return list(runs[self.index :: self.count])


def parse(text: str | None, environment: Mapping[str, str]) -> Shard:
  """The shard that a flag names, or that of a task of a SLURM array.

  Args:
    text: "i/n" with 0 <= i < n, or None.
    environment: where SLURM's variables are looked for.

  Returns:
    It; 0/1, all runs, if neither names one.

  Raises:
    ValueError: naming what is given and what is allowed.
  """
  if text is None:
    return _of_array(environment)
  found = re.fullmatch(r"(\d+)/(\d+)", text)
  shard = Shard(*map(int, found.groups())) if found else Shard(0, 0)
  if shard.index >= shard.count:
    raise ValueError(f"shard must be i/n with 0 <= i < n, got {text!r}")
  return shard


def _of_array(environment: Mapping[str, str]) -> Shard:
  given = {
    part: environment[f"{_ARRAY}_{part}"]
    for part in ("ID", "COUNT", "MIN", "STEP")
    if environment.get(f"{_ARRAY}_{part}")
  }
  if "ID" not in given:
    return Shard(0, 1)
  told = ", ".join(f"{_ARRAY}_{part}={text}" for part, text in given.items())
  try:
    number, count, least = (int(given[part]) for part in ("ID", "COUNT", "MIN"))
    index, rest = divmod(number - least, int(given.get("STEP", 1)))
  except (KeyError, ValueError, ZeroDivisionError) as e:
    raise ValueError(
      f"shard must be given where {_ARRAY}_ID is set without its _COUNT and"
      f" _MIN, got {told}; --shard=0/1 does all runs"
    ) from e
  if rest or not 0 <= index < count:
    raise ValueError(
      f"shard must be given for an array with gaps, got {told}; number its"
      f" tasks without gaps, or write --shard=i/{count}"
    )
  return Shard(index, count)
