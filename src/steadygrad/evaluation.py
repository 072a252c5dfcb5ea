"""Error of a model on fresh sequences."""

import math

import jax
import jax.numpy as jnp

from steadygrad import _validate, varying
from steadygrad.types import Array, Model, PyTree, Task

BATCH_SIZE = 250  # Large enough for the matrix products, small for the memory.


def batch_size_for(*sizes: int) -> int:
  """Largest batch, up to 250, that all these numbers of sequences split into.

  Raises:
    ValueError: if a size is not positive, or over 250 and no multiple of it.
  """
  for size in sizes:
    _validate.check_integer("num_sequences", size)
    if size < 1 or (size > BATCH_SIZE and size % BATCH_SIZE):
      raise ValueError(
        f"num_sequences must be under {BATCH_SIZE} or a multiple of it, got"
        f" {size}"
      )
  common = math.gcd(*sizes)
  return max(d for d in range(1, BATCH_SIZE + 1) if common % d == 0)


def count_wrong(
  task: Task,
  model: Model,
  params: PyTree,
  key: Array,
  batch_size: int,
  num_batches: Array | int,
) -> Array:
  """How many of batch_size · num_batches fresh sequences go wrong, int32 [].

  A task that draws one length for a batch is sampled one sequence at a time, so
  that every sequence has a length of its own. Forty batches of 250 would be
  only forty lengths, and the error varies far more between lengths than the
  binomial spread of 10000 sequences says.

  Args:
    task: where the sequences come from.
    model: the model.
    params: its parameters.
    key: of the sequences; another key, other sequences.
    batch_size: sequences at a time.
    num_batches: may be traced.

  Raises:
    ValueError: if batch_size is no integer of at least 1, or num_batches is
      concretely none of at least 0.
  """
  _validate.check_integer("batch_size", batch_size)
  _validate.check_integer("num_batches", num_batches, least=0, traced=True)

  def wrong_of(key, batch_size):
    batch = task.sample(key, batch_size)
    return task.wrong(model.apply(params, batch.us, batch.lengths), batch)

  lengths = jax.eval_shape(lambda k: task.sample(k, batch_size).lengths, key)
  one_length_a_batch = lengths is not None and lengths.ndim == 0

  def count(i, total):
    batch_key = jax.random.fold_in(key, i)
    if one_length_a_batch:
      keys = jax.random.split(batch_key, batch_size)
      wrong = jax.vmap(lambda k: wrong_of(k, 1))(keys)
    else:
      wrong = wrong_of(batch_key, batch_size)
    return total + jnp.sum(wrong, dtype=jnp.int32)

  start = varying.alike(jnp.zeros([], jnp.int32), params, key)
  return jax.lax.fori_loop(0, num_batches, count, start)


def error(
  task: Task, model: Model, params: PyTree, key: Array, num_sequences: int
) -> Array:
  """Share of fresh sequences answered wrongly, float32 [].

  Args:
    task: where the sequences come from.
    model: the model.
    params: its parameters.
    key: of the sequences; another key, other sequences.
    num_sequences: how many, a multiple of 250 or less than 250.

  Raises:
    ValueError: on another `num_sequences`.
  """
  batch_size = batch_size_for(num_sequences)
  num_batches = num_sequences // batch_size
  wrong = count_wrong(task, model, params, key, batch_size, num_batches)
  return wrong.astype(jnp.float32) / num_sequences
