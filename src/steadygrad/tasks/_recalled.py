"""What memorisation and copying share: symbols, a wait, and their recall."""

import functools
import math

import jax
import jax.numpy as jnp

from steadygrad import losses
from steadygrad.symbols import OneHot, Symbols
from steadygrad.tasks import _lengths
from steadygrad.types import Array, Batch, Task

MIN_LENGTH = 1
# Of a longer range of lengths, the rest of a sum is an integral: the two differ
# by 1e-10 of the sum.
SUMMED = 10_000


def task(
  name: str,
  values: int,
  positions: int,
  ahead: int,
  length: int,
  max_length: int | None,
) -> Task:
  """Remember `positions` symbols of `values` values over L steps.

  positions symbols, L + positions blanks, one of which is a trigger that stands
  `ahead` steps before the first answer. The targets are blanks, and in the last
  `positions` steps the symbols in their order. A blank is class `values`, the
  trigger is input values + 1.

  Args:
    name: of the task.
    values: that a symbol may have.
    positions: symbols to remember.
    ahead: 0 or 1.
    length: L, or the least of them.
    max_length: the largest L, None for one L.
  """
  length, max_length = _lengths.check(name, length, max_length, MIN_LENGTH)
  # Blanks are known, so that only the symbols cost a guess; mean over lengths.
  every_length = range(length, _lengths.longest(length, max_length) + 1)
  shares = _sum_of_shares(positions, every_length)
  chance_loss = math.log(values) * shares / len(every_length)
  return Task(
    name=name,
    input_size=values + 2,
    output_size=values + 1,
    reads="every",
    sample=OneHot(
      functools.partial(_sample, values, positions, ahead, length, max_length)
    ),
    loss=losses.cross_entropy,
    wrong=losses.misclassified,
    chance_error=1 - values**-positions,
    chance_loss=chance_loss,
  )


def _sum_of_shares(positions: int, lengths: range) -> float:
  """Σ over the lengths L of positions / (L + 2 positions)."""
  total = sum([positions / (n + 2 * positions) for n in lengths[:SUMMED]])
  if rest := lengths[SUMMED:]:
    low, high = rest[0] - 0.5, rest[-1] + 0.5
    ratio = (high + 2 * positions) / (low + 2 * positions)
    total += positions * math.log(ratio)
  return total


def _sample(
  values: int,
  positions: int,
  ahead: int,
  length: int,
  max_length: int | None,
  key: Array,
  batch_size: int,
) -> Batch:
  key_length, key_symbols = jax.random.split(key)
  drawn = _lengths.draw(key_length, length, max_length)
  num_steps = _lengths.longest(length, max_length) + 2 * positions
  # The remainder of 32 random bits favours a value by less than 2e-9.
  bits = jax.random.bits(key_symbols, (positions, batch_size), jnp.uint32)
  symbols = (bits % values).astype(jnp.int32)

  recall = (length if drawn is None else drawn) + positions
  blanks = jnp.full((num_steps, batch_size), values, jnp.int32)
  inputs = blanks.at[:positions].set(symbols).at[recall - ahead].set(values + 1)
  targets = jax.lax.dynamic_update_slice(blanks, symbols, (recall, 0))
  lengths = None if drawn is None else drawn + 2 * positions
  us = Symbols(inputs.astype(jnp.uint8), values + 2)
  return Batch(us, targets, lengths)
