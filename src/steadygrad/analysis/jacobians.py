"""Jacobians through time: one step, their products, and what decays with lag.

  J_t = ∂x_t/∂x_{t-1}, with J_t[i, j] = ∂x_t[i] / ∂x_{t-1}[j]
  ∂x_t/∂x_k = J_t J_{t-1} ⋯ J_{k+1}                                eq. 5

States are row vectors, so an error signal is sent back as delta_t J_t. For the
Elman network in the x-form J_t = w_recᵀ diag(σ′(x_{t-1})).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import _unroll as unrolling
from steadygrad import _validate
from steadygrad._adjoints import adjoints
from steadygrad.activations import activation as find_activation
from steadygrad.analysis import _checks, _states
from steadygrad.numerics import joint_norm, promoted
from steadygrad.types import Array, Batch, Cell, Model, PyTree, Trajectory


class LagProfile(NamedTuple):
  """∂x_T/∂x_{T-lag} for lag = 1..T; index lag - 1.

  Attributes:
    log_norms: [T, B], log of the 2-norm.
    log_singular_values: [T, B, N], descending. Those far below the largest are
      rounding: of a product in float32, seven digits; use `lyapunov` for them.
    finite: bool [T, B], False where a product or a factor was not finite; the
      logarithms are NaN there.
  """

  log_norms: Array
  log_singular_values: Array
  finite: Array


class DeltaProfile(NamedTuple):
  """|δ| by lag before each sequence's last step; index 0 is that step.

  Attributes:
    norms: [T, B], |dE/dx_{T-lag}|; 0 where not valid.
    valid: bool [T, B], whether the sequence is that long.
  """

  norms: Array
  valid: Array


def step_jacobians(
  cell: Cell,
  params: PyTree,
  xs: PyTree,
  us: Array,
  *,
  x_0: PyTree,
  mask: Array | None = None,
) -> Array:
  """J_t of any cell at every step, by vjp of its step; no recursion.

  Args:
    cell: the cell; states of several leaves count as one vector of N.
    params: its parameters.
    xs: leaves [T, B, ...].
    us: [T, B, M].
    x_0: leaves [B, ...].
    mask: bool [T, B]; beyond a length the state stays and J_t = 1.

  Returns:
    [T, B, N, N].

  Raises:
    ValueError: if states are not floating-point or concrete ones not finite, us
      not [T, B, M], or states or mask of another T or B.
  """
  us = _checks.real_array("us", us, "[T, B, M]", half=True)
  _checks.check_finite("xs", xs)
  _checks.check_leading("x_0", x_0, us.shape[1:2])
  steps = jax.tree.map(lambda x: np.broadcast_to(0, (len(us), *x.shape)), x_0)
  _validate.check_same_shapes("xs", xs, steps)
  if mask is not None:
    _checks.check_leading("mask", mask, us.shape[:2])
  x_tm1s = unrolling.previous_states(x_0, xs)
  flat = _states.flatten(x_tm1s, batch_ndim=2)
  step = _states.flat_step(cell, params, x_0)
  jacobians = jax.vmap(jax.vmap(jax.jacrev(step)))(flat, us)
  if mask is None:
    return jacobians
  eye = jnp.eye(flat.shape[-1], dtype=jacobians.dtype)
  return jnp.where(mask[:, :, None, None], jacobians, eye)


def elman_jacobians(
  w_rec: Array,
  x_tm1s: Array,
  *,
  activation: str,
  form: str = "x",
  xs: Array | None = None,
) -> Array:
  """J_t of the Elman network in closed form.

    x-form  J_t[i, j] = w_rec[j, i] σ′(x_{t-1}[j])
    h-form  J_t[i, j] = w_rec[j, i] σ′ at h_t[i]

  Args:
    w_rec: [N, N], row-vector form.
    x_tm1s: states before the steps, [..., N].
    activation: its name.
    form: "x" or "h".
    xs: states after the steps, [..., N]; the h-form needs them.

  Returns:
    [..., N, N].

  Raises:
    ValueError: if w_rec is not square, states are not [..., N], or the form is
      unknown or lacks `xs`.
  """
  w_rec = _checks.real_array("w_rec", w_rec, "[N, N]", half=True)
  _checks.check_square("w_rec", w_rec)
  for name, states in (("x_tm1s", x_tm1s), ("xs", xs)):
    if states is not None and np.shape(states)[-1:] != w_rec.shape[:1]:
      raise ValueError(
        f"{name} must be [..., {len(w_rec)}] for w_rec of shape {w_rec.shape},"
        f" got shape {np.shape(states)}"
      )
  sigma = find_activation(activation)
  if form == "x":
    return _scaled(w_rec, sigma.phi_prime(x_tm1s)[..., None, :])
  if form != "h" or xs is None:
    raise ValueError(f'form must be "x", or "h" with xs, got {form!r}')
  return _scaled(w_rec, sigma.prime_of_phi(xs)[..., :, None])


def _scaled(w_rec: Array, primes: Array) -> Array:
  """w_recᵀ times a row or a column for every step and sequence."""
  w_rec, primes = promoted(w_rec.T, primes)
  return jnp.expand_dims(w_rec, range(primes.ndim - 2)) * primes


def jacobian_products(jacobians: Array) -> tuple[Array, Array]:
  """∂x_T/∂x_k for every k < T, scaled so that no product over- or underflows.

  Args:
    jacobians: [T, B, N, N].

  Returns:
    `scaled` [T, B, N, N] and `log_scales` [T, B] with ∂x_T/∂x_k = scaled[k] ·
    exp(log_scales[k]), where index k counts from x_0. A product that is exactly
    zero has scale 1.

  Raises:
    ValueError: if the Jacobians are not [T, B, N, N].
  """
  _checks.check_square("jacobians", jacobians, ndim=4)
  _checks.check_floating("jacobians", jacobians)

  def step(carry, jacobian):
    scaled, log_scale = carry
    product = jnp.matmul(scaled, jacobian, precision=jax.lax.Precision.HIGHEST)
    largest = jnp.max(jnp.abs(product), (-2, -1))
    largest = jnp.where(largest == 0, 1, largest)
    carry = (product / largest[:, None, None], log_scale + jnp.log(largest))
    return carry, carry

  eye = jnp.broadcast_to(
    jnp.eye(jacobians.shape[-1], dtype=jacobians.dtype), jacobians.shape[1:]
  )
  start = (eye, jnp.zeros(jacobians.shape[1], jacobians.dtype))
  return jax.lax.scan(step, start, jacobians, reverse=True)[1]


def lag_profile(jacobians: Array) -> LagProfile:
  """Norms and singular values of ∂x_T/∂x_{T-lag} for every lag.

  Args:
    jacobians: [T, B, N, N], from `step_jacobians`.

  Returns:
    `LagProfile`.
  """
  scaled, log_scales = jacobian_products(jacobians)
  finite = jnp.isfinite(scaled).all((-2, -1)) & jnp.isfinite(log_scales)
  safe = jnp.where(finite[..., None, None], scaled, 1)
  values = jnp.linalg.svd(safe, compute_uv=False)
  logs = jnp.log(values) + log_scales[..., None]
  logs = jnp.where(finite[..., None], logs, jnp.nan)[::-1]
  return LagProfile(logs[..., 0], logs, finite[::-1])


def delta_norms_by_lag(trajectory: Trajectory) -> DeltaProfile:
  """|δ_k| by lag from a trajectory that training has anyway: no extra pass.

  Args:
    trajectory: from `adjoints`.

  Returns:
    `DeltaProfile`; states of several leaves count with their joint norm.

  Example:
    >>> import jax
    >>> from steadygrad import adjoints, cells, models, tasks
    >>> from steadygrad.analysis import delta_norms_by_lag
    >>> task = tasks.temporal_order(length=10)
    >>> cell = cells.elman(task.input_size, hidden_size=8)
    >>> model = models.recurrent(cell, models.linear_readout(8, 4))
    >>> params = model.init(jax.random.key(0))
    >>> batch = task.sample(jax.random.key(1), 5)
    >>> loss, grads, trajectory = adjoints(model, task.loss)(params, batch)
    >>> delta_norms_by_lag(trajectory).norms.shape  # [T, B]
    (10, 5)
  """
  norms = joint_norm(trajectory.deltas, batch_ndim=2)
  num_steps, size = norms.shape
  if trajectory.mask is None:
    return DeltaProfile(norms[::-1], jnp.ones((num_steps, size), bool))
  lengths = jnp.sum(trajectory.mask, 0, dtype=jnp.int32)
  steps = jnp.arange(num_steps, dtype=jnp.int32)
  index = (lengths - 1)[None] - steps[:, None]
  valid = index >= 0
  norms = jnp.take_along_axis(norms, jnp.maximum(index, 0), 0)
  return DeltaProfile(jnp.where(valid, norms, 0), valid)


def last_step_delta_norms(
  model: Model,
  step_losses: Callable[[Array, Array], Array],
  params: PyTree,
  batch: Batch,
) -> DeltaProfile:
  """|dE_T/dx_k| by lag T − k, of the error E_T of the last step alone.

  An error signal of all steps has a new part at each: what reaches x_k from
  far away is seen where no other step has an error.

  Args:
    model: a `Model` whose readout reads every step.
    step_losses: (outputs [B, ...], targets [B, ...]) of one step -> [B].
    params: of the model.
    batch: sequences of one length, targets [T, B, ...].

  Returns:
    `DeltaProfile`.

  Raises:
    ValueError: if the readout reads the last step alone, or the batch has
      lengths; and where `adjoints` does.
  """
  _validate.check_batch(batch)
  if batch.lengths is not None:
    raise ValueError(f"batch must have no lengths, got {batch.lengths!r}")
  if isinstance(model, Model) and model.readout.reads != "every":
    raise ValueError(
      'model must have a readout with reads="every", got'
      f" {model.readout.reads!r}"
    )

  def last(outputs, batch):
    return jnp.sum(step_losses(outputs[-1], batch.targets[-1]))

  return delta_norms_by_lag(adjoints(model, last)(params, batch)[2])
