"""Temporal order with two symbols (Hochreiter & Schmidhuber 1997, task 6a).

Of L symbols two matter, each A or B; they stand among four distractors, the
first at a place drawn from [L/10, 2L/10), the second from [5L/10, 6L/10). Their
order is asked after the last symbol: AA, AB, BA or BB. The places are those of
the authors' code; arXiv v2's text has the second in [4L/10, 5L/10).
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from steadygrad import _validate, losses
from steadygrad.symbols import OneHot
from steadygrad.tasks import _lengths, _ordered
from steadygrad.types import Array, Batch, Task

TENTHS = (1, 5)


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

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from steadygrad.tasks import temporal_order
    >>> task = temporal_order(length=50)
    >>> batch = task.sample(jax.random.key(0), 20)
    >>> batch.us.shape, batch.targets.shape
    ((50, 20, 6), (20,))
    >>> task.wrong(jnp.zeros((20, task.output_size)), batch).shape
    (20,)
  """
  length, max_length = _lengths.check(
    "temporal_order", length, max_length, _ordered.MIN_LENGTH
  )
  return Task(
    name="temporal_order",
    input_size=_ordered.INPUT_SIZE,
    output_size=4,
    reads="last",
    sample=OneHot(
      functools.partial(_ordered.sample, TENTHS, length, max_length)
    ),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=3 / 4,
    chance_loss=math.log(4),
  )


def temporal_order_with_waits(
  waits: Sequence[int], key: Array, batch_size: int
) -> Batch:
  """Sequences of temporal order whose symbols stand at given places.

  Args:
    waits: three numbers of distractors: before the first symbol, between the
      two, and after the second.
    key: of the batch.
    batch_size: B.

  Returns:
    A batch as `temporal_order` samples it, of sum(waits) + 2 steps.

  Raises:
    ValueError: if `waits` are not three integers of at least 0, or `batch_size`
      is no integer of at least 1.
  """
  if len(waits) != 3:
    raise ValueError(f"waits must be three integers, got {waits!r}")
  for wait in waits:
    _validate.check_integer("waits", wait, least=0)
  _validate.check_integer("batch_size", batch_size)
  key_symbols, key_noise = jax.random.split(key)
  symbols = jax.random.randint(key_symbols, (2, batch_size), 0, 2)
  shape = (sum(waits) + 2, batch_size)
  sequence = 2 + jax.random.randint(
    key_noise, shape, 0, _ordered.NUM_DISTRACTORS
  )
  before, between, _ = waits
  sequence = sequence.at[before].set(symbols[0])
  sequence = sequence.at[before + 1 + between].set(symbols[1])
  us = jax.nn.one_hot(sequence, _ordered.INPUT_SIZE, dtype=jnp.float32)
  return Batch(us, 2 * symbols[0] + symbols[1])
