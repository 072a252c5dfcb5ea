"""Tasks, by the name they have on the command line."""

from steadygrad.tasks.adding import adding
from steadygrad.tasks.addition import addition
from steadygrad.tasks.copy import copy
from steadygrad.tasks.memorization import (
  memorization_5_bits,
  memorization_20_bits,
)
from steadygrad.tasks.multiplication import multiplication
from steadygrad.tasks.random_permutation import random_permutation
from steadygrad.tasks.temporal_order import temporal_order
from steadygrad.tasks.three_bit_temporal_order import three_bit_temporal_order

TASKS = {
  f.__name__: f
  for f in (
    temporal_order,
    three_bit_temporal_order,
    addition,
    multiplication,
    random_permutation,
    memorization_5_bits,
    memorization_20_bits,
    copy,
    adding,
  )
}

__all__ = ["TASKS", *TASKS]
