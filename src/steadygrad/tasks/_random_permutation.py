"""Random permutation (Hochreiter & Schmidhuber 1997, task 2b, as the authors').

Of 100 symbols two matter: the first of the sequence is one of them, and the
symbol to follow the sequence is the same. In between stand the other 98, at
random. Only the last prediction can be made, and only it is trained and scored,
as in the authors' code.
"""

import functools
import math

import jax
import jax.numpy as jnp

from steadygrad import losses
from steadygrad.symbols import OneHot, Symbols
from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch, Task

NUM_SYMBOLS = 100
MIN_LENGTH = 1


def random_permutation(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are one-hot [T, B, 100]: symbol 0 or 1, then symbols 2 to 99. Targets
  are classes [B], 0 or 1 of 100. Read after the last step. Chance error 1/2.

  Args:
    length: L, inputs before the symbol that is asked; at least 1.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded to max_length and `lengths` is that L.

  Raises:
    ValueError: on a length under 1 or a max_length under length.
  """
  length, max_length = _lengths.check(
    "random_permutation", length, max_length, MIN_LENGTH
  )
  return Task(
    name="random_permutation",
    input_size=NUM_SYMBOLS,
    output_size=NUM_SYMBOLS,
    reads="last",
    sample=OneHot(functools.partial(_sample, length, max_length)),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=1 / 2,
    chance_loss=math.log(2),
  )


def _sample(length, max_length, key: Array, batch_size: int) -> Batch:
  keys = jax.random.split(key, 3)
  num_steps = _lengths.longest(length, max_length)
  lengths = _lengths.draw(keys[0], length, max_length)
  firsts = jax.random.bits(keys[1], (batch_size,), jnp.uint8) % 2
  firsts = firsts.astype(jnp.int32)
  # The remainder of 32 random bits favours a symbol by 2e-8 of its share.
  bits = jax.random.bits(keys[2], (num_steps, batch_size), jnp.uint32)
  sequence = (2 + bits % (NUM_SYMBOLS - 2)).astype(jnp.int32)
  sequence = sequence.at[0].set(firsts)
  us = Symbols(sequence.astype(jnp.uint8), NUM_SYMBOLS)
  return Batch(us, firsts, lengths)
