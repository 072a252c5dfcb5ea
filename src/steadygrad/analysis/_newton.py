"""Damped Newton on a system of N equations, with fixed shapes.

A small residual says little where the Jacobian is nearly singular: at a root of
multiplicity m it is small at a distance, and near the identity everywhere.
`root_error` estimates the distance, `is_regular` whether the root is a simple
one at all.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import Array

Number = float | np.floating | Array  # One real number.
HALVINGS = 12  # Step sizes 1, 1/2, ..., 2^-12; below that a start is stuck.
NUM_PROBES = 8  # Draws of rounding errors that `is_regular` tries.
LARGEST_CHANGE = 0.25  # See `is_regular`.


class Root(NamedTuple):
  """What Newton came to.

  Attributes:
    x: [N].
    residual: [], |g(x)|.
    converged: bool [], of the residual alone.
    num_steps: int32 [].
  """

  x: Array
  residual: Array
  converged: Array
  num_steps: Array


def newton(
  g: Callable[[Array], Array],
  x_0: Array,
  *,
  max_steps: int = 100,
  tolerance: float | None = None,
  longest_step: Number = float("inf"),
) -> Root:
  """A root of g near x_0: x ← x - s (∂g/∂x)⁻¹ g(x).

  s is the best of 1, 1/2, ..., 2^-12. Where the Jacobian is singular the step
  is against the gradient of |g|²/2 instead.

  Args:
    g: [N] -> [N].
    x_0: [N].
    max_steps: where to stop.
    tolerance: on |g| / (1 + |x|); 100 units in the last place if None.
    longest_step: the search goes on, as long as |g| falls, while the next full
      step is longer than it, relative to |x| where that is above 1.

  Returns:
    `Root`; `converged` is False where the tolerance was not met, also for
    values that are not finite.
  """
  limit: Number = 100 * jnp.finfo(x_0.dtype).eps
  limit = limit if tolerance is None else tolerance
  sizes = 0.5 ** jnp.arange(HALVINGS + 1).astype(x_0.dtype)

  def relative(x, value):
    return jnp.linalg.norm(value) / (1 + jnp.linalg.norm(x))

  def aim(x, value):
    jacobian = jax.jacfwd(g)(x)
    full = jnp.linalg.solve(jacobian, value)
    regular = jnp.isfinite(full).all()
    length = jnp.where(regular, jnp.linalg.norm(full), jnp.inf)
    return jnp.where(regular, full, value @ jacobian), length / _scale(x)

  def step(state):
    x, value, direction, _, count, _ = state
    candidates = x[None] - sizes[:, None] * direction[None]
    values = jax.vmap(g)(candidates)
    norms = jnp.linalg.norm(values, axis=-1)
    best = jnp.argmin(jnp.where(jnp.isfinite(norms), norms, jnp.inf))
    # Without progress at the smallest step the search is over.
    better = norms[best] < jnp.linalg.norm(value)
    x_new = jnp.where(better, candidates[best], x)
    value_new = jnp.where(better, values[best], value)
    return (x_new, value_new, *aim(x_new, value_new), count + 1, better)

  def going(state):
    x, value, _, length, count, moving = state
    wanted = (relative(x, value) > limit) | (length > longest_step)
    return (count < 0) | (count < max_steps) & moving & wanted

  # A first step of length 0 from |g| = inf aims the next: g is compiled once.
  far = jnp.full_like(x_0, jnp.inf)
  count = jnp.full([], -1, jnp.int32)
  start = (x_0, far, jnp.zeros_like(x_0), far[0], count, True)
  x, value, _, _, count, _ = jax.lax.while_loop(going, step, start)
  residual = jnp.linalg.norm(value)
  return Root(x, residual, relative(x, value) <= limit, count)


def root_error(
  g: Callable[[Array], Array], x: Array, within: Number
) -> tuple[Array, Array]:
  """How far the root near x may be, and whether that is near enough.

  The estimate is |s| + |r| with s = (∂g/∂x)⁻¹ g(x), the next Newton step, and
  r that for a rounding error of x in place of g(x). At a root of multiplicity m
  the distance is m |s|. Where x lies on a multiple root to rounding, g and
  ∂g/∂x are noise and so is s. Then one step from a point `within`/2 beside x
  decides: if it leads back, the root is an isolated one, and the estimate is
  `within`/2 or the distance by which it misses x. On a continuum of roots, and
  where g is small and has no root, it does not lead back.

  Args:
    g: [N] -> [N].
    x: [N], where the search ended.
    within: what is near enough, relative to |x| where that is above 1.

  Returns:
    The estimate [], inf where there is none; and bool [].
  """
  within = within * _scale(x)
  direction = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
  direction = direction / jnp.linalg.norm(direction)
  rounding = jnp.finfo(x.dtype).eps * jnp.linalg.norm(x) * direction

  def end(aside):
    columns = jnp.stack([g(x + aside), rounding], 1)
    full, moved = jnp.linalg.solve(jax.jacfwd(g)(x + aside), columns).T
    return jnp.linalg.norm(aside - full), jnp.linalg.norm(moved)

  asides = jnp.stack([jnp.zeros_like(x), within / 2 * direction])
  missed, moved = jax.vmap(end)(asides)
  errors = jnp.maximum(missed, jnp.array([0, within / 2])) + moved
  error = jnp.min(jnp.where(jnp.isnan(errors), jnp.inf, errors))
  return error, error <= within


def is_regular(g: Callable[[Array], Array], x: Array, terms: Array) -> Array:
  """Whether ∂g/∂x is surely not singular at the root near x: bool [].

  Where it is singular, det ∂g/∂x falls like the m-th power, m ≥ 1, of the
  distance, and a Newton step covers 1 / (m + 1) of that: the step changes the
  determinant by m / (m + 1) of itself, a half at least, at every distance. At a
  regular root it changes it by as little as the step is small. So True asks
  that neither the Newton step, nor one for rounding errors in place of g,
  changes it by more than a quarter, to first order. This depends neither on the
  units of x and g nor on coordinates.

  Args:
    g: [N] -> [N], twice differentiable.
    x: [N], where Newton stopped.
    terms: [N], size of the terms that cancel in each equation and do not show
      in ∂g/∂x · x.
  """
  jacobian = jax.jacfwd(g)(x)
  size = jnp.abs(jacobian) @ jnp.abs(x) + terms
  shape = (NUM_PROBES, *x.shape)
  signs = jax.random.rademacher(jax.random.key(0), shape, x.dtype)
  errors = jnp.finfo(x.dtype).eps * size[None] * signs
  columns = jnp.concatenate([g(x)[None], errors]).T
  moves = jnp.linalg.solve(jacobian, columns).T

  def log_volume(x):
    return jnp.linalg.slogdet(jax.jacfwd(g)(x))[1]

  changes = jax.vmap(lambda dx: jax.jvp(log_volume, (x,), (dx,))[1])(moves)
  return (jnp.abs(changes) <= LARGEST_CHANGE).all()


def _scale(x: Array) -> Array:
  """What a length is relative to: |x|, or 1 where that is less."""
  return jnp.maximum(1, jnp.linalg.norm(x))
