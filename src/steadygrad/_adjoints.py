"""The explicit backward pass: loss, gradients, and the error signals in time.

Eqs. 3 to 5 in the order in which they are computed:

  xs = forward(params, us, x_0)
  dxs_t = ∂⁺E/∂x_t, the *immediate* gradient of the loss in the states
  δ_t = dxs_t + p_{t+1},  p_t = δ_t ∂x_t/∂x_{t-1},  p_{T+1} = 0
  dE/dθ = Σ_t δ_t ∂⁺x_t/∂θ

δ_t is the total derivative dE/dx_t. Taking the gradient of the loss at the
stacked states instead gives dxs, which for a loss on the last step is zero
everywhere but there, and an Omega of it that does nothing.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, overload

import jax

from steadygrad import _passes, _validate, trajectories, trees, varying
from steadygrad import _unroll as unrolling
from steadygrad.types import Array, Batch, LossFn, Model, PyTree, Trajectory

_Aux = TypeVar("_Aux")
_Loss = TypeVar("_Loss", covariant=True)  # [], or ([], aux).
_Params = TypeVar("_Params")


class Adjoints(Protocol[_Loss]):
  """What `adjoints` returns, for type checkers."""

  def __call__(
    self, params: _Params, batch: Batch, x_0: PyTree | None = None
  ) -> tuple[_Loss, _Params, Trajectory]:
    """See `adjoints`."""
    ...


Every = int | Literal["sqrt"] | None


def _check_arguments(model, loss_fn, checkpoint_every) -> None:
  """ValueError where `adjoints` is given something else."""
  if not isinstance(model, Model):
    raise ValueError(f"model must be a steadygrad Model, got {type(model)}")
  if not callable(loss_fn):
    raise ValueError(f"loss_fn must be a function, got {loss_fn!r}")
  if isinstance(checkpoint_every, str):
    _validate.check_one_of("checkpoint_every", checkpoint_every, ("sqrt",))
  elif checkpoint_every is not None:
    _validate.check_integer("checkpoint_every", checkpoint_every)


def _interval(checkpoint_every: int | str, num_steps: int) -> int:
  """K, of which T / K + 3 K states are fewest where it is √(T / 3)."""
  if checkpoint_every == "sqrt":
    return max(1, round(math.sqrt(num_steps / 3)))
  return int(checkpoint_every)


def _checked(model, params, batch, x_0) -> tuple[Batch, Array, Array | None]:
  """(batch, inputs of the cell, mask [T, B]): a ValueError names any fault.

  Lengths are an array then, and inputs beyond them finite.
  """
  _validate.check_batch(batch)
  _validate.check_params(params)
  batch_size, num_steps = unrolling.batch_size(batch.us), len(batch.us)
  for what, size in (("step", num_steps), ("sequence", batch_size)):
    if size < 1:
      raise ValueError(f"us must have at least one {what}, got {size}")
  theta = params["cell"]
  trees.check_no_keys("params", params)
  trees.check_no_keys(
    "x_0",
    jax.eval_shape(lambda p: model.cell.initial_state(p, batch_size), theta)
    if x_0 is None
    else x_0,
  )
  lengths = unrolling.check_lengths(batch.lengths, num_steps, batch_size)
  mask = unrolling.step_mask(lengths, num_steps, batch_size)
  us = unrolling.as_read(model.cell, batch.us)
  us = unrolling.finite_beyond(us, mask)
  batch = batch._replace(us=us, lengths=lengths)
  us = model.before(us, lengths)
  unrolling.check_run(model.cell, theta, us, x_0, lengths)
  _check_targets(model, batch)
  return batch, us, mask


def _check_targets(model: Model, batch: Batch) -> None:
  """ValueError where targets of [B, ...] have T in place of B.

  Batch-major arrays with B = T, and targets [T, B, ...] for a loss of the
  user's, pass unseen: their shapes are right.
  """
  shape = getattr(batch.targets, "shape", ())
  num_steps, size = batch.us.shape[:2]
  if model.readout.reads != "last" or not shape:
    return
  if shape[0] == num_steps != size and shape[1:2] != (size,):
    hint = _validate.batch_major_hint(batch, shape)
    raise ValueError(f"targets must have B = {size} rows, got {shape[0]}{hint}")


@overload
def adjoints(
  model: Model,
  loss_fn: LossFn,
  *,
  has_aux: Literal[False] = False,
  checkpoint_every: Every = None,
) -> Adjoints[Array]: ...


@overload
def adjoints(
  model: Model,
  loss_fn: Callable[[Array, Batch], tuple[Array, _Aux]],
  *,
  has_aux: Literal[True],
  checkpoint_every: Every = None,
) -> Adjoints[tuple[Array, _Aux]]: ...


@overload
def adjoints(
  model: Model,
  loss_fn: Callable[[Array, Batch], Any],
  *,
  has_aux: bool,
  checkpoint_every: Every = None,
) -> Adjoints[Any]: ...


def adjoints(
  model: Model,
  loss_fn: Callable[[Array, Batch], Any],
  *,
  has_aux: bool = False,
  checkpoint_every: Every = None,
) -> Adjoints[Any]:
  """Like `jax.value_and_grad` of the model's loss, and the trajectory with it.

  Args:
    model: the model.
    loss_fn: (outputs, batch) -> loss [], or (loss, aux) with `has_aux`.
    has_aux: as in `jax.value_and_grad`.
    checkpoint_every: K, or "sqrt" for the K near √(T / 3) that takes least; if
      given, only every K-th state is kept and the others are recomputed in the
      backward pass, with the same gradients and by `step` alone, without the
      fused pair. Under jit, where the trajectory is not used and the readout
      reads the last step, that takes about T / K + 3 K states in place of 4 T
      besides the inputs; a trajectory that is used, as by Ω, is as long as
      ever.

  Returns:
    (params, batch, x_0=None) -> (loss, grads, trajectory), with `loss` a pair
    (loss, aux) where `has_aux`. `x_0` is the state before the first input,
    `cell.initial_state` if None; one that is given is a constant: no gradient
    flows into where it came from, so that the last state of one chunk of a long
    sequence, `trajectory.xs[-1]`, begins the next under truncated BPTT. The
    gradients equal those of `jax.grad` of the loss of `model.apply`, in a tree
    like `params`, whatever mappings those are; the trajectory holds the error
    signals and products that `add_omega_gradient` reads. The function is pure:
    jit, vmap and scan it. The cell's fused pair is used where it has one. It is
    not meant to be differentiated again: use `model.apply` for that.

    Parameters and states may have leaves that are neither floating nor complex,
    as masks, counters and phases. Their gradients, error signals and products
    are zeros of their own dtype, where `jax.grad` with `allow_int` has float0.
    Links of this package leave such leaves as they come. Optax's do not: Adam's
    moments of them change their dtype, and weight decay changes integers. Wrap
    any optimiser but `msgd`, `msgd_c` and `msgd_cr` in `optax.masked`.

  Raises:
    ValueError: if checkpoint_every is no integer of at least 1, nor "sqrt"; if
      the batch is
      no `Batch`, its inputs are not [T, B, M] with T and B at least 1 and the
      cell's M, its lengths are not integers [] or [B] in 0..T, or targets for a
      readout of the last step have T rows in place of B; if x_0 is not shaped
      as the cell's initial state, or holds numbers of another kind; or if a
      parameter or a state is a typed PRNG key.

  Example:
    >>> import jax
    >>> from steadygrad import adjoints, cells, models, tasks
    >>> task = tasks.temporal_order(length=10)
    >>> cell = cells.elman(task.input_size, hidden_size=8)
    >>> readout = models.linear_readout(8, task.output_size)
    >>> model = models.recurrent(cell, readout)
    >>> params = model.init(jax.random.key(0))
    >>> batch = task.sample(jax.random.key(1), 5)
    >>> loss, grads, trajectory = adjoints(model, task.loss)(params, batch)
    >>> trajectory.deltas.shape  # dE/dx_t, [T, B, N].
    (10, 5, 8)
  """
  _check_arguments(model, loss_fn, checkpoint_every)
  cell = model.cell

  def loss_and_adjoints(params, batch: Batch, x_0: PyTree | None = None):
    batch, us, mask = _checked(model, params, batch, x_0)
    lengths = batch.lengths
    theta = params["cell"]
    carried = x_0 is not None
    if not carried:
      x_0 = cell.initial_state(theta, us.shape[1])

    def loss_of(readout, ys):
      loss, grads = jax.value_and_grad(
        lambda p, ys: loss_fn(model.readout.read(p, ys, mask), batch),
        argnums=(0, 1),
        has_aux=has_aux,
        allow_int=True,
      )(readout, ys)
      return loss, trees.zeros_where_exact(grads, (readout, ys))

    # Each device's own, see `varying`: what they add up to is summed once.
    own, own_x_0 = varying.alike((theta, x_0), params, batch)
    own = {"cell": own, "readout": params["readout"]}
    arguments = model, loss_of, own, us, own_x_0, lengths
    if checkpoint_every is not None:
      interval = _interval(checkpoint_every, len(us))
      done = _passes.rematerialised_pass(*arguments, interval)
    elif cell.fused:
      done = _passes.fused_pass(cell.fused, *arguments)
    else:
      done = _passes.generic_pass(*arguments)
    back = done.back
    seen = Trajectory(
      theta, x_0, done.xs, us, back.deltas, back.products, mask, done.ys
    )
    trajectory = trajectories.with_gradients(
      cell, seen, done.d_cell, back, carried=carried
    )
    parts = {"cell": trajectory.grads, "readout": done.d_readout}
    return done.loss, trees.place(params, parts), trajectory

  return loss_and_adjoints
