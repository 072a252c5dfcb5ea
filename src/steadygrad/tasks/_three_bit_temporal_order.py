"""Temporal order with three symbols (Hochreiter & Schmidhuber 1997, task 6b).

As `temporal_order`, with three symbols that matter, at places drawn from
[L/10, 2L/10), [3L/10, 4L/10) and [6L/10, 7L/10); eight answers.
"""

import functools
import math

from steadygrad import losses
from steadygrad.symbols import OneHot
from steadygrad.tasks import _lengths, _ordered
from steadygrad.types import Task

TENTHS = (1, 3, 6)


def three_bit_temporal_order(
  length: int, max_length: int | None = None
) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are one-hot [T, B, 6]: A, B, then the distractors. Targets are classes
  [B], 4 · first + 2 · second + third. Read after the last step. Chance error
  7/8.

  Args:
    length: L, at least 10.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded to max_length and `lengths` is that L.

  Raises:
    ValueError: on a length under 10 or a max_length under length.
  """
  name = "three_bit_temporal_order"
  length, max_length = _lengths.check(
    name, length, max_length, _ordered.MIN_LENGTH
  )
  return Task(
    name=name,
    input_size=_ordered.INPUT_SIZE,
    output_size=8,
    reads="last",
    sample=OneHot(
      functools.partial(_ordered.sample, TENTHS, length, max_length)
    ),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=7 / 8,
    chance_loss=math.log(8),
  )
