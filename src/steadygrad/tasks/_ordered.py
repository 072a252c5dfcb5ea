"""What the two temporal-order tasks share: symbols hidden among distractors."""

import jax
import jax.numpy as jnp

from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch

NUM_DISTRACTORS = 4
INPUT_SIZE = 2 + NUM_DISTRACTORS
MIN_LENGTH = 10  # Under it an interval of L/10 places is empty.


def sample(
  tenths: tuple[int, ...],
  length: int,
  max_length: int | None,
  key: Array,
  batch_size: int,
) -> Batch:
  """Symbol i, A or B, at a place drawn from [k L/10, (k + 1) L/10).

  Args:
    tenths: k of every symbol, in their order.
    length: L, or the least of them.
    max_length: the largest L, None for one L.
    key: of the batch.
    batch_size: B.

  Returns:
    One-hot inputs [T, B, 6]; targets int32 [B], the symbols as binary digits,
    the first the most significant.
  """
  keys = jax.random.split(key, 4)
  num_steps = _lengths.longest(length, max_length)
  lengths = _lengths.draw(keys[0], length, max_length)
  drawn = length if lengths is None else lengths

  shape = (len(tenths), batch_size)
  symbols = jax.random.bits(keys[1], shape, jnp.uint8) % 2
  lows = jnp.array([drawn * k // 10 for k in tenths])[:, None]
  highs = jnp.array([drawn * (k + 1) // 10 for k in tenths])[:, None]
  places = jax.random.randint(keys[2], shape, lows, highs)

  shape = (num_steps, batch_size)
  # 256 is a multiple of 4, so the remainder of a random byte is uniform.
  sequence = 2 + jax.random.bits(keys[3], shape, jnp.uint8) % NUM_DISTRACTORS
  steps = jnp.arange(num_steps)[:, None]
  targets = jnp.zeros(batch_size, jnp.int32)
  for place, symbol in zip(places, symbols, strict=True):
    sequence = jnp.where(steps == place, symbol, sequence)
    targets = 2 * targets + symbol.astype(jnp.int32)
  return Batch(jax.nn.one_hot(sequence, INPUT_SIZE), targets, lengths)
