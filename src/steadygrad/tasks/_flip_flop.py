"""The flip-flop language (arXiv 2306.00946): the bit written last is asked.

Every step has an instruction, write, read or ignore, and a bit. The first
instruction is a write, the last a read, and eight of ten between them ignore
their bits; the others are writes and reads alike. A read shows the bit that was
written last, but for the last read, which asks for it. The source asks at every
read, and has two symbols, an instruction and its bit, where a step is here.
"""

import functools
import math

import jax
import jax.numpy as jnp

from steadygrad import losses
from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch, Task

WRITE, READ, IGNORE = range(3)
INPUT_SIZE = 3 + 2
IN_TEN = {WRITE: 1, READ: 1}  # The rest of ten steps ignore their bits.
MIN_LENGTH = 2


def flip_flop(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are [T, B, 5]: the instruction, one-hot, then the bit, one-hot, zeros
  where it is asked. Targets are classes [B], the bit. Read after the last step.
  Chance error 1/2.

  Args:
    length: L, at least 2.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded to max_length and `lengths` is that L.

  Raises:
    ValueError: on a length under 2 or a max_length under length.
  """
  length, max_length = _lengths.check(
    "flip_flop", length, max_length, MIN_LENGTH
  )
  return Task(
    name="flip_flop",
    input_size=INPUT_SIZE,
    output_size=2,
    reads="last",
    sample=functools.partial(_sample, length, max_length),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=1 / 2,
    chance_loss=math.log(2),
  )


def _sample(length, max_length, key: Array, batch_size: int) -> Batch:
  key_length, key_steps = jax.random.split(key)
  num_steps = _lengths.longest(length, max_length)
  lengths = _lengths.draw(key_length, length, max_length)
  last = (length if lengths is None else lengths) - 1
  # A remainder of 32 random bits is uniform to 2e-9, whatever the highest bit.
  drawn = jax.random.bits(key_steps, (num_steps, batch_size), jnp.uint32)
  kinds = jnp.full(drawn.shape, IGNORE)
  kinds = jnp.where(drawn % 10 < IN_TEN[WRITE] + IN_TEN[READ], READ, kinds)
  kinds = jnp.where(drawn % 10 < IN_TEN[WRITE], WRITE, kinds)
  steps = jnp.arange(num_steps)[:, None]
  kinds = jnp.where(steps == last, READ, kinds.at[0].set(WRITE))

  bits = (drawn >> 31).astype(jnp.int32)
  latest = jax.lax.cummax(jnp.where(kinds == WRITE, steps, 0))
  written = jnp.take_along_axis(bits, latest, 0)
  shown = jnp.where(kinds == READ, written, bits)
  asked = (steps == last)[..., None]
  us = jnp.concatenate(
    [
      jax.nn.one_hot(kinds, 3),
      jnp.where(asked, 0, jax.nn.one_hot(shown, 2)),
    ],
    -1,
  )
  return Batch(us, written[last], lengths)
