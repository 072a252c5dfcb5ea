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
from flax import linen as nn

from steadygrad import cells, models, numerics, transforms
from steadygrad.adjoints import adjoints
from steadygrad.initializers import INITIALIZERS
from steadygrad.natural_config import MUSIC, NaturalConfig
from steadygrad.packing import Plan
from steadygrad.tasks import music, text
from steadygrad.types import Array, Batch, Model, PyTree
from steadygrad.unroll import select, step_mask, unroll


class Status(enum.IntEnum):
  """What became of a seed."""

  RUNNING = 0
  STOPPED = 1  # By patience or halvings at their end.
  DIVERGED = 2


class Hyper(NamedTuple):
  """Numbers of a configuration that may be traced, each []."""

  learning_rate: float | Array
  max_norm: float | Array
  omega_weight: float | Array
  omega_min_squared_norm: float | Array


class Experiment(NamedTuple):
  """What a run needs, built from a configuration.

  Attributes:
    config: the `NaturalConfig`.
    model: the `Model`.
    encode: rows of the stream -> inputs [..., M].
    step_losses: (outputs, target rows) -> nats, [...].
    chain: (learning rate, Ω's weight) -> the Optax chain; both may be traced.
    hyper: `Hyper`.
  """

  config: NaturalConfig
  model: Model
  encode: object
  step_losses: object
  chain: object
  hyper: Hyper


class TrainState(NamedTuple):
  """One seed between two updates.

  Attributes:
    params: of the model.
    opt_state: of the chain.
    x: states of the lanes, leaves [B, ...].
    sums: {name: sum over the pass so far}.
    update: updates made in this pass, int32 [].
    epoch: passes completed, int32 [].
    rate: learning rate, [].
    best_params: at the best validation error.
    best_valid: the best validation error, nats per step, [].
    best_epoch: pass after which that was, int32 [].
    last_valid: validation error of the last pass, [].
    waited: passes since the best one or the last halving, int32 [].
    status: a `Status`, int32 [].
  """

  params: PyTree
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


def hyper(config: NaturalConfig) -> Hyper:
  """The numbers of a configuration that choose no program."""
  return Hyper(*[getattr(config, name) for name in Hyper._fields])


def experiment(
  config: NaturalConfig,
  num_symbols: int,
  traced: Hyper | None = None,
  *,
  implementation: str | None = None,
) -> Experiment:
  """Model, encoding, cost and chain of a configuration.

  Args:
    config: the configuration.
    num_symbols: M = O, notes or symbols of the vocabulary.
    traced: numbers in place of the configuration's, traced ones too.
    implementation: of the fused passes, see `kernels.elman_scan`.
  """
  if config.data in MUSIC:
    step_losses, encode = music.step_losses, _as_float
  else:
    step_losses = text.step_losses
    encode = functools.partial(jax.nn.one_hot, num_classes=num_symbols)
  cell = _cell(config, num_symbols, implementation)
  readout = models.linear_readout(
    config.hidden_size,
    num_symbols,
    reads="every",
    initializer=INITIALIZERS[config.init]().w_out,
    use_bias=config.use_bias,
  )
  numbers = traced or hyper(config)
  chain = functools.partial(_chain, config, cell, numbers)
  model = models.recurrent(cell, readout)
  return Experiment(config, model, encode, step_losses, chain, numbers)


def _as_float(rows: Array) -> Array:
  return rows.astype(jnp.float32)


def _cell(config, num_symbols, implementation):
  if config.cell == "lstm":
    return cells.linen(
      nn.OptimizedLSTMCell(features=config.hidden_size), num_symbols
    )
  return cells.elman(
    num_symbols,
    config.hidden_size,
    form=config.form,
    activation=config.activation,
    initializers=INITIALIZERS[config.init](),
    use_bias=config.use_bias,
    implementation=implementation,
  )


def _chain(config, cell, numbers, rate, weight):
  links = []
  if config.algorithm == "msgd_cr":
    add_omega = transforms.add_omega_gradient(
      cell,
      weight,
      ratio=config.omega_ratio,
      reduction=config.omega_reduction,
      min_squared_norm=numbers.omega_min_squared_norm,
      # The gradients go from `adjoints` straight to the chain.
      merged=cell.fused is not None,
    )
    links.append(("omega", add_omega))
  max_norm = jnp.inf if config.algorithm == "msgd" else numbers.max_norm
  links.append(("clip", transforms.clip_by_global_norm(max_norm)))
  last = {
    "sgd": optax.sgd,
    "nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "adam": optax.adam,
  }[config.optimizer]
  links.append((config.optimizer, last(rate)))
  return optax.with_extra_args_support(optax.named_chain(*links))


def init(exp: Experiment, key: Array) -> TrainState:
  """The state before the first pass of the seed whose key this is."""
  params = exp.model.init(key)
  tx = exp.chain(exp.hyper.learning_rate, exp.hyper.omega_weight)
  x = exp.model.cell.initial_state(params["cell"], exp.config.batch_size)
  zero, inf = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf)
  opt_state = tx.init(params)
  names = ("steps", "loss", "gradient_norm_max")
  sums = [*names, *transforms.telemetry(opt_state)]
  return TrainState(
    params=params,
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


def _look(exp: Experiment, rows: Array, ahead: int, chunk: Plan, x: PyTree, p):
  """(Batch, states before it) of a chunk; `targets` are the stream's rows."""
  index = chunk.begins + jnp.arange(exp.config.chunk_length)[:, None]
  index = jnp.minimum(index, len(rows) - 1 - ahead)
  us, targets = exp.encode(rows[index]), rows[index + ahead]
  x_0 = exp.model.cell.initial_state(p["cell"], len(chunk.begins))
  x = select(chunk.fresh, x_0, x)
  return Batch(us, targets, chunk.lengths), x


def _masked_losses(exp: Experiment, outputs: Array, batch: Batch) -> Array:
  """Nats [T, B], zero beyond the lengths."""
  losses = exp.step_losses(outputs, batch.targets)
  mask = step_mask(batch.lengths, *losses.shape)
  return jnp.where(mask, losses, 0)


def chunk_cost(
  exp: Experiment, outputs: Array, batch: Batch
) -> tuple[Array, Array]:
  """(cost, sum of the steps' losses), both in nats.

  With `cost` "mean" the cost is the mean over all steps of the chunks of the
  update, each step with the same weight; with "sum" it is the sum over the
  steps of a chunk, and the mean over the chunks with any.
  """
  total = jnp.sum(_masked_losses(exp, outputs, batch))
  if exp.config.cost == "mean":
    count = jnp.sum(batch.lengths)
  else:
    count = jnp.sum(batch.lengths > 0)
  return total / jnp.maximum(count, 1), total


def omega_weight(exp: Experiment, epoch: Array) -> Array:
  """α in pass `epoch` + 1, see `omega_decay`."""
  weight = jnp.asarray(exp.hyper.omega_weight, jnp.float32)
  if exp.config.omega_decay == "epoch":
    weight = weight / (epoch + 1)
  return weight


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
    sums = {k: v + told.get(k, 0) for k, v in state.sums.items()}
    sums["loss"] += total
    sums["steps"] += jnp.sum(chunk.lengths)
    sums["gradient_norm_max"] = jnp.maximum(
      sums["gradient_norm_max"], told["gradient_norm"]
    )
    return state._replace(
      params=optax.apply_updates(state.params, updates),
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
    losses = _masked_losses(exp, outputs, batch).sum(0)
    return jax.tree.map(lambda s: s[-1], xs), losses

  x = cell.initial_state(theta, plan.begins.shape[1])
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
  totals = evaluate(exp, rows, ahead, plan, state.params, num_pieces)
  valid = jnp.sum(totals) / jnp.sum(plan.lengths)
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
  best_params = _choose(better, state.params, state.best_params)
  best_epoch = jnp.where(better, epoch, state.best_epoch)
  rate = jnp.where(halves, state.rate / 2, state.rate)
  # Half a halving of room for rounding.
  least = exp.hyper.learning_rate * 2 ** -(config.max_halvings + 0.5)
  over = (epoch - best_epoch >= config.patience) | (rate < least)
  status = jnp.where(over, Status.STOPPED, Status.RUNNING)
  params, opt_state, last_valid = state.params, state.opt_state, valid
  best_valid = jnp.minimum(valid, state.best_valid)
  if config.go_back:
    params = _choose(halves & (best_epoch > 0), best_params, params)
    tx = exp.chain(state.rate, 0.0)
    opt_state = _choose(halves, tx.init(params), opt_state)
    last_valid = jnp.where(halves, best_valid, valid)
    finite |= best_epoch > 0
  status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
  count = jnp.maximum(state.update, 1)
  info = {k: v / count for k, v in sums.items() if k != "steps"}
  info["gradient_norm_max"] = sums["gradient_norm_max"]
  info["loss"] = sums["loss"] / jnp.maximum(sums["steps"], 1)
  info |= {"valid": valid, "rate": state.rate}
  if "w_rec" in state.params["cell"]:
    w_rec = state.params["cell"]["w_rec"]
    info["spectral_radius"] = numerics.spectral_radius(w_rec)
  state = state._replace(
    params=params,
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
