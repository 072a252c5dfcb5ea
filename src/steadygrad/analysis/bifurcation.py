"""Bifurcations of one-parameter families x' = f(x, b): section 2.2, Fig. 3.

A branch of fixed points f(x, b) = x is followed through its folds by
pseudo-arclength: with y = (x, b) and the unit tangent τ,

  f(x, b) - x = 0,   τ · (y - y_previous - h τ) = 0.

At a saddle-node a stable and an unstable point meet: ∂f/∂x has the eigenvalue 1
with vector v, and (Moore & Spence 1980)

  f(x, b) - x = 0,   (∂f/∂x - 1) v = 0,   c · v = 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import numerics
from steadygrad.analysis import _states
from steadygrad.analysis._newton import newton
from steadygrad.analysis.dynamics import FixedPoints, fixed_points
from steadygrad.types import Array


class Branch(NamedTuple):
  """A curve of fixed points; L points.

  Attributes:
    points: [L, N].
    parameters: [L].
    stable: bool [L], spectral radius of ∂f/∂x below 1.
    folds: bool [L], the parameter turned round between this point and the one
      before: a saddle-node lies there.
    converged: bool [L]; False from the first failure on. Points that are not
      converged are NaN.
  """

  points: Array
  parameters: Array
  stable: Array
  folds: Array
  converged: Array


class SaddleNode(NamedTuple):
  """A fold of a branch.

  Attributes:
    point: [N]; NaN where not converged, as `parameter`.
    parameter: [].
    null_vector: [N], unit eigenvector to the eigenvalue 1.
    residual: [].
    converged: bool [].
  """

  point: Array
  parameter: Array
  null_vector: Array
  residual: Array
  converged: Array


def bifurcation_diagram(
  family: Callable[[Array, Array], Array],
  parameters: Array,
  starts: Array,
  **options,
) -> FixedPoints:
  """All fixed points that many starts reach, at every parameter.

  Args:
    family: (x [N], b []) -> [N].
    parameters: [P].
    starts: [S, N].
    **options: of `fixed_points`.

  Returns:
    `FixedPoints` with a leading axis [P] in every field.
  """
  if jnp.ndim(parameters) != 1:
    raise ValueError(f"parameters must be [P], got {jnp.shape(parameters)}")
  _states.check_finite("parameters", parameters)
  return jax.vmap(
    lambda b: fixed_points(lambda x: family(x, b), starts, **options)
  )(parameters)


def follow_branch(
  family: Callable[[Array, Array], Array],
  x_0: Array,
  parameter: Array,
  *,
  arc_step: float = 0.05,
  num_points: int = 200,
  max_steps: int = 20,
  tolerance: float | None = None,
) -> Branch:
  """A branch of fixed points by pseudo-arclength continuation, through folds.

  Args:
    family: (x [N], b []) -> [N], differentiable in both.
    x_0: [N], near a fixed point at `parameter`.
    parameter: [], where to begin.
    arc_step: h, length of a step in (x, b); negative to begin towards smaller
      parameters.
    num_points: L, the first included.
    max_steps: Newton steps of each correction.
    tolerance: of Newton, see `fixed_points`.

  Returns:
    `Branch`. A step that is too long may jump to another branch: compare with
    `bifurcation_diagram`.

  Raises:
    ValueError: if x_0 or parameter is concretely not finite, or x_0 not [N].
  """
  y_0 = _joined(x_0, parameter)
  size = y_0.shape[0] - 1
  options = dict(max_steps=max_steps, tolerance=tolerance)

  def excess(y):
    return family(y[:-1], y[-1]) - y[:-1]

  def tangent(y, previous):
    # The unit vector along which the excess stays zero, and the way it goes.
    rows = jnp.concatenate([jax.jacfwd(excess)(y), previous[None]])
    unit = jnp.zeros_like(y).at[-1].set(1)
    tau = jnp.linalg.solve(rows, unit)
    return tau / jnp.linalg.norm(tau)

  def step(carry, _):
    y, tau, ok = carry
    guess = y + abs(arc_step) * tau
    root = newton(
      lambda z: jnp.append(excess(z), jnp.dot(tau, z - guess)), guess, **options
    )
    tau_new = tangent(root.x, tau)
    ok = ok & root.converged & jnp.isfinite(tau_new).all()
    fold = ok & (tau_new[-1] * tau[-1] < 0)
    return (root.x, tau_new, ok), (root.x, fold, ok)

  root = newton(lambda x: family(x, y_0[-1]) - x, y_0[:-1], **options)
  first = jnp.append(root.x, y_0[-1])
  ahead = jnp.zeros_like(first).at[-1].set(1 if arc_step > 0 else -1)
  carry = (first, tangent(first, ahead), root.converged)
  _, (ys, folds, ok) = jax.lax.scan(step, carry, length=num_points - 1)
  ys = jnp.concatenate([first[None], ys])
  ok = jnp.append(root.converged, ok)
  safe = jnp.where(ok[:, None], ys, 0)
  jacobians = jax.vmap(lambda y: jax.jacfwd(family)(y[:-1], y[-1]))(safe)
  rho = jax.vmap(numerics.spectral_radius)(jacobians.reshape(-1, size, size))
  ys = jnp.where(ok[:, None], ys, jnp.nan)
  folds = jnp.concatenate([jnp.zeros(1, bool), folds])
  return Branch(ys[:, :-1], ys[:, -1], ok & (rho < 1), folds, ok)


def saddle_node(
  family: Callable[[Array, Array], Array],
  x_0: Array,
  parameter: Array,
  *,
  max_steps: int = 50,
  tolerance: float | None = None,
) -> SaddleNode:
  """The saddle-node near a guess, by Newton on the Moore-Spence system.

  Args:
    family: (x [N], b []) -> [N], twice differentiable.
    x_0: [N], a guess, for example a point of `Branch.folds`.
    parameter: [], a guess.
    max_steps: of Newton.
    tolerance: of Newton, see `fixed_points`.

  Returns:
    `SaddleNode`. `converged` is False where no fold was reached; at a pitchfork
    or transcritical point the system is singular and Newton slow.

  Raises:
    ValueError: as `follow_branch`.
  """
  y_0 = _joined(x_0, parameter)
  size = y_0.shape[0] - 1

  def jacobian(x, b):
    return jax.jacfwd(family)(x, b) - jnp.eye(size, dtype=x.dtype)

  # The direction that the map moves least relative to staying put.
  v_0 = jnp.linalg.svd(jacobian(y_0[:-1], y_0[-1]))[2][-1]

  def system(z):
    x, v, b = z[:size], z[size:-1], z[-1]
    return jnp.concatenate(
      [
        family(x, b) - x,
        jacobian(x, b) @ v,
        (jnp.dot(v_0, v) - 1)[None],
      ]
    )

  start = jnp.concatenate([y_0[:-1], v_0, y_0[-1:]])
  root = newton(system, start, max_steps=max_steps, tolerance=tolerance)
  x, v, b = root.x[:size], root.x[size:-1], root.x[-1]
  return SaddleNode(
    jnp.where(root.converged, x, jnp.nan),
    jnp.where(root.converged, b, jnp.nan),
    v / jnp.linalg.norm(v),
    root.residual,
    root.converged,
  )


def _joined(x_0, parameter) -> Array:
  """(x, b) as one vector; ValueError where the shapes or values do not fit."""
  if jnp.ndim(x_0) != 1 or jnp.ndim(parameter) != 0:
    raise ValueError(
      "x_0 must be [N] and parameter [], got shapes"
      f" {jnp.shape(x_0)} and {jnp.shape(parameter)}"
    )
  _states.check_finite("x_0", x_0)
  _states.check_finite("parameter", parameter)
  return jnp.append(x_0, jnp.asarray(parameter, x_0.dtype))
