"""Addition (Hochreiter & Schmidhuber 1997, task 4; the authors' variant).

Every step brings a number from U[0, 1). Two of them are marked, one among the
first tenth of the steps, one between there and the middle; half their sum is
asked after the last step. Wrong is a *squared* error above .04.
"""

from steadygrad.tasks import _stretched
from steadygrad.types import Task


def addition(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are [T, B, 2], mark and number; targets [B, 1], (first + second) / 2.
  Read after the last step. The best constant is 1/2: 36 % wrong, with a squared
  error of 1/24.

  Args:
    length: L, at least 10. The steps of a batch are drawn from
      L..L + L // 10 − 1 and are its `lengths`.
    max_length: if given, every batch draws L from length..max_length, both
      included. Batches are padded to the most steps there may be.

  Raises:
    ValueError: on a length under 10 or a max_length under length.
  """
  return _stretched.task(
    "addition", lambda a, b: (a + b) / 2, 0.36, 1 / 24, length, max_length
  )
