"""Fixed points and cycles, stable or not, of autonomous maps x' = f(x).

`autonomous` makes such a map of any cell held at a constant input. Everything
has fixed shapes, so that it jits and vmaps: starts that lead nowhere stay in
the arrays, marked, and `distinct` marks one representative of each answer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import numerics
from steadygrad.analysis import _states
from steadygrad.analysis._newton import newton
from steadygrad.types import Array, Cell, PyTree


class FixedPoints(NamedTuple):
  """Fixed points reached from S starts.

  Attributes:
    points: [S, N]; NaN where the start did not converge.
    residuals: [S], |f(x) - x| where the search ended.
    converged: bool [S].
    distinct: bool [S], the first of each group of equal points.
    spectral_radius: [S], of the Jacobian there; NaN where not converged.
    stable: bool [S], spectral_radius < 1.
    eigenvalues: complex [S, N] of the Jacobian, or None.
    count: int32 [], number of distinct points.
    num_failed: int32 [], starts that did not converge.
  """

  points: Array
  residuals: Array
  converged: Array
  distinct: Array
  spectral_radius: Array
  stable: Array
  eigenvalues: Array | None
  count: Array
  num_failed: Array


def autonomous(
  cell: Cell, params: PyTree, u: Array, *, x_0: PyTree | None = None
) -> Callable[[Array], Array]:
  """The cell at a constant input as a map [N] -> [N].

  Args:
    cell: the cell; states of several leaves count as one vector of N.
    params: its parameters.
    u: the input [M]; zeros for none.
    x_0: a state to read shapes from; `cell.initial_state` if None.

  Raises:
    ValueError: if u is not [M], or parameters are concretely not finite.
  """
  if jnp.ndim(u) != 1:
    raise ValueError(f"u must be [M], got shape {jnp.shape(u)}")
  _states.check_finite("params", params)
  like = cell.initial_state(params, 1) if x_0 is None else x_0
  step = _states.flat_step(cell, params, like)
  return lambda x: step(x, u)


def iterate(f: Callable, times: int) -> Callable:
  """f applied `times` times: [N] -> [N]."""
  _states.check_positive("times", times)
  return lambda x: jax.lax.scan(
    lambda x, _: (f(x), None), x, None, length=times
  )[0]


def fixed_points(
  f: Callable[[Array], Array],
  starts: Array,
  *,
  max_steps: int = 100,
  tolerance: float | None = None,
  merge_within: float | None = None,
  return_eigenvalues: bool = True,
) -> FixedPoints:
  """Solutions of f(x) = x by damped Newton from many starts.

  Args:
    f: [N] -> [N], differentiable.
    starts: [S, N].
    max_steps: Newton steps before a start counts as failed.
    tolerance: on |f(x) - x| / (1 + |x|); 100 units in the last place if None.
    merge_within: points closer than it are one; eps^(1/4) if None, 1e-4 in
      float64 and .02 in float32, since at a near double root a residual of eps
      leaves √eps in x.
    return_eigenvalues: whether `eigenvalues` is computed. Devices without a
      general eigensolver want False; `stable` does not need it.

  Returns:
    `FixedPoints`. Unstable points are found as well as stable ones. That all
    are found is not promised: it depends on the starts.

  Raises:
    ValueError: if the starts are not [S, N] or concretely not finite, or f does
      not keep the shape.
  """
  check_map(f, starts)
  found = jax.vmap(
    lambda x: newton(
      lambda x: f(x) - x, x, max_steps=max_steps, tolerance=tolerance
    )
  )(starts)
  ok = found.converged
  safe = jnp.where(ok[:, None], found.x, 0)
  jacobians = jax.vmap(jax.jacfwd(f))(safe)
  rho = jax.vmap(numerics.spectral_radius)(jacobians)
  eigenvalues = None
  if return_eigenvalues:
    eigenvalues = jnp.linalg.eigvals(jacobians)
    eigenvalues = jnp.where(ok[:, None], eigenvalues, jnp.nan)
  distances = jnp.linalg.norm(safe[:, None] - safe[None], axis=-1)
  distinct = first_of_each(distances, ok, merge_within, starts.dtype)
  return FixedPoints(
    points=jnp.where(ok[:, None], safe, jnp.nan),
    residuals=found.residual,
    converged=ok,
    distinct=distinct,
    spectral_radius=jnp.where(ok, rho, jnp.nan),
    stable=ok & (rho < 1),
    eigenvalues=eigenvalues,
    count=jnp.sum(distinct, dtype=jnp.int32),
    num_failed=jnp.sum(~ok, dtype=jnp.int32),
  )


def cycles(
  f: Callable[[Array], Array], starts: Array, period: int, **options
) -> FixedPoints:
  """Points of cycles of exactly that period, stable or not: `fixed_points` of
  fᵖ, less those of a shorter period, which count as not converged.

  Each of a cycle's points counts by itself; stability is that of the cycle.
  """
  found = fixed_points(iterate(f, period), starts, **options)
  within = _merge_radius(options.get("merge_within"), starts.dtype)
  shorter = jnp.zeros(len(starts), bool)
  for p in range(1, period):
    if period % p == 0:
      moved = jax.vmap(iterate(f, p))(found.points) - found.points
      shorter |= jnp.linalg.norm(moved, axis=-1) <= within
  ok = found.converged & ~shorter
  distinct = found.distinct & ok
  return found._replace(
    points=jnp.where(ok[:, None], found.points, jnp.nan),
    converged=ok,
    distinct=distinct,
    stable=found.stable & ok,
    count=jnp.sum(distinct, dtype=jnp.int32),
    num_failed=jnp.sum(~ok, dtype=jnp.int32),
  )


def first_of_each(distances, ok, merge_within, dtype) -> Array:
  """bool [S]: converged, and no earlier converged one is as near."""
  within = _merge_radius(merge_within, dtype)
  same = (distances <= within) & ok[None] & ok[:, None]
  return ok & ~jnp.any(jnp.tril(same, -1), 1)


def _merge_radius(merge_within, dtype):
  return jnp.finfo(dtype).eps ** 0.25 if merge_within is None else merge_within


def check_map(f, starts) -> None:
  if jnp.ndim(starts) != 2:
    raise ValueError(f"starts must be [S, N], got shape {jnp.shape(starts)}")
  _states.check_finite("starts", starts)
  shape = jax.eval_shape(f, starts[0]).shape
  if shape != starts.shape[1:]:
    raise ValueError(f"f must map {starts.shape[1:]} to itself, got {shape}")
