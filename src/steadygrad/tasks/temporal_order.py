"""Temporal order with two symbols (Hochreiter & Schmidhuber 1997, task 6a).

Of L symbols two matter, each A or B; they stand among four distractors, the
first at a place drawn from [L/10, 2L/10), the second from [5L/10, 6L/10). Their
order is asked after the last symbol: AA, AB, BA or BB. The places are those of
the authors' code; arXiv v2's text has the second in [4L/10, 5L/10).
"""

import functools
import math

from steadygrad import losses
from steadygrad.tasks import _lengths, _ordered
from steadygrad.types import Task

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
  """
  length, max_length = _lengths.check(
    "temporal_order", length, max_length, _ordered.MIN_LENGTH
  )
  return Task(
    name="temporal_order",
    input_size=_ordered.INPUT_SIZE,
    output_size=4,
    reads="last",
    sample=functools.partial(_ordered.sample, TENTHS, length, max_length),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=3 / 4,
    chance_loss=math.log(4),
  )
