"""Where the batches of an experiment come from.

`fresh` draws new sequences of a task for every update. `chunks` walks through
the pieces of a corpus: the state of the network is carried from chunk to chunk
of a piece and the gradient is not, which is back-propagation through time
truncated at the chunk.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import symbols
from steadygrad._unroll import as_read, select
from steadygrad.data import streams
from steadygrad.data.streams import Plan, Stream
from steadygrad.training import state as states
from steadygrad.types import (
  Array,
  Batch,
  Inputs,
  Model,
  PyTree,
  Task,
  Trajectory,
)


class Data(NamedTuple):
  """Arrays that an experiment reads besides its state.

  Attributes:
    shared: the same for all seeds, `Experiment.data`.
    plan: of one seed in one period, `Batches.plan`.
  """

  shared: PyTree = ()
  plan: PyTree = ()


class Batches(NamedTuple):
  """Where batches come from; pure functions but for `plan`.

  Attributes:
    name: of the task or the data set.
    period: updates between two judgements, see `Stopping`.
    draw: (data, key, step, carry, params) -> (`Batch`, x_0; None for the
      cell's own).
    start: params -> the carry of the first update.
    carry: `Trajectory` -> that of the next one.
    plan: (seed, period's number) -> NumPy arrays that `draw` looks at.
  """

  name: str
  period: int
  draw: Callable[[Data, Array, Array, PyTree, PyTree], tuple[Batch, Any]]
  start: Callable[[PyTree], PyTree] = lambda _: ()
  carry: Callable[[Trajectory], PyTree] = lambda _: ()
  plan: Callable[[int, int], PyTree] = lambda *_: ()


def fresh(
  task: Task,
  model: Model,
  batch_size: int,
  period: int,
  *,
  initial_state_scale: float = 0.0,
) -> Batches:
  """New sequences of a task for every update, a function of its number.

  Args:
    task: the task.
    model: the model.
    batch_size: B.
    period: updates between two checks.
    initial_state_scale: s; the state before the first step is the cell's own
      and s N(0, 1). Meant for networks that must wait: what they must forget
      before the first symbol comes asks for a state that attracts.
  """
  sample = symbols.sampler(task.sample)

  def draw(data, key, step, carry, params):
    del data, carry
    data_key = jax.random.fold_in(key, states.Stream.DATA)
    batch = sample(jax.random.fold_in(data_key, step), batch_size)
    if not initial_state_scale:
      return batch, None
    x_0 = model.cell.initial_state(params["cell"], batch_size)
    key = jax.random.fold_in(key, states.Stream.INITIAL_STATE)
    key = jax.random.fold_in(key, step)
    noise = jax.random.normal(key, x_0.shape, x_0.dtype)
    return batch, x_0 + initial_state_scale * noise

  return Batches(task.name, period, draw)


def chunks(
  name: str,
  stream: Stream,
  model: Model,
  encode: Callable[[Array], Inputs],
  batch_size: int,
  chunk_length: int,
  *,
  shuffled: bool,
) -> Batches:
  """Chunks of a stream, whose rows are `data.shared["training"]`.

  Args:
    name: of the data set.
    stream: the pieces.
    model: the model.
    encode: rows of the stream -> inputs [..., M].
    batch_size: chunks an update, B.
    chunk_length: steps of a chunk.
    shuffled: whether pieces come in a new order in each pass.
  """

  def plan(seed: int, number: int) -> Plan:
    rng = np.random.default_rng([seed, number]) if shuffled else None
    return streams.deal(stream, batch_size, chunk_length, rng)

  period = len(streams.deal(stream, batch_size, chunk_length).begins)

  def draw(data, key, step, carry, params):
    del key
    chunk = jax.tree.map(lambda a: jnp.asarray(a)[step % period], data.plan)
    rows = jnp.asarray(data.shared["training"])
    return look(
      model, encode, rows, stream.ahead, chunk_length, chunk, carry, params
    )

  return Batches(
    name,
    period,
    draw,
    start=lambda params: model.cell.initial_state(params["cell"], batch_size),
    carry=lambda trajectory: jax.tree.map(lambda xs: xs[-1], trajectory.xs),
    plan=plan,
  )


def look(
  model: Model,
  encode: Callable[[Array], Inputs],
  rows: Array,
  ahead: int,
  chunk_length: int,
  chunk: Plan,
  x: PyTree,
  params: PyTree,
) -> tuple[Batch, PyTree]:
  """(`Batch`, states before it) of a chunk; `targets` are rows of the stream.

  Args:
    model: the model.
    encode: as for `chunks`.
    rows: of the stream.
    ahead: of the stream.
    chunk_length: steps, T.
    chunk: begins, lengths, fresh and pieces, [B] each.
    x: states in which the chunks before ended, leaves [B, ...].
    params: of the model.
  """
  steps = jnp.arange(chunk_length, dtype=jnp.int32)
  index = chunk.begins[None] + steps[:, None]
  index = jnp.minimum(index, len(rows) - 1 - ahead)
  us = as_read(model.cell, encode(rows[index]))
  targets = rows[index + ahead]
  x_0 = model.cell.initial_state(params["cell"], len(chunk.begins))
  batch = Batch(us, targets, jnp.asarray(chunk.lengths))
  return batch, select(jnp.asarray(chunk.fresh), x_0, x)
