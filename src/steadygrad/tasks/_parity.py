"""Parity: whether a sequence of bits has an odd number of ones.

Every bit turns the answer, so that a network must move between two states for
as long as the sequence is. A linear recurrence of positive factors cannot, in
one layer and for all lengths (arXiv 2411.12537).
"""

import functools
import math

import jax
import jax.numpy as jnp

from steadygrad import losses
from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch, Task

MIN_LENGTH = 1


def parity(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are bits [T, B, 1]; targets are classes [B], the sum of the bits modulo
  2. Read after the last step. Chance error 1/2. Customary are lengths of 1 to
  40 in training, and tests at longer ones.

  Args:
    length: L, at least 1.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded to max_length and `lengths` is that L.

  Raises:
    ValueError: on a length under 1 or a max_length under length.
  """
  length, max_length = _lengths.check("parity", length, max_length, MIN_LENGTH)
  return Task(
    name="parity",
    input_size=1,
    output_size=2,
    reads="last",
    sample=functools.partial(_sample, length, max_length),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=1 / 2,
    chance_loss=math.log(2),
  )


def _sample(length, max_length, key: Array, batch_size: int) -> Batch:
  key_length, key_bits = jax.random.split(key)
  num_steps = _lengths.longest(length, max_length)
  lengths = _lengths.draw(key_length, length, max_length)
  bits = jax.random.bits(key_bits, (num_steps, batch_size), jnp.uint8) % 2
  bits = bits.astype(jnp.int32)
  counts = jnp.arange(num_steps) < (length if lengths is None else lengths)
  targets = jnp.sum(jnp.where(counts[:, None], bits, 0), 0) % 2
  return Batch(bits[..., None].astype(jnp.float32), targets, lengths)
