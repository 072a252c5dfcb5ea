"""The copying problem in its later standard form.

As in Arjovsky, Shah & Bengio (2016): ten symbols of eight values, T − 1 blanks,
a delimiter, ten blanks; the targets are T + 10 blanks and then the ten symbols.
Published results are cross-entropies, beside 10 ln 8 / (T + 20) without memory.
"""

from steadygrad.tasks import _recalled
from steadygrad.types import Task


def copy(length: int, max_length: int | None = None) -> Task:
  """The task at one length, or at one drawn from a range for every batch.

  Inputs are one-hot [T + 20, B, 10], targets classes [T + 20, B] of nine. Every
  step is read, and a sequence is wrong if one step of it is. Chance error
  1 − 8⁻¹⁰.

  Args:
    length: T, at least 1.
    max_length: if given, every batch draws T from length..max_length, both
      included; it is padded and `lengths` is T + 20.

  Raises:
    ValueError: on a length under 1 or a max_length under length.
  """
  return _recalled.task("copy", 8, 10, 1, length, max_length)
