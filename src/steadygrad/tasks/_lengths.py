"""Sequence lengths of a task: one for all batches, or one drawn for each."""

import jax

from steadygrad.types import Array


def check(
  task: str, length: int, max_length: int | None, min_length: int
) -> None:
  """ValueError unless min_length <= length <= max_length."""
  if length < min_length:
    raise ValueError(
      f"length must be at least {min_length} for task {task}, got {length}"
    )
  if max_length is not None and max_length < length:
    raise ValueError(
      f"max_length must be at least length={length}, got {max_length}"
    )


def draw(key: Array, length: int, max_length: int | None) -> Array | None:
  """The batch's length, int32 []; None where there is only one."""
  if max_length is None:
    return None
  return jax.random.randint(key, (), length, max_length + 1)


def longest(length: int, max_length: int | None) -> int:
  """The largest length that `draw` may give."""
  return length if max_length is None else max_length
