"""What the theory predicts, computed at one update of a run.

A run that records `DynamicsRecord`s beside its losses lets a reader see what
the dynamics did at the update at which the gradient jumped.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate, numerics, trees
from steadygrad._adjoints import adjoints
from steadygrad.analysis import _checks, _states
from steadygrad.analysis.basins import attractors
from steadygrad.analysis.dynamics import autonomous
from steadygrad.analysis.jacobians import delta_norms_by_lag
from steadygrad.analysis.lyapunov import lyapunov_exponents
from steadygrad.symbols import dense
from steadygrad.types import Array, Batch, LossFn, Model, PyTree, Trajectory


class DynamicsRecord(NamedTuple):
  """One update seen through the theory; fixed shapes, for `lax.scan`.

  Attributes:
    loss: [].
    gradient_norm: [], joint norm over all parameters, before any clipping.
    spectral_radius: [], of the recurrent matrix.
    largest_singular_value: [], of the same.
    lyapunov_exponent: [], the largest, driven by the batch's inputs, mean over
      its sequences.
    delta_norms: [T], |δ| by lag before the last step, index 0 the last step;
      root mean square over the sequences that are so long.
    attractor_count: int32 [], attractors of the map at zero input that the
      starts reach.
    unsettled_count: int32 [], starts that reached none.
    finite: bool [], whether all the numbers above are; False also where the
      spectral radius could not be had and is NaN.
  """

  loss: Array
  gradient_norm: Array
  spectral_radius: Array
  largest_singular_value: Array
  lyapunov_exponent: Array
  delta_norms: Array
  attractor_count: Array
  unsettled_count: Array
  finite: Array


def dynamics_recorder(
  model: Model,
  loss_fn: LossFn,
  *,
  matrix: Callable[[PyTree], Array] | None = None,
  num_sequences: int = 4,
  num_starts: int = 8,
  settle_steps: int = 500,
  max_period: int = 8,
) -> Callable[[PyTree, Batch], DynamicsRecord]:
  """(params, batch) -> `DynamicsRecord`: pure, to be jitted and vmapped.

  Args:
    model: the model.
    loss_fn: (outputs, batch) -> loss [].
    matrix: the cell's parameters -> the recurrent matrix [N, N] whose spectrum
      is recorded. If None it is "w_rec" where the parameters have one, else the
      Jacobian of the step at the initial state and zero input.
    num_sequences: how many of the batch's sequences drive the exponent.
    num_starts: orbits that look for attractors, from the states in which the
      first sequences of the batch end.
    settle_steps: how long they run.
    max_period: longest cycle that counts as an attractor.

  Returns:
    The function. Its cost is a gradient, `num_sequences` exponents and
    `num_starts * settle_steps` steps, so that it is for chosen updates.

  Raises:
    ValueError: if a count is not an integer of at least 1, or, where it is
      called, the recurrent matrix is not square.
  """
  for name, value in (
    ("num_sequences", num_sequences),
    ("num_starts", num_starts),
    ("settle_steps", settle_steps),
    ("max_period", max_period),
  ):
    _validate.check_integer(name, value)

  def record(params, batch: Batch):
    batch = dense(batch)
    loss, grads, trajectory = adjoints(model, loss_fn)(params, batch)
    theta = params["cell"]
    like = trajectory.x_0
    f = autonomous(model.cell, theta, jnp.zeros_like(batch.us[0, 0]), x_0=like)
    start = _states.flatten(like)
    w = _recurrent_matrix(matrix, theta, f, start[0])
    ends = _states.flatten(jax.tree.map(lambda x: x[-1], trajectory.xs))
    found = attractors(
      f, ends[:num_starts], num_steps=settle_steps, max_period=max_period
    )
    exponent = _driven_exponent(model.cell, trajectory, num_sequences)
    values = (
      loss,
      numerics.joint_norm(trees.inexact_leaves(grads)),
      numerics.spectral_radius(w),
      jnp.linalg.norm(w, 2),
      exponent,
      _mean_by_lag(trajectory),
    )
    return DynamicsRecord(
      *values, found.count, found.num_failed, numerics.all_finite(values)
    )

  return record


def _recurrent_matrix(matrix, theta, f, x_0) -> Array:
  if matrix is not None:
    w = matrix(theta)
  elif trees.is_mapping(theta) and "w_rec" in theta:
    w = theta["w_rec"]
  else:
    w = jax.jacfwd(f)(x_0)
  _checks.check_square("the recurrent matrix", w)
  return w


def _driven_exponent(cell, trajectory: Trajectory, num_sequences) -> Array:
  """Mean over sequences of the largest exponent along their inputs."""
  x_0, us = trajectory.x_0, trajectory.us
  step = _states.flat_step(cell, trajectory.params, x_0)
  starts = _states.flatten(x_0)[:num_sequences]
  mask = trajectory.mask
  mask = jnp.ones(us.shape[:2], bool) if mask is None else mask
  mask = mask[:, :num_sequences]

  def one(x, us, mask):
    # A step beyond the length stays: its factor is 1 and its logarithm 0.
    found = lyapunov_exponents(
      lambda x, inputs: jnp.where(inputs[1], step(x, inputs[0]), x),
      x,
      us=(us, mask),
      num_exponents=1,
    )
    steps = jnp.sum(mask, dtype=jnp.int32).astype(x.dtype)
    return found.exponents[0] * len(mask) / jnp.maximum(steps, 1)

  return jnp.mean(jax.vmap(one, (0, 1, 1))(starts, us[:, :num_sequences], mask))


def _mean_by_lag(trajectory: Trajectory) -> Array:
  profile = delta_norms_by_lag(trajectory)
  count = jnp.sum(profile.valid, 1).astype(profile.norms.dtype)
  # Scaled, since a squared norm overflows long before the norm does.
  scale = jnp.max(profile.norms, 1)
  scale = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
  squares = jnp.sum(jnp.square(profile.norms / scale[:, None]), 1)
  return scale * jnp.sqrt(squares / jnp.maximum(count, 1))
