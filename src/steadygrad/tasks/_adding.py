"""The adding problem in its later standard form.

As in Le, Jaitly & Hinton (2015) and Arjovsky, Shah & Bengio (2016): of T
numbers from U[0, 1) two are marked, one in each half; their sum is asked.
Published results are squared errors, beside the 1/6 of the constant 1.
"""

import functools

import jax

from steadygrad import losses
from steadygrad.tasks import _lengths, _marked
from steadygrad.types import Array, Batch, Task

MIN_LENGTH = 2


def adding(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are [T, B, 2], mark and number; targets [B, 1], first + second. Read
  after the last step. Wrong is a squared error above .04: the best constant, 1,
  is wrong for 64 %, with a squared error of 1/6.

  Args:
    length: T, at least 2. The first mark falls on the first T // 2 steps.
    max_length: if given, every batch draws T from length..max_length, both
      included; it is padded to max_length and `lengths` is that T.

  Raises:
    ValueError: on a length under 2 or a max_length under length.
  """
  length, max_length = _lengths.check("adding", length, max_length, MIN_LENGTH)
  return Task(
    name="adding",
    input_size=2,
    output_size=1,
    reads="last",
    sample=functools.partial(_sample, length, max_length),
    loss=losses.squared_error,
    wrong=losses.off_by_a_fifth,
    chance_error=0.64,
    chance_loss=1 / 6,
  )


def _places(num_steps):
  return 0, num_steps // 2, num_steps


def _sample(length, max_length, key: Array, batch_size: int) -> Batch:
  key_length, key_rest = jax.random.split(key)
  return _marked.sample(
    _places,
    lambda a, b: a + b,
    _lengths.longest(length, max_length),
    _lengths.draw(key_length, length, max_length),
    key_rest,
    batch_size,
  )
