"""Damped Newton on a system of N equations, with fixed shapes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad.types import Array

HALVINGS = 12  # Step sizes 1, 1/2, ..., 2^-12; below that a start is stuck.


class Root(NamedTuple):
  """What Newton came to.

  Attributes:
    x: [N].
    residual: [], |g(x)|.
    converged: bool [].
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
) -> Root:
  """A root of g near x_0: x ← x - s (∂g/∂x)⁻¹ g(x).

  s is the best of 1, 1/2, ..., 2^-12. Where the Jacobian is singular the step
  is against the gradient of |g|²/2 instead.

  Args:
    g: [N] -> [N].
    x_0: [N].
    max_steps: where to stop.
    tolerance: on |g| / (1 + |x|); 100 units in the last place if None.

  Returns:
    `Root`; `converged` is False where the tolerance was not met, also for
    values that are not finite.
  """
  tolerance = 100 * jnp.finfo(x_0.dtype).eps if tolerance is None else tolerance
  sizes = 0.5 ** jnp.arange(HALVINGS + 1).astype(x_0.dtype)

  def relative(x, value):
    return jnp.linalg.norm(value) / (1 + jnp.linalg.norm(x))

  def step(state):
    x, value, count, _ = state
    jacobian = jax.jacfwd(g)(x)
    full = jnp.linalg.solve(jacobian, value)
    fallback = value @ jacobian
    direction = jnp.where(jnp.isfinite(full).all(), full, fallback)
    candidates = x - sizes[:, None] * direction
    values = jax.vmap(g)(candidates)
    norms = jnp.linalg.norm(values, axis=-1)
    best = jnp.argmin(jnp.where(jnp.isfinite(norms), norms, jnp.inf))
    # Without progress at the smallest step the search is over.
    better = norms[best] < jnp.linalg.norm(value)
    x_new = jnp.where(better, candidates[best], x)
    value_new = jnp.where(better, values[best], value)
    return x_new, value_new, count + 1, better

  def going(state):
    x, value, count, moving = state
    return (count < max_steps) & moving & (relative(x, value) > tolerance)

  start = (x_0, g(x_0), jnp.zeros([], jnp.int32), jnp.array(True))
  x, value, count, _ = jax.lax.while_loop(going, step, start)
  residual = jnp.linalg.norm(value)
  return Root(x, residual, relative(x, value) <= tolerance, count)
