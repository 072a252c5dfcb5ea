"""Training as a pure function of a key.

One seed is written here; `jax.vmap` or `placement.map_seeds` makes it many.
Every random number is a function of the seed's key, of what it is for, and of
the update's number, so that a state needs no generator and methods that are
compared see the same initial weights and the same sequences.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from steadygrad import numerics, transforms, varying
from steadygrad._adjoints import adjoints
from steadygrad.training import stability
from steadygrad.training._experiment import Experiment
from steadygrad.training.batches import Data
from steadygrad.training.state import TrainState
from steadygrad.types import Array, PyTree


def init(exp: Experiment, key: Array, params: PyTree = None) -> TrainState:
  """The state before the first update of the seed whose key this is.

  Args:
    exp: the experiment.
    key: the seed's.
    params: of a network to go on from, in place of fresh ones. The seed's
      sequences begin again with those of its first update.
  """
  params = exp.init(key) if params is None else params
  verdict = exp.stopping.init(params)
  opt_state = exp.chain(verdict).init(params)
  told = ["loss", *transforms.telemetry(opt_state), "gradient_norm_max"]
  if exp.corpus is not None:
    told.append("steps")
  sums = {name: jnp.zeros([], jnp.float32) for name in told}
  zero = jnp.zeros([], jnp.int32)
  state = TrainState(
    params=params,
    average=None if exp.config.average is None else params,
    opt_state=opt_state,
    carry=exp.batches.start(params),
    step=zero,
    sums=sums | {"updates": zero},
    verdict=verdict,
    stability=stability.init(),
  )
  return varying.alike(state, key)


def _interval(config) -> int | Literal["sqrt"] | None:
  """`checkpoint_every` of `adjoints`; a transformer's blocks see to theirs."""
  given = config.checkpoint_every
  if given is None or config.model == "transformer":
    return None
  return "sqrt" if given == "sqrt" else int(given)


def update(
  exp: Experiment, data: Data, key: Array, state: TrainState
) -> tuple[TrainState, dict[str, Array]]:
  """One update; info is what the loss tells, and the chain's telemetry."""
  batch, x_0 = exp.batches.draw(
    data, key, state.step, state.carry, state.params
  )
  loss_and_adjoints = adjoints(
    exp.model, exp.loss, has_aux=True, checkpoint_every=_interval(exp.config)
  )
  (value, told), grads, trajectory = loss_and_adjoints(state.params, batch, x_0)
  updates, opt_state = exp.chain(state.verdict).update(
    grads, state.opt_state, state.params, trajectory=trajectory, value=value
  )
  params, average = optax.apply_updates(state.params, updates), state.average
  if average is not None:
    average = optax.incremental_update(params, average, exp.config.average)
  state = state._replace(
    params=params,
    average=average,
    opt_state=opt_state,
    carry=exp.batches.carry(trajectory),
    step=state.step + 1,
  )
  info = told | transforms.telemetry(opt_state)
  return state, {k: v.astype(jnp.float32) for k, v in info.items()}


def advance(
  exp: Experiment,
  data: Data,
  key: Array,
  state: TrainState,
  num_updates: Array | int,
) -> TrainState:
  """The state after updates up to the next judgement. A done seed rests.

  They may be made in parts: the state has the same bits.

  Args:
    exp: the experiment.
    data: what it reads.
    key: the seed's.
    state: the seed's.
    num_updates: how many; may be traced.
  """

  def one(_, state):
    state, info = update(exp, data, key, state)
    sums = {name: state.sums[name] + value for name, value in info.items()}
    sums["gradient_norm_max"] = jnp.maximum(
      state.sums["gradient_norm_max"], info["gradient_norm"]
    )
    return state._replace(
      sums=sums | {"updates": state.sums["updates"] + 1},
      stability=stability.update(state.stability, info),
    )

  active = exp.stopping.active(state.verdict)
  count = jnp.where(active, num_updates, 0)
  return jax.lax.fori_loop(0, count, one, varying.alike(state))


def judge(
  exp: Experiment, data: Data, key: Array, state: TrainState
) -> tuple[TrainState, dict[str, Array]]:
  """The judgement after the updates of a chunk; (state, info) as of `chunk`."""

  def finish(state):
    info = _means(state.sums)
    if "w_rec" in state.params["cell"]:
      w_rec = state.params["cell"]["w_rec"]
      info["spectral_radius"] = numerics.spectral_radius(w_rec)
    blank = jax.tree.map(jnp.zeros_like, state.sums)
    state, judged = exp.stopping.judge(data, key, state._replace(sums=blank))
    return varying.alike((state, info | judged))

  def tell_nothing(state):
    info = jax.eval_shape(finish, state)[1]
    info = {k: jnp.full(v.shape, jnp.nan, v.dtype) for k, v in info.items()}
    return varying.alike((state, info))

  active = exp.stopping.active(state.verdict)
  state, info = jax.lax.cond(active, finish, tell_nothing, state)
  return state, info | {"step": state.step}


def chunk(
  exp: Experiment,
  data: Data,
  key: Array,
  state: TrainState,
  num_updates: Array | int,
) -> tuple[TrainState, dict[str, Array]]:
  """Updates up to the next judgement, then that: `advance` and `judge`.

  Args:
    exp: the experiment.
    data: what it reads.
    key: the seed's.
    state: the seed's. One that is done rests.
    num_updates: how many; may be traced.

  Returns:
    The state, and info: means over the chunk of the loss and the telemetry,
    `gradient_norm_max`, the `spectral_radius` of w_rec, what `Stopping.judge`
    tells, and `step`. Of a seed that had stopped before, all but `step` are
    NaN.
  """
  state = advance(exp, data, key, state, num_updates)
  return judge(exp, data, key, state)


def _means(sums: dict[str, Array]) -> dict[str, Array]:
  """Means over updates; of the loss over steps where they are counted."""
  sums = dict(sums)
  largest, count = sums.pop("gradient_norm_max"), sums.pop("updates")
  steps = sums.pop("steps", None)
  info = {
    name: total / count.astype(total.dtype) for name, total in sums.items()
  }
  if steps is not None:
    info["loss"] = sums["loss"] / jnp.maximum(steps, 1)
  return info | {"gradient_norm_max": largest}


def run(exp: Experiment, key: Array) -> tuple[TrainState, dict[str, Array]]:
  """A whole run on a task as a pure function of a key: jit it, vmap it.

  Args:
    exp: the experiment.
    key: the seed's.

  Returns:
    The last state, and the info of `chunk` stacked over checks, with
    `test_error` besides.

  Raises:
    ValueError: on a corpus, whose passes are planned by the host.

  Example:
    >>> import jax
    >>> from steadygrad.training import TaskConfig, experiment, run
    >>> config = TaskConfig(
    ...   length=10, max_updates=4, check_every=2, check_size=10, test_size=10
    ... )
    >>> exp = experiment(config)
    >>> seeds = jax.random.split(jax.random.key(0), 3)
    >>> state, info = jax.jit(jax.vmap(lambda key: run(exp, key)))(seeds)
    >>> info["loss"].shape  # Seeds, checks.
    (3, 2)
  """
  if exp.corpus is not None:
    raise ValueError(f"run must be of a task, got {exp.config.data}")
  data = Data(exp.data)
  full, rest = divmod(exp.config.max_updates, exp.config.check_every)

  def part(state, _):
    return chunk(exp, data, key, state, exp.config.check_every)

  state, info = jax.lax.scan(part, init(exp, key), None, length=full)
  if rest:
    state, last = chunk(exp, data, key, state, rest)
    info = jax.tree.map(lambda x, y: jnp.append(x, y), info, last)
  return state, info | exp.stopping.test(data, key, state)
