"""Bifurcations of one-parameter families x' = f(x, b): section 2.2, Fig. 3.

A branch of fixed points f(x, b) = x is followed through its folds by
pseudo-arclength: with y = (x, b) and the unit tangent τ,

  f(x, b) - x = 0,   τ · (y - y_previous - h τ) = 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import _validate, numerics
from steadygrad.analysis import _checks
from steadygrad.analysis._newton import newton, root_error
from steadygrad.analysis.dynamics import (
  FixedPoints,
  check_search,
  fixed_points,
)
from steadygrad.types import Array


class Branch(NamedTuple):
  """A curve of fixed points; L points.

  Attributes:
    points: [L, N].
    parameters: [L].
    stable: bool [L], spectral radius of ∂f/∂x below 1; False where it is not
      finite.
    folds: bool [L], the parameter turned round between this point and the one
      before, and no other branch crosses there, as at a pitchfork: a fold, to
      be found by `saddle_node`.
    converged: bool [L]; False from the first failure on, also where a point may
      be an arc step from the branch. Points that are not converged are NaN.
  """

  points: Array
  parameters: Array
  stable: Array
  folds: Array
  converged: Array


def bifurcation_diagram(
  family: Callable[[Array, Array], Array],
  parameters: Array,
  starts: Array,
  **options: Any,
) -> FixedPoints:
  """All fixed points that many starts reach, at every parameter.

  Args:
    family: (x [N], b []) -> [N].
    parameters: [P].
    starts: [S, N].
    **options: of `fixed_points`.

  Returns:
    `FixedPoints` with a leading axis [P] in every field.

  Raises:
    ValueError: if the parameters are not [P] or concretely not finite, or as
      `fixed_points`.
  """
  parameters = _checks.real_array("parameters", parameters, "[P]")
  starts = _checks.real_array("starts", starts, "[S, N]")
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
    `bifurcation_diagram`. Where another branch crosses, it goes straight on.

  Raises:
    ValueError: if x_0 or parameter is concretely not finite, x_0 not [N], the
      family does not keep its shape and dtype, or an option is not as above.
  """
  y_0 = joined(family, x_0, parameter)
  _check_steps(arc_step, num_points)
  check_search(max_steps, tolerance)
  size, within = y_0.shape[0] - 1, abs(arc_step)

  def excess(y):
    return family(y[:-1], y[-1]) - y[:-1]

  def step(carry, length):
    y, tau, signs, ok = carry
    guess = y + length * tau
    y, near = _correct(
      lambda z: jnp.append(excess(z), jnp.dot(tau, z - guess)),
      guess,
      within,
      dict(max_steps=max_steps, tolerance=tolerance),
    )
    jacobian = jax.jacfwd(excess)(y)
    tau = _tangent(jacobian, tau)
    signs_new = _signs(jacobian, tau, signs)
    turned, crossed = signs_new != signs
    ok = ok & near & jnp.isfinite(tau).all()
    return (y, tau, signs_new, ok), (y, ok & turned & ~crossed, ok)

  # The first step, of length 0 and at a fixed parameter, finds the branch.
  ahead = jnp.zeros_like(y_0).at[-1].set(jnp.where(arc_step > 0, 1, -1))
  lengths = jnp.full(num_points, within, y_0.dtype).at[0].set(0)
  carry = (y_0, ahead, jnp.ones_like(y_0[:2]), jnp.array(True))
  _, (ys, folds, ok) = jax.lax.scan(step, carry, lengths)
  safe = jnp.where(ok[:, None], ys, 0)
  jacobians = jax.vmap(lambda y: jax.jacfwd(family)(y[:-1], y[-1]))(safe)
  rho = jax.vmap(numerics.spectral_radius)(jacobians.reshape(-1, size, size))
  ys, folds = jnp.where(ok[:, None], ys, jnp.nan), folds.at[0].set(False)
  return Branch(ys[:, :-1], ys[:, -1], ok & (rho < 1), folds, ok)


def _correct(system, guess, within, options) -> tuple[Array, Array]:
  """The solution near a guess, and whether one is surely so near."""
  root = newton(system, guess, longest_step=within / 8, **options)
  return root.x, root.converged & root_error(system, root.x, within)[1]


def _tangent(jacobian, previous) -> Array:
  """The unit vector along which the excess stays zero, the way it went."""
  rows = jnp.concatenate([jacobian, previous[None]])
  unit = jnp.zeros_like(previous).at[-1].set(1)
  tau = jnp.linalg.solve(rows, unit)
  # Where branches cross there are two such vectors: straight on.
  tau = jnp.where(jnp.isfinite(tau).all(), tau, previous)
  return tau / jnp.linalg.norm(tau)


def _signs(jacobian, tau, previous) -> Array:
  """[2]: of the parameter's way, and one that changes where branches cross.

  What is zero to rounding keeps the sign it had.
  """
  along_b = tau[-1]
  zero = jnp.abs(along_b) <= 10 * jnp.finfo(tau.dtype).eps
  rows = jnp.concatenate([jacobian, tau[None]])
  crossing = jnp.linalg.slogdet(rows)[0]
  signs = jnp.stack([jnp.where(zero, 0, jnp.sign(along_b)), crossing])
  return jnp.where(signs == 0, previous, signs)


def joined(family, x_0, parameter) -> Array:
  """(x, b) as one vector; ValueError where shapes, dtypes or values are not."""
  if np.ndim(x_0) != 1 or np.ndim(parameter) != 0:
    raise ValueError(
      "x_0 must be [N] and parameter [], got shapes"
      f" {np.shape(x_0)} and {np.shape(parameter)}"
    )
  x_0 = _checks.real_array("x_0", x_0, "[N]")
  b = _checks.real_scalar("parameter", parameter, x_0.dtype)
  _checks.check_keeps("family", family, x_0, b)
  return jnp.append(x_0, b)


def _check_steps(arc_step, num_points) -> None:
  _validate.check_integer("num_points", num_points)
  _validate.check_number("arc_step", arc_step, least=None)
  if _validate.is_concrete(arc_step) and arc_step == 0:
    raise ValueError(f"arc_step must be finite and not 0, got {arc_step}")
