"""Sequence lengths of a task: one for all batches, or one drawn for each."""

import jax
import jax.numpy as jnp

from steadygrad import options
from steadygrad.types import Array


def check(
  task: str, length: int, max_length: int | None, min_length: int
) -> tuple[int, int | None]:
  """(length, max_length) as Python's own integers.

  Raises:
    ValueError: unless they are integers and
      min_length <= length <= max_length < 2^31, or max_length is None.
  """
  length = options.converted("length", length, int)
  if length < min_length:
    raise ValueError(
      f"length must be at least {min_length} for task {task}, got {length}"
    )
  if max_length is not None:
    most: int = options.converted("max_length", max_length, int)
    if most < length:
      raise ValueError(
        f"max_length must be at least length={length}, got {most}"
      )
    max_length = most
  name = "length" if max_length is None else "max_length"
  if (most := longest(length, max_length)) > options.INT32:
    raise ValueError(f"{name} must be at most {options.INT32}, got {most}")
  return length, max_length


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
