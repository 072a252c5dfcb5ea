"""Music and text: chunks with a carried state, passes, and when to stop.

One seed is written here, as in `training`. The data stay on the device as the
rows of a `packing.Stream`; a `packing.Plan` says which of them an update sees.
The state of the network is carried from chunk to chunk of a piece and the
gradient is not: back-propagation through time truncated at the chunk.
"""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import numerics, transforms, varying
from steadygrad.adjoints import adjoints
from steadygrad.natural_experiment import (
  Experiment,
  chunk_cost,
  masked_losses,
  omega_weight,
)
from steadygrad.packing import Plan
from steadygrad.types import Array, Batch, PyTree
from steadygrad.unroll import select, unroll


class Status(enum.IntEnum):
  """What became of a seed."""

  RUNNING = 0
  STOPPED = 1  # By patience or halvings at their end.
  DIVERGED = 2


class TrainState(NamedTuple):
  """One seed between two updates.

  Attributes:
    params: of the model.
    average: running average of them, None without one.
    opt_state: of the chain.
    x: states of the lanes, leaves [B, ...].
    sums: {name: sum over the pass so far}.
    update: updates made in this pass, int32 [].
    epoch: passes completed, int32 [].
    rate: learning rate, [].
    best_params: at the best validation error; of the average, with one.
    best_valid: the best validation error, nats per step, [].
    best_epoch: pass after which that was, int32 [].
    last_valid: validation error of the last pass, [].
    waited: passes since the best one or the last halving, int32 [].
    status: a `Status`, int32 [].
  """

  params: PyTree
  average: PyTree | None
  opt_state: PyTree
  x: PyTree
  sums: dict[str, Array]
  update: Array
  epoch: Array
  rate: Array
  best_params: PyTree
  best_valid: Array
  best_epoch: Array
  last_valid: Array
  waited: Array
  status: Array


def init(exp: Experiment, key: Array) -> TrainState:
  """The state before the first pass of the seed whose key this is."""
  params = exp.model.init(key)
  tx = exp.chain(exp.hyper.learning_rate, exp.hyper.omega_weight)
  x = exp.model.cell.initial_state(params["cell"], exp.config.batch_size)
  zero, inf = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf)
  opt_state = tx.init(params)
  names = ("steps", "loss", "gradient_norm_max")
  sums = [*names, *transforms.telemetry(opt_state)]
  state = TrainState(
    params=params,
    average=None if exp.config.average is None else params,
    opt_state=opt_state,
    x=x,
    sums={name: jnp.zeros([]) for name in sums},
    update=zero,
    epoch=zero,
    rate=jnp.asarray(exp.hyper.learning_rate, jnp.float32),
    best_params=params,
    best_valid=inf,
    best_epoch=zero,
    last_valid=inf,
    waited=zero,
    status=zero,
  )
  return varying.alike(state, key)


def _look(exp: Experiment, rows: Array, ahead: int, chunk: Plan, x: PyTree, p):
  """(Batch, states before it) of a chunk; `targets` are the stream's rows."""
  steps = jnp.arange(exp.config.chunk_length, dtype=jnp.int32)
  index = chunk.begins[None] + steps[:, None]
  index = jnp.minimum(index, len(rows) - 1 - ahead)
  us, targets = exp.encode(rows[index]), rows[index + ahead]
  x_0 = exp.model.cell.initial_state(p["cell"], len(chunk.begins))
  x = select(chunk.fresh, x_0, x)
  return Batch(us, targets, chunk.lengths), x


def train_updates(
  exp: Experiment,
  rows: Array,
  ahead: int,
  plan: Plan,
  state: TrainState,
  stop: Array | int,
) -> TrainState:
  """Updates of the pass up to number `stop`, from where the state stands.

  Args:
    exp: the experiment.
    rows: of the training stream.
    ahead: of the training stream.
    plan: of this pass, [U, B] each.
    state: the seed's.
    stop: may be traced; U ends the pass.
  """
  rows, plan = jax.tree.map(jnp.asarray, (rows, plan))
  cost = functools.partial(chunk_cost, exp)
  loss_and_adjoints = adjoints(exp.model, cost, has_aux=True)
  tx = exp.chain(state.rate, omega_weight(exp, state.epoch))

  def update(state):
    chunk = jax.tree.map(lambda a: a[state.update], plan)
    batch, x = _look(exp, rows, ahead, chunk, state.x, state.params)
    (_, total), grads, trajectory = loss_and_adjoints(state.params, batch, x)
    updates, opt_state = tx.update(
      grads, state.opt_state, state.params, trajectory=trajectory
    )
    told = transforms.telemetry(opt_state)
    sums = {
      k: v + jnp.asarray(told.get(k, 0), v.dtype) for k, v in state.sums.items()
    }
    sums["loss"] += total
    sums["steps"] += jnp.sum(chunk.lengths).astype(sums["steps"].dtype)
    sums["gradient_norm_max"] = jnp.maximum(
      sums["gradient_norm_max"], told["gradient_norm"]
    )
    params, average = optax.apply_updates(state.params, updates), state.average
    if average is not None:
      share = exp.config.average
      average = optax.incremental_update(params, average, share)
    return state._replace(
      params=params,
      average=average,
      opt_state=opt_state,
      x=jax.tree.map(lambda xs: xs[-1], trajectory.xs),
      sums=jax.tree.map(lambda s: s.astype(jnp.float32), sums),
      update=state.update + 1,
    )

  def going(state):
    return (state.update < stop) & (state.status == Status.RUNNING)

  return jax.lax.while_loop(going, update, state)


def evaluate(
  exp: Experiment,
  rows: Array,
  ahead: int,
  plan: Plan,
  params: PyTree,
  num_pieces: int,
) -> Array:
  """Each piece's total loss in nats, [num_pieces]; states carried throughout.

  Args:
    exp: the experiment.
    rows: of a stream.
    ahead: of that stream.
    plan: of that stream, any number of lanes.
    params: of the model.
    num_pieces: P.
  """
  cell, theta = exp.model.cell, params["cell"]
  rows = jnp.asarray(rows)

  def chunk_of(x, chunk):
    batch, x = _look(exp, rows, ahead, chunk, x, params)
    if cell.fused:
      xs, ys = cell.fused.forward(theta, batch.us, x, batch.lengths)
    else:
      xs = unroll(cell, theta, batch.us, x_0=x, lengths=batch.lengths)
      ys = cell.output(xs)
    outputs = exp.model.readout.apply(params["readout"], ys)
    losses = masked_losses(exp, outputs, batch).sum(0)
    return jax.tree.map(lambda s: s[-1], xs), losses

  x = cell.initial_state(theta, plan.begins.shape[1])
  x = varying.alike(x, theta, rows, plan)
  _, losses = jax.lax.scan(chunk_of, x, plan)
  return jax.ops.segment_sum(
    losses.ravel(), plan.pieces.ravel(), num_segments=num_pieces
  )


def end_epoch(
  exp: Experiment,
  rows: Array,
  ahead: int,
  plan: Plan,
  num_pieces: int,
  state: TrainState,
) -> tuple[TrainState, dict[str, Array]]:
  """Validation after a pass: the best is kept, the rate halved, or it ends.

  With `average` it is the average that is validated and kept.

  The learning rate is halved when the validation error is not below that of
  the pass before (arXiv v2's appendix: halved when the error rises), not by a
  share `min_gain` below it (.003 in Mikolov's rnnlm), or after
  `halve_after` passes that were not the best so far. A seed
  ends with its patience, or where the rate would be halved too often. It has
  diverged when that error is not finite; with `go_back` and a best to go back
  to, it goes back instead, and the next pass is compared with the best.

  Args:
    exp: the experiment.
    rows: of the validation stream.
    ahead: of the validation stream.
    plan: of the validation stream.
    num_pieces: of the validation stream.
    state: the seed's, at the end of a pass.

  Returns:
    The state, its pass counted, and info of the pass.
  """
  config, sums = exp.config, state.sums
  shown = state.params if config.average is None else state.average
  totals = evaluate(exp, rows, ahead, plan, shown, num_pieces)
  valid = jnp.sum(totals) / jnp.sum(plan.lengths).astype(totals.dtype)
  finite = jnp.isfinite(valid) & numerics.all_finite(state.params)
  valid = jnp.where(finite, valid, jnp.inf)
  epoch = state.epoch + 1
  better = valid < state.best_valid
  waited = jnp.where(better, 0, state.waited + 1)
  halves = ~(valid < (1 - config.min_gain) * state.last_valid)
  if config.halve_after is not None:
    halves = waited >= config.halve_after
  if config.go_back:
    halves |= ~finite
  best_params = _choose(better, shown, state.best_params)
  best_epoch = jnp.where(better, epoch, state.best_epoch)
  rate = jnp.where(halves, state.rate / 2, state.rate)
  # Half a halving of room for rounding.
  least = exp.hyper.learning_rate * 2 ** -(config.max_halvings + 0.5)
  over = (epoch - best_epoch >= config.patience) | (rate < least)
  status = jnp.where(over, Status.STOPPED, Status.RUNNING)
  params, average, opt_state = state.params, state.average, state.opt_state
  last_valid = valid
  best_valid = jnp.minimum(valid, state.best_valid)
  if config.go_back:
    back = halves & (best_epoch > 0)
    params = _choose(back, best_params, params)
    if average is not None:
      average = _choose(back, best_params, average)
    tx = exp.chain(state.rate, 0.0)
    opt_state = _choose(halves, tx.init(params), opt_state)
    last_valid = jnp.where(halves, best_valid, valid)
    finite |= best_epoch > 0
  status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
  count = jnp.maximum(state.update, 1).astype(jnp.float32)
  info = {k: v / count for k, v in sums.items() if k != "steps"}
  info["gradient_norm_max"] = sums["gradient_norm_max"]
  info["loss"] = sums["loss"] / jnp.maximum(sums["steps"], 1)
  info |= {"valid": valid, "rate": state.rate}
  if "w_rec" in state.params["cell"]:
    w_rec = state.params["cell"]["w_rec"]
    info["spectral_radius"] = numerics.spectral_radius(w_rec)
  state = state._replace(
    params=params,
    average=average,
    opt_state=opt_state,
    sums=jax.tree.map(jnp.zeros_like, sums),
    update=jnp.zeros_like(state.update),
    epoch=epoch,
    rate=rate,
    best_params=best_params,
    best_valid=best_valid,
    best_epoch=best_epoch,
    last_valid=last_valid,
    waited=jnp.where(halves, 0, waited),
    status=status,
  )
  return state, info


def _choose(condition: Array, tree: PyTree, otherwise: PyTree) -> PyTree:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), tree, otherwise)
