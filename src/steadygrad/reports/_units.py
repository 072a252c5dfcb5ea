"""What the states of a scan say of its units: still, dead, saturated."""

from typing import NamedTuple

import jax.numpy as jnp

from steadygrad.reports._ranges import Range
from steadygrad.types import Array

_NEAR = 0.005  # Of the width of a range: |x| > .99 of a tanh.


class Units(NamedTuple):
  """Shares of one state x_1 .. x_T [T, B, ...]; a unit is one of its [...].

  Attributes:
    still: of the units: those that hold one number from the first step to the
      last, in each sequence, be it another one in another sequence.
    dead: of the units: those that are 0 at every step of every sequence, as a
      ReLU is that never opens. They are still too.
    saturated: of the values: those that lie near an end of the range that the
      state cannot leave, see `_ranges`: closer than .005 of its width, so that
      |x| > .99 for a tanh. NaN where no range is known, or a value lies outside
      it because the first state did.
  """

  still: Array
  dead: Array
  saturated: Array


def units(states: Array, bounds: Range | None) -> Units:
  """`Units` of states [T, B, ...], or [T, N] of one sequence."""
  x = states if states.ndim > 2 else states[:, None]
  still, dead = jnp.all(x == x[:1], (0, 1)), jnp.all(x == 0, (0, 1))
  saturated = jnp.float32(jnp.nan)
  if bounds is not None:
    low, high = bounds
    near = _NEAR * (high - low)
    ends = (x < low + near) | (x > high - near)
    inside = jnp.all((x >= low - near) & (x <= high + near))
    saturated = jnp.where(inside, jnp.mean(ends, dtype=jnp.float32), jnp.nan)
  return Units(
    jnp.mean(still, dtype=jnp.float32),
    jnp.mean(dead, dtype=jnp.float32),
    saturated,
  )
