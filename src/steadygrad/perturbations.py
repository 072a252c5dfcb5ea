"""What training adds to its sequences so that states which wait must attract.

A network that is asked after 200 steps need only hold its states for so long.
Where it has to come back to them after a push, they attract, and hold for
thousands (`experiments/presets/settled.py`).
"""

import jax
import jax.numpy as jnp

from steadygrad.types import Array, Batch


def spread(x: Array, scale: float, key: Array) -> Array:
  """x + s N(0, 1), of the shape of x: states [B, N], s the scale."""
  return x + scale * jax.random.normal(key, x.shape, x.dtype)


def kick(batch: Batch, scale: float, key: Array) -> Batch:
  """s N(0, 1) on the inputs [M] of one step of each sequence, and no other.

  Args:
    batch: inputs [T, B, M]. The step of each sequence is drawn from all of its
      own, the first `lengths` of T.
    scale: s.
    key: of this batch.
  """
  num_steps, batch_size, _ = batch.us.shape
  lengths = num_steps if batch.lengths is None else batch.lengths
  key_steps, key_kicks = jax.random.split(key)
  steps = jax.random.randint(key_steps, (batch_size,), 0, lengths)
  kicks = scale * jax.random.normal(
    key_kicks, batch.us.shape[1:], batch.us.dtype
  )
  us = batch.us.at[steps, jnp.arange(batch_size)].add(kicks)
  return batch._replace(us=us)
