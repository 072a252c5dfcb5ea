"""What a model gets wrong, on fresh sequences and on pieces of a corpus."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate, symbols, varying
from steadygrad._unroll import step_mask, unroll
from steadygrad.data.streams import Plan
from steadygrad.training import batches
from steadygrad.types import Array, Inputs, Model, PyTree, Task

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
    ValueError: if batch_size is no integer of at least 1, num_batches is
      concretely none of at least 0, or the task does not say what is wrong.
  """
  _validate.check_integer("batch_size", batch_size)
  _validate.check_integer("num_batches", num_batches, least=0, traced=True)
  wrong = task.wrong
  if wrong is None:
    raise ValueError(f"task {task.name} must have wrong, got None")

  sample = symbols.sampler(task.sample)

  def wrong_of(key, batch_size):
    batch = sample(key, batch_size)
    return wrong(model.apply(params, batch.us, batch.lengths), batch)

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


class Encoding(NamedTuple):
  """What a model is given of a stream, and what its outputs cost.

  Attributes:
    encode: rows of the stream -> inputs [..., M].
    step_losses: (outputs, target rows) -> nats, [...].
  """

  encode: Callable[[Array], Inputs]
  step_losses: Callable[[Array, Array], Array]


def piece_losses(
  model: Model,
  encoding: Encoding,
  rows: Array,
  ahead: int,
  chunk_length: int,
  plan: Plan,
  params: PyTree,
  num_pieces: int,
) -> Array:
  """Each piece's total loss in nats, [P]; states are carried throughout.

  Args:
    model: the model.
    encoding: of the stream.
    rows: of the stream.
    ahead: of the stream.
    chunk_length: steps at a time.
    plan: of the stream, any number of lanes.
    params: of the model.
    num_pieces: P.
  """
  cell, theta = model.cell, params["cell"]
  rows, plan = jax.tree.map(jnp.asarray, (rows, plan))

  def chunk_of(x, chunk):
    batch, x = batches.look(
      model, encoding.encode, rows, ahead, chunk_length, chunk, x, params
    )
    if cell.fused:
      xs, ys = cell.fused.forward(theta, batch.us, x, batch.lengths)
    else:
      xs = unroll(cell, theta, batch.us, x_0=x, lengths=batch.lengths)
      ys = cell.output(xs)
    mask = step_mask(batch.lengths, *ys.shape[:2])
    outputs = model.readout.read(params["readout"], ys, mask)
    losses = masked(encoding.step_losses(outputs, batch.targets), batch.lengths)
    return jax.tree.map(lambda s: s[-1], xs), losses.sum(0)

  x = cell.initial_state(theta, plan.begins.shape[1])
  x = varying.alike(x, theta, rows, plan)
  _, losses = jax.lax.scan(chunk_of, x, plan)
  return jax.ops.segment_sum(
    losses.ravel(), plan.pieces.ravel(), num_segments=num_pieces
  )


def masked(losses: Array, lengths: Array | None) -> Array:
  """Losses [T, B], zero beyond the lengths [B]."""
  mask = step_mask(lengths, *losses.shape)
  return losses if mask is None else jnp.where(mask, losses, 0)


def wilson_interval(
  successes: int, trials: int, z: float = 1.959964
) -> tuple[float, float]:
  """Wilson's score interval of a success rate, 95 % by default: (low, high).

  Raises:
    ValueError: unless 0 <= successes <= trials and trials >= 1.
  """
  if not 0 <= successes <= trials or trials < 1:
    raise ValueError(
      f"successes must lie in 0..trials and trials be positive, got"
      f" {successes} of {trials}"
    )
  rate = successes / trials
  scale = 1 + z * z / trials
  centre = (rate + z * z / (2 * trials)) / scale
  spread = rate * (1 - rate) / trials + z * z / (4 * trials * trials)
  half = z * math.sqrt(spread) / scale
  low, high = max(0.0, centre - half), min(1.0, centre + half)
  return (0.0 if successes == 0 else low), (
    1.0 if successes == trials else high
  )
