"""Sequence lengths of a task: one for all batches, or one drawn for each."""

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad.types import Array


def check(
  task: str, length: int, max_length: int | None, min_length: int
) -> None:
  """ValueError unless both are integers, min_length <= length <= max_length."""
  _validate.check_integer("length", length, 0)
  if length < min_length:
    raise ValueError(
      f"length must be at least {min_length} for task {task}, got {length}"
    )
  if max_length is None:
    return
  _validate.check_integer("max_length", max_length, 0)
  if max_length < length:
    raise ValueError(
      f"max_length must be at least length={length}, got {max_length}"
    )


def draw(key: Array, length: int, max_length: int | None) -> Array | None:
  """The batch's length, int32 []; None where there is only one."""
  return from_bits(jax.random.bits(key, (), jnp.uint32), length, max_length)


def from_bits(bits: Array, length: int, max_length: int | None) -> Array | None:
  """As `draw`, from 32 random bits: uniform to (range of lengths) / 2^32."""
  if max_length is None:
    return None
  return length + (bits % jnp.uint32(max_length + 1 - length)).astype(jnp.int32)


def longest(length: int, max_length: int | None) -> int:
  """The largest length that `draw` may give."""
  return length if max_length is None else max_length
