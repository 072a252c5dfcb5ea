"""Saddle-nodes of one-parameter families x' = f(x, b): section 2.2, Fig. 3.

At a saddle-node a stable and an unstable point meet: ∂f/∂x has the eigenvalue 1
with vector v, and (Moore & Spence 1980)

  f(x, b) - x = 0,   (∂f/∂x - 1) v = 0,   c · v = 1.

A solution is one if the branch turns round in b and no other branch crosses it:
w · ∂f/∂b ≠ 0 and w · ∂²f/∂x² [v, v] ≠ 0 with w the left vector. There the
Jacobian of the system is regular, and nowhere else. At a transcritical point
and at a pitchfork the first number is zero, at b = x³ the second.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad.analysis._newton import is_regular, newton
from steadygrad.analysis.bifurcation import joined
from steadygrad.analysis.dynamics import check_search
from steadygrad.types import Array


class SaddleNode(NamedTuple):
  """A fold of a branch.

  Attributes:
    point: [N]; NaN where not converged, as `parameter`.
    parameter: [].
    null_vector: [N], v, unit eigenvector to the eigenvalue 1, its largest
      component positive.
    transversality: [], w · ∂f/∂b, where the search ended; w is the left
      eigenvector to the eigenvalue 1 with w · v = 1.
    curvature: [], w · ∂²f/∂x² [v, v], where the search ended. Near the fold x +
      ξ v moves by transversality · (b - parameter) + curvature · ξ² / 2 along
      v: two points for larger b where the two numbers differ in sign, for
      smaller b where they do not. Where the eigenvalue 1 is a double one,
      w · v = 0 and both grow without bound.
    residual: [].
    converged: bool [], the residual is within the tolerance, and neither of the
      two numbers is zero within its error; see `saddle_node`.
  """

  point: Array
  parameter: Array
  null_vector: Array
  transversality: Array
  curvature: Array
  residual: Array
  converged: Array


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
    `SaddleNode`. `converged` is False where no fold was reached, also at a
    transcritical point, a pitchfork, a cusp, and where the branch is vertical
    without turning round. There the system's Jacobian is singular, Newton slow,
    and its residual small at a distance, where neither number is zero. So each
    is compared with what it would change by on the rest of the way: `converged`
    asks that the determinant of the Jacobian, which is zero where one of them
    is, changes by at most a quarter with the next Newton step and with rounding
    errors of each equation. Hence units do not matter, and weak folds are told
    from none as far as the dtype can: beside x³ a curvature down to about 4e-3
    in float32 and 2e-7 in float64.

  Raises:
    ValueError: as `follow_branch`.
  """
  y_0 = joined(family, x_0, parameter)
  check_search(max_steps, tolerance)
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
  root = newton(
    system, start, max_steps=max_steps, tolerance=tolerance, longest_step=0
  )
  x, v, b = root.x[:size], root.x[size:-1], root.x[-1]
  terms = jnp.concatenate([2 * x, 2 * v, jnp.ones_like(x[:1])])
  ok = root.converged & is_regular(system, root.x, jnp.abs(terms))
  v = v / jnp.linalg.norm(v) * jnp.sign(v[jnp.argmax(jnp.abs(v))])
  w = jnp.linalg.svd(jacobian(x, b))[0][:, -1]
  transversality, curvature = _normal_form(family, x, b, v, w / jnp.dot(w, v))
  return SaddleNode(
    point=jnp.where(ok, x, jnp.nan),
    parameter=jnp.where(ok, b, jnp.nan),
    null_vector=v,
    transversality=transversality,
    curvature=curvature,
    residual=root.residual,
    converged=ok,
  )


def _normal_form(family, x, b, v, w) -> tuple[Array, Array]:
  """w · ∂f/∂b and w · ∂²f/∂x² [v, v]."""

  def along_v(x):
    return jax.jvp(lambda x: family(x, b), (x,), (v,))[1]

  in_b = jax.jvp(lambda b: family(x, b), (b,), (jnp.ones_like(b),))[1]
  in_v = jax.jvp(along_v, (x,), (v,))[1]
  return jnp.dot(w, in_b), jnp.dot(w, in_v)
