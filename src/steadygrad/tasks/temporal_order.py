"""Temporal order with two symbols (Hochreiter & Schmidhuber 1997, task 6a).

Of L symbols two matter, each A or B; they stand among four distractors, the
first at a place drawn from [L/10, 2L/10), the second from [5L/10, 6L/10). Their
order is asked after the last symbol: AA, AB, BA or BB. The places are those of
the authors' code; arXiv v2's text has the second in [4L/10, 5L/10).
"""

import functools

import jax
import jax.numpy as jnp

from steadygrad import losses
from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch, Task

NUM_DISTRACTORS = 4
MIN_LENGTH = 10  # Under it an interval of L/10 places is empty.


def temporal_order(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are one-hot [T, B, 6]: A, B, then the distractors. Targets are classes
  [B], 2 · first + second. Read after the last step. Chance error 3/4.

  Args:
    length: L, at least 10.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded to max_length and `lengths` is that L.

  Raises:
    ValueError: on a length under 10 or a max_length under length.
  """
  _lengths.check(length, max_length, MIN_LENGTH)
  return Task(
    name="temporal_order",
    input_size=2 + NUM_DISTRACTORS,
    output_size=4,
    reads="last",
    sample=functools.partial(_sample, length, max_length),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=0.75,
  )


def _sample(
  length: int, max_length: int | None, key: Array, batch_size: int
) -> Batch:
  # One draw for all: a generator's call costs more than its numbers here.
  num_steps = length if max_length is None else max_length
  num_places = num_steps * batch_size
  shape = (1 + 4 * batch_size + -(-num_places // 4),)
  bits = jax.random.bits(key, shape, jnp.uint32)
  lengths = _lengths.from_bits(bits[0], length, max_length)
  drawn = jnp.int32(length if lengths is None else lengths)

  pairs = bits[1 : 1 + 4 * batch_size].reshape(2, 2, batch_size)
  symbols = pairs[0] % 2
  lows = jnp.stack([drawn // 10, drawn // 2])[:, None]
  highs = jnp.stack([drawn * 2 // 10, drawn * 6 // 10])[:, None]
  # A remainder of 32 bits by under 2^10 places is uniform to 3e-7.
  places = lows + (pairs[1] % (highs - lows).astype(jnp.uint32)).astype(int)

  # 256 is a multiple of 4, so the remainder of a random byte is uniform.
  noise = jax.lax.bitcast_convert_type(bits[1 + 4 * batch_size :], jnp.uint8)
  noise = noise.reshape(-1)[:num_places].reshape(num_steps, batch_size)
  sequence = 2 + noise % NUM_DISTRACTORS
  steps = jnp.arange(num_steps)[:, None]
  for place, symbol in zip(places, symbols, strict=True):
    sequence = jnp.where(steps == place, symbol.astype(jnp.uint8), sequence)
  us = jax.nn.one_hot(sequence, 2 + NUM_DISTRACTORS, dtype=jnp.float32)
  targets = (2 * symbols[0] + symbols[1]).astype(jnp.int32)
  return Batch(us, targets, lengths)
