"""Noiseless memorisation (Hochreiter & Schmidhuber 1997; Martens & S. 2011).

m symbols, then L blanks, a trigger and m − 1 blanks; from the trigger on the
symbols are asked in their order, before it blanks. As in the authors' code.
"""

from steadygrad.tasks import _recalled
from steadygrad.types import Task


def memorization_5_bits(length: int, max_length: int | None = None) -> Task:
  """Five symbols of two values; see `memorization_20_bits`.

  Inputs are one-hot [T, B, 4], targets classes [T, B] of three. Chance error
  1 − 2⁻⁵.
  """
  return _recalled.task("memorization_5_bits", 2, 5, 0, length, max_length)


def memorization_20_bits(length: int, max_length: int | None = None) -> Task:
  """Ten symbols of five values, 23 bits: "over 20 bits".

  Inputs are one-hot [T, B, 7], T = L + 20: the five values, blank, trigger.
  Targets are classes [T, B]: the values, blank. Every step is read, and a
  sequence is wrong if one step of it is. Chance error 1 − 5⁻¹⁰.

  Args:
    length: L, blanks between the last symbol and the trigger, at least 1.
    max_length: if given, every batch draws L from length..max_length, both
      included; it is padded and `lengths` is L + 20.

  Raises:
    ValueError: on a length under 1 or a max_length under length.
  """
  return _recalled.task("memorization_20_bits", 5, 10, 0, length, max_length)
