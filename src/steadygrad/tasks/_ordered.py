"""What the two temporal-order tasks share: symbols hidden among distractors."""

import jax
import jax.numpy as jnp

from steadygrad.symbols import Symbols
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
    Inputs of 6 `Symbols`, one byte each; targets int32 [B], the symbols that
    matter as binary digits, the first the most significant.
  """
  num_steps = _lengths.longest(length, max_length)
  num_symbols, num_places = len(tenths), num_steps * batch_size
  num_words = 1 + 2 * num_symbols * batch_size
  # One draw for all: a generator's call costs more than its numbers here.
  words = (num_words + -(-num_places // 4),)
  bits = jax.random.bits(key, words, jnp.uint32)
  lengths = _lengths.from_bits(bits[0], length, max_length)
  drawn = jnp.int32(length if lengths is None else lengths)

  pairs = bits[1:num_words].reshape(2, num_symbols, batch_size)
  symbols = pairs[0] % 2
  begins = jnp.array(tenths)[:, None]
  lows, highs = drawn * begins // 10, drawn * (begins + 1) // 10
  # A remainder of 32 bits by under 2^10 places is uniform to 3e-7.
  places = lows + (pairs[1] % (highs - lows).astype(jnp.uint32)).astype(int)

  # 256 is a multiple of 4, so the remainder of a random byte is uniform.
  noise = jax.lax.bitcast_convert_type(bits[num_words:], jnp.uint8)
  noise = noise.reshape(-1)[:num_places].reshape(num_steps, batch_size)
  sequence = 2 + noise % NUM_DISTRACTORS
  steps = jnp.arange(num_steps)[:, None]
  targets = jnp.zeros(batch_size, jnp.int32)
  for place, symbol in zip(places, symbols, strict=True):
    here = steps == place[None]
    sequence = jnp.where(here, symbol[None].astype(jnp.uint8), sequence)
    targets = 2 * targets + symbol.astype(jnp.int32)
  return Batch(Symbols(sequence, INPUT_SIZE), targets, lengths)
