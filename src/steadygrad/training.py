"""Training as a pure function of a key.

One seed is written here; `jax.vmap` or `placement.map_seeds` makes it many.
Every random number is a function of the seed's key, of what it is for, and of
the update's number, so that a state needs no generator and methods that are
compared see the same initial weights and the same sequences.
"""

import enum
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import (
  cells,
  evaluation,
  losses,
  models,
  numerics,
  transforms,
  varying,
)
from steadygrad.adjoints import adjoints
from steadygrad.config import TrainConfig
from steadygrad.initializers import INITIALIZERS
from steadygrad.tasks import make_task
from steadygrad.types import Array, Model, PyTree, Task


class Status(enum.IntEnum):
  """What became of a seed."""

  RUNNING = 0
  SOLVED = 1
  DIVERGED = 2


class Stream(enum.IntEnum):
  """What a random number is for; folded into the seed's key."""

  INIT = 0
  DATA = 1
  CHECK = 2
  CONFIRM = 3
  TEST = 4
  INITIAL_STATE = 5


class Hyper(NamedTuple):
  """Numbers of a configuration that may be traced; see `experiment`.

  Attributes:
    learning_rate: [].
    max_norm: threshold of Algorithm 1, []; inf never clips.
    omega_weight: α, [].
    omega_min_squared_norm: bound on |δ_t|², [].
  """

  learning_rate: float | Array
  max_norm: float | Array
  omega_weight: float | Array
  omega_min_squared_norm: float | Array


class _Parts(NamedTuple):
  config: TrainConfig
  task: Task
  model: Model
  tx: optax.GradientTransformationExtraArgs


class Experiment(_Parts):
  """What a run needs; `experiment` builds it from a configuration.

  Built by hand, with a model or a chain that no configuration has, it is as its
  parts say, while a record shows the configuration. So the task must be the one
  that the configuration names (see `tasks.register_task`); nothing compares
  hidden_size, learning_rate and the like with model and chain.

  Attributes:
    config: the `TrainConfig`, resolved.
    task: the `Task`.
    model: the `Model`.
    tx: the Optax chain; `update` takes `trajectory=`.

  Raises:
    ValueError: if the configuration names another task.
  """

  __slots__ = ()

  def __new__(cls, config, task, model, tx):
    if task.name != config.task:
      raise ValueError(
        f"task must be {config.task}, as the configuration says, got"
        f" {task.name}; register_task gives a task of your own a name that a"
        " configuration may have"
      )
    return super().__new__(cls, config, task, model, tx)


class TrainState(NamedTuple):
  """One seed between two updates.

  Attributes:
    params: of the model.
    opt_state: of the chain.
    step: updates made, int32 [].
    status: a `Status`, int32 [].
    solved_at: updates at the first passing check, −1 before, int32 [].
    relapses: failing checks after the first passing one, int32 [].
    sums: {name: sum over the updates since the last check}, float32 [] each;
      of `gradient_norm_max` the largest; of `updates` their number, int32 [].
  """

  params: PyTree
  opt_state: PyTree
  step: Array
  status: Array
  solved_at: Array
  relapses: Array
  sums: dict[str, Array]


def hyper(config: TrainConfig) -> Hyper:
  """The numbers of a configuration that choose no program."""
  return Hyper(*[getattr(config, name) for name in Hyper._fields])


def experiment(
  config: TrainConfig,
  traced: Hyper | None = None,
  *,
  implementation: str | None = None,
) -> Experiment:
  """Task, model and chain of a configuration.

  Args:
    config: the configuration.
    traced: numbers in place of the configuration's, traced ones too: built
      inside a function of them, one program serves all their values.
    implementation: of the fused passes, see `kernels.elman_scan`. It changes
      the speed and the last bits, not the experiment.
  """
  config = config.resolved()
  rate, max_norm, weight, bound = traced or hyper(config)
  rate = _falling(rate, config.learning_rate_half_life)
  task = make_task(config.task, config.length, config.max_length)
  if config.solved_below is not None:
    task = task._replace(solved_below=config.solved_below)
  if config.label_smoothing:
    loss = functools.partial(
      losses.cross_entropy, smoothing=config.label_smoothing
    )
    task = task._replace(loss=loss)
  weights = INITIALIZERS[config.init]()
  cell = cells.elman(
    task.input_size,
    config.hidden_size,
    form=config.form,
    activation=config.activation,
    initializers=weights,
    implementation=implementation,
  )
  readout = models.linear_readout(
    config.hidden_size,
    task.output_size,
    reads=task.reads,
    initializer=weights.w_out,
  )
  if config.algorithm == "msgd":
    max_norm = jnp.inf
    tx = transforms.msgd(rate)
  elif config.algorithm == "msgd_c":
    tx = transforms.msgd_c(rate, max_norm)
  else:
    tx = transforms.msgd_cr(
      cell,
      rate,
      max_norm,
      weight,
      ratio=config.omega_ratio,
      reduction=config.omega_reduction,
      min_squared_norm=bound,
      merged=True,  # The gradients go from `adjoints` straight to the chain.
    )
  if config.readout_learning_rate is not None:
    readout_rate = _falling(
      config.readout_learning_rate, config.learning_rate_half_life
    )
    tx = transforms.readout_apart(tx, readout_rate, max_norm)
  tx = optax.with_extra_args_support(tx)
  return Experiment(config, task, models.recurrent(cell, readout), tx)


def _falling(
  rate: float | Array, half_life: int | None
) -> optax.ScalarOrSchedule:
  """The rate, or a schedule rate 2^(-t / half_life) in updates t."""
  if half_life is None:
    return rate
  return optax.exponential_decay(rate, half_life, decay_rate=0.5)


def init(
  exp: Experiment, key: Array, params: PyTree | None = None
) -> TrainState:
  """The state before the first update of the seed whose key this is.

  Args:
    exp: the experiment.
    key: the seed's.
    params: of a network to go on from, in place of fresh ones. The seed's
      sequences begin again with those of its first update.
  """
  if params is None:
    params = exp.model.init(jax.random.fold_in(key, Stream.INIT))
  zero, opt_state = jnp.zeros([], jnp.int32), exp.tx.init(params)
  told = ("loss", *transforms.telemetry(opt_state), "gradient_norm_max")
  sums = {name: jnp.zeros([], jnp.float32) for name in told}
  sums["updates"] = zero
  state = TrainState(params, opt_state, zero, zero, zero - 1, zero, sums)
  return varying.alike(state, key)


def train_step(
  exp: Experiment, key: Array, state: TrainState
) -> tuple[TrainState, dict[str, Array]]:
  """One update on a fresh batch; info is the loss and the chain's telemetry."""
  data_key = jax.random.fold_in(key, Stream.DATA)
  batch_key = jax.random.fold_in(data_key, state.step)
  batch = exp.task.sample(batch_key, exp.config.batch_size)
  x_0 = _initial_states(exp, key, state)
  loss_and_adjoints = adjoints(exp.model, exp.task.loss)
  loss, grads, trajectory = loss_and_adjoints(state.params, batch, x_0)
  updates, opt_state = exp.tx.update(
    grads, state.opt_state, state.params, trajectory=trajectory
  )
  state = state._replace(
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
    step=state.step + 1,
  )
  info = {"loss": loss} | transforms.telemetry(opt_state)
  return state, {k: v.astype(jnp.float32) for k, v in info.items()}


def _initial_states(exp: Experiment, key: Array, state: TrainState):
  """x_0 + s N(0, 1) of the next batch, [B, N]; None for x_0 itself.

  Meant for networks that must wait: what they must forget before the first
  symbol comes asks for a state that attracts (`presets/settled.py`).
  """
  scale = exp.config.initial_state_scale
  if not scale:
    return None
  cell, batch_size = exp.model.cell, exp.config.batch_size
  x_0 = cell.initial_state(state.params["cell"], batch_size)
  key = jax.random.fold_in(key, Stream.INITIAL_STATE)
  key = jax.random.fold_in(key, state.step)
  return x_0 + scale * jax.random.normal(key, x_0.shape, x_0.dtype)


def run_chunk(
  exp: Experiment,
  key: Array,
  state: TrainState,
  num_updates: Array | int,
  ends: Array | bool = True,
) -> tuple[TrainState, dict[str, Array]]:
  """Updates up to the next check, then the check. A seed that is done rests.

  A chunk may be run in parts, each but the last with `ends` false. The state
  and info after the last part have the bits of the chunk in one.

  Args:
    exp: the experiment.
    key: the seed's.
    state: the seed's.
    num_updates: how many; may be traced.
    ends: whether the check comes after them; may be traced.

  Returns:
    The state, and info: means over the chunk of the loss and the telemetry,
    `gradient_norm_max`, and from the check `error`, `spectral_radius` of w_rec,
    and `step`. Without a check, and of a seed that had stopped before, all but
    `step` are NaN.
  """

  def update(_, state):
    state, info = train_step(exp, key, state)
    sums = {name: state.sums[name] + value for name, value in info.items()}
    sums["gradient_norm_max"] = jnp.maximum(
      state.sums["gradient_norm_max"], info["gradient_norm"]
    )
    return state._replace(sums=sums | {"updates": state.sums["updates"] + 1})

  def finish(state):
    sums = dict(state.sums)
    largest, count = sums.pop("gradient_norm_max"), sums.pop("updates")
    info = {
      name: total / count.astype(total.dtype) for name, total in sums.items()
    }
    blank = jax.tree.map(jnp.zeros_like, state.sums)
    state, checked = check(exp, key, state._replace(sums=blank))
    info |= {"gradient_norm_max": largest} | checked
    return varying.alike((state, info))

  def tell_nothing(state):
    info = jax.eval_shape(finish, state)[1]
    info = {k: jnp.full(v.shape, jnp.nan, v.dtype) for k, v in info.items()}
    return varying.alike((state, info))

  def work(state):
    state = jax.lax.fori_loop(0, num_updates, update, varying.alike(state))
    return jax.lax.cond(ends, finish, tell_nothing, state)

  active = is_active(exp, state)
  state, info = jax.lax.cond(active, work, tell_nothing, state)
  return state, info | {"step": state.step}


def is_active(exp: Experiment, state: TrainState) -> Array:
  """Whether the seed still trains, bool []."""
  active = state.status == Status.RUNNING
  if exp.config.go_on:
    active |= state.status == Status.SOLVED
  return active


def check(
  exp: Experiment, key: Array, state: TrainState
) -> tuple[TrainState, dict[str, Array]]:
  """Whether the seed has solved the task by now, or diverged.

  The error is measured on `check_size` fresh sequences; where that passes, on
  `test_size` others, which decide. A seed has diverged when a parameter is not
  finite.
  """

  error = _checked_error(exp, key, state)
  finite = numerics.all_finite(state.params)
  passed = (error < exp.task.solved_below) & finite
  was_solved = state.solved_at >= 0
  status = jnp.where(was_solved | passed, Status.SOLVED, Status.RUNNING)
  status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
  state = state._replace(
    status=status,
    solved_at=jnp.where(passed & ~was_solved, state.step, state.solved_at),
    relapses=state.relapses + (was_solved & ~passed).astype(jnp.int32),
  )
  info = {"error": error}
  if "w_rec" in state.params["cell"]:
    w_rec = state.params["cell"]["w_rec"]
    info["spectral_radius"] = numerics.spectral_radius(w_rec)
  return state, info


def _checked_error(exp: Experiment, key: Array, state: TrainState) -> Array:
  """Error of the screen, or of the sample that decides where that passes."""
  sizes = exp.config.check_size, exp.config.test_size
  batch_size = evaluation.batch_size_for(*sizes)
  streams = jnp.array([Stream.CHECK, Stream.CONFIRM])

  # A loop over the two stages, so that the evaluation is compiled once.
  def measure(stage, error):
    stream_key = jax.random.fold_in(key, streams[stage])
    step_key = jax.random.fold_in(stream_key, state.step)
    size = jnp.array(sizes)[stage]
    needed = (stage == 0) | (error < exp.task.solved_below)
    wrong = evaluation.count_wrong(
      exp.task,
      exp.model,
      state.params,
      step_key,
      batch_size,
      jnp.where(needed, size // batch_size, 0),
    )
    share = wrong.astype(jnp.float32) / size.astype(jnp.float32)
    return jnp.where(needed, share, error)

  start = varying.alike(jnp.float32(jnp.nan), state, key)
  return jax.lax.fori_loop(0, len(sizes), measure, start)


def test_error(exp: Experiment, key: Array, state: TrainState) -> Array:
  """Error on `test_size` sequences that nothing else has used, []."""
  return evaluation.error(
    exp.task,
    exp.model,
    state.params,
    jax.random.fold_in(key, Stream.TEST),
    exp.config.test_size,
  )


def run(exp: Experiment, key: Array) -> tuple[TrainState, dict[str, Array]]:
  """A whole run as a pure function of a key: jit it, vmap it over keys.

  Args:
    exp: the experiment.
    key: the seed's.

  Returns:
    The last state, and the info of `run_chunk` stacked over checks, with
    `test_error` besides.
  """
  full, rest = divmod(exp.config.max_updates, exp.config.check_every)

  def chunk(state, _):
    return run_chunk(exp, key, state, exp.config.check_every)

  state, info = jax.lax.scan(chunk, init(exp, key), None, length=full)
  if rest:
    state, last = run_chunk(exp, key, state, rest)
    info = jax.tree.map(lambda x, y: jnp.append(x, y), info, last)
  return state, info | {"test_error": test_error(exp, key, state)}
