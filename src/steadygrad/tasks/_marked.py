"""What the three arithmetic tasks share: two marked numbers among many."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad.types import Array, Batch


def sample(
  places: Callable[[Array | int], tuple],
  answer: Callable[[Array, Array], Array],
  num_steps: int,
  lengths: Array | None,
  key: Array,
  batch_size: int,
) -> Batch:
  """Numbers from U[0, 1), two of which are marked, one in each of two ranges.

  Args:
    places: steps of a sequence -> (low, middle, high): the first mark falls on
      low..middle − 1, the second on middle..high − 1.
    answer: of the two marked numbers, (first [B], second [B]) -> [B].
    num_steps: T.
    lengths: steps of the batch's sequences, int32 []; None for T.
    key: of the batch.
    batch_size: B.

  Returns:
    Inputs [T, B, 2], the mark (0 or 1) and the number; targets [B, 1].
  """
  key_places, key_numbers = jax.random.split(key)
  low, middle, high = places(num_steps if lengths is None else lengths)
  marked = jax.random.randint(
    key_places,
    (2, batch_size),
    jnp.array([low, middle])[:, None],
    jnp.array([middle, high])[:, None],
  )
  numbers = jax.random.uniform(key_numbers, (num_steps, batch_size))
  first, second = jnp.take_along_axis(numbers, marked, 0)
  steps = jnp.arange(num_steps)[:, None]
  marks = (steps == marked[:1]) | (steps == marked[1:])
  us = jnp.stack([marks.astype(numbers.dtype), numbers], -1)
  return Batch(us, answer(first, second)[:, None], lengths)
