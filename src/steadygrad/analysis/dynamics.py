"""Fixed points and cycles, stable or not, of autonomous maps x' = f(x).

`autonomous` makes such a map of any cell held at a constant input. Everything
has fixed shapes, so that it jits and vmaps: starts that lead nowhere stay in
the arrays, marked, and `distinct` marks one representative of each answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate, numerics
from steadygrad.analysis import _checks, _states
from steadygrad.analysis._newton import Number, newton, root_error
from steadygrad.types import Array, Cell, PyTree


class FixedPoints(NamedTuple):
  """Fixed points reached from S starts.

  Attributes:
    points: [S, N]; NaN where the start did not converge.
    residuals: [S], |f(x) - x| where the search ended.
    errors: [S], estimate of the distance to the fixed point, |(J - 1)⁻¹ (f(x) -
      x)| with its rounding; inf where there is none. See `fixed_points`.
    converged: bool [S], the residual is within the tolerance and the error
      within `merge_within`.
    distinct: bool [S], the first of each group of equal points.
    spectral_radius: [S], of the Jacobian there; NaN where not converged.
    stable: bool [S], spectral_radius < 1, and the moduli of the eigenvalues too
      where they are computed. False where either is not finite.
    eigenvalues: complex [S, N] of the Jacobian, or None.
    count: int32 [], number of distinct points.
    num_failed: int32 [], starts that did not converge.
  """

  points: Array
  residuals: Array
  errors: Array
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
    ValueError: if u is not [M], or it or the parameters are concretely not
      finite.
  """
  u = _checks.real_array("u", u, "[M]", half=True)
  _checks.check_finite("params", params)
  like = cell.initial_state(params, 1) if x_0 is None else x_0
  step = _states.flat_step(cell, params, like)
  return lambda x: step(x, u)


def iterate(
  f: Callable[[Array], Array], times: int
) -> Callable[[Array], Array]:
  """f applied `times` times: [N] -> [N]."""
  _validate.check_integer("times", times)
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
    merge_within: points closer than it are one, and a point whose error may be
      larger is none; eps^(1/4) if None, 1e-4 in float64 and .02 in float32,
      since at a near double root a residual of eps leaves √eps in x. As a bound
      on the error it is relative to |x| where that is above 1.
    return_eigenvalues: whether `eigenvalues` is computed. Devices without a
      general eigensolver want False; `stable` then rests on the spectral radius
      alone.

  Returns:
    `FixedPoints`. Unstable points are found as well as stable ones. That all
    are found is not promised: it depends on the starts.

    Near the identity a residual is small everywhere: x + 1e-6 has no fixed
    point, and none of its points converges. Nor do points of a continuum (a
    line of fixed points, the identity): J - 1 is singular there and tells no
    distance. An isolated multiple root, as that of tanh(x) at 0, does converge:
    Newton goes on while its step is longer than `merge_within` / 8, and at a
    root of multiplicity m the distance is m of the last steps. tanh(x) ends at
    up to .0075 from 0 in float32, with `errors` up to .0025.

  Raises:
    ValueError: if an argument is not as above, the starts are concretely not
      finite, or f does not keep shape and dtype.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.analysis import fixed_points
    >>> starts = jnp.array([[-2.0], [0.1], [2.0]])
    >>> found = fixed_points(lambda x: jnp.tanh(2 * x), starts)
    >>> int(found.count), found.stable.tolist()
    (3, [True, False, True])
  """
  starts = check_map(f, starts)
  check_search(max_steps, tolerance)
  within = merge_radius(merge_within, starts.dtype)

  def excess(x):
    return f(x) - x

  def search(x):
    found = newton(
      excess,
      x,
      max_steps=max_steps,
      tolerance=tolerance,
      longest_step=within / 8,
    )
    return found, *root_error(excess, found.x, within)

  found, errors, near = jax.vmap(search)(starts)
  ok = found.converged & near
  safe = jnp.where(ok[:, None], found.x, 0)
  jacobians = jax.vmap(jax.jacfwd(f))(safe)
  rho = jax.vmap(numerics.spectral_radius)(jacobians)
  stable = ok & (rho < 1)
  eigenvalues = None
  if return_eigenvalues:
    eigenvalues = jnp.linalg.eigvals(jacobians)
    stable &= (jnp.abs(eigenvalues) < 1).all(1)
    eigenvalues = jnp.where(ok[:, None], eigenvalues, jnp.nan)
  distances = jnp.linalg.norm(safe[:, None] - safe[None], axis=-1)
  distinct = first_of_each(distances, ok, within)
  return FixedPoints(
    points=jnp.where(ok[:, None], safe, jnp.nan),
    residuals=found.residual,
    errors=errors,
    converged=ok,
    distinct=distinct,
    spectral_radius=jnp.where(ok, rho, jnp.nan),
    stable=stable,
    eigenvalues=eigenvalues,
    count=jnp.sum(distinct, dtype=jnp.int32),
    num_failed=jnp.sum(~ok, dtype=jnp.int32),
  )


def cycles(
  f: Callable[[Array], Array], starts: Array, period: int, **options: Any
) -> FixedPoints:
  """Points of cycles of exactly that period, stable or not.

  They are `fixed_points` of fᵖ, less those of a shorter period, which count as
  not converged. Each of a cycle's points counts by itself; stability is that of
  the cycle.

  Raises:
    ValueError: if the period is not an integer of at least 1, or as
      `fixed_points`.
  """
  _validate.check_integer("period", period)
  found = fixed_points(iterate(f, period), starts, **options)
  within = merge_radius(options.get("merge_within"), found.points.dtype)
  shorter = jnp.zeros_like(found.converged)
  for p in range(1, period):
    if period % p == 0:
      moved = jax.vmap(iterate(f, p))(found.points) - found.points
      shorter |= jnp.linalg.norm(moved, axis=-1) <= within
  ok = found.converged & ~shorter
  distinct = found.distinct & ok
  eigenvalues = found.eigenvalues
  if eigenvalues is not None:
    eigenvalues = jnp.where(ok[:, None], eigenvalues, jnp.nan)
  return found._replace(
    points=jnp.where(ok[:, None], found.points, jnp.nan),
    converged=ok,
    distinct=distinct,
    spectral_radius=jnp.where(ok, found.spectral_radius, jnp.nan),
    stable=found.stable & ok,
    eigenvalues=eigenvalues,
    count=jnp.sum(distinct, dtype=jnp.int32),
    num_failed=jnp.sum(~ok, dtype=jnp.int32),
  )


def first_of_each(distances: Array, ok: Array, within: Number) -> Array:
  """bool [S]: converged, and no earlier converged one is as near."""
  same = (distances <= within) & ok[None] & ok[:, None]
  return ok & ~jnp.any(jnp.tril(same, -1), 1)


def merge_radius(merge_within: Number | None, dtype: jnp.dtype) -> Number:
  """`merge_within` or its default; ValueError unless it is a number above 0."""
  if merge_within is None:
    return jnp.finfo(dtype).eps ** 0.25
  _validate.check_number("merge_within", merge_within, above=0, finite=False)
  return merge_within


def check_search(max_steps: int, tolerance: float | None) -> None:
  """ValueError unless these are options that Newton can work with."""
  _validate.check_integer("max_steps", max_steps, traced=True)
  if tolerance is not None:
    _validate.check_number("tolerance", tolerance, finite=False)


def check_map(f: Callable, starts: Array, *, half: bool = False) -> Array:
  """The starts as an array [S, N]; ValueError unless f maps [N] to itself."""
  starts = _checks.real_array("starts", starts, "[S, N]", half=half)
  _checks.check_keeps("f", f, starts[0])
  return starts
