"""Multiplication (Hochreiter & Schmidhuber 1997, task 5; authors' variant).

As `addition`, but the product of the two marked numbers is asked.
"""

import math

from steadygrad.tasks import _stretched
from steadygrad.types import Task

# P(ab ≤ z) = z (1 − ln z), so that the best constant, .2, is right for
# ab ≤ .4; the constant of least squares is 1/4, with E a² E b² − 1/16.
CHANCE_ERROR = 1 - 0.4 * (1 - math.log(0.4))
CHANCE_LOSS = 7 / 144


def multiplication(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are [T, B, 2], mark and number; targets [B, 1], first · second. Read
  after the last step. The constant .2 is wrong for 23.35 %, the least of all;
  the constant 1/4 has the least squared error, 7/144, and 39.05 % wrong.

  Args:
    length: L, at least 10. The steps of a batch are drawn from
      L..L + L // 10 − 1 and are its `lengths`.
    max_length: if given, every batch draws L from length..max_length, both
      included. Batches are padded to the most steps there may be.

  Raises:
    ValueError: on a length under 10 or a max_length under length.
  """
  return _stretched.task(
    "multiplication",
    lambda a, b: a * b,
    CHANCE_ERROR,
    CHANCE_LOSS,
    length,
    max_length,
  )
