"""Error of a model on fresh sequences."""

import jax
import jax.numpy as jnp

from steadygrad.types import Array, Model, PyTree, Task

BATCH_SIZE = 250  # Large enough for the matrix products, small for the memory.


def error(
  task: Task, model: Model, params: PyTree, key: Array, num_sequences: int
) -> Array:
  """Share of sequences answered wrongly, float32 [].

  Args:
    task: where the sequences come from.
    model: the model.
    params: its parameters.
    key: of the sequences; another key, other sequences.
    num_sequences: how many, a multiple of 250 or less than 250.

  Raises:
    ValueError: on another `num_sequences`.
  """
  batch_size = min(num_sequences, BATCH_SIZE)
  if num_sequences < 1 or num_sequences % batch_size:
    raise ValueError(
      f"num_sequences must be under {BATCH_SIZE} or a multiple of it, got"
      f" {num_sequences}"
    )

  def count(i, total):
    batch = task.sample(jax.random.fold_in(key, i), batch_size)
    outputs = model.apply(params, batch.us, batch.lengths)
    return total + jnp.sum(task.wrong(outputs, batch), dtype=jnp.int32)

  num_batches = num_sequences // batch_size
  wrong = jax.lax.fori_loop(0, num_batches, count, jnp.zeros([], jnp.int32))
  return wrong.astype(jnp.float32) / num_sequences
