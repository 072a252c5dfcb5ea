"""How far the end of an orbit moves with its start, a parameter or its inputs.

Figs. 4 and 5 as numbers. Δx_0 is small and Δx_t large where a boundary between
basins lies between two starts: |∂x_t/∂x_0| grows with the slope at the unstable
point on the boundary. A bifurcation elsewhere in state space changes nothing
for an orbit that does not meet it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad.analysis import _checks
from steadygrad.types import Array, PyTree


class Sensitivity(NamedTuple):
  """An orbit and its first derivatives, by forward mode.

  Attributes:
    xs: [T + 1, N], the orbit with its start.
    in_start: [T + 1, N, N], ∂x_t/∂x_0.
    in_parameter: [T + 1, N], dx_t/db, the total derivative.
    finite: bool [], whether all of it is.
  """

  xs: Array
  in_start: Array
  in_parameter: Array
  finite: Array


def orbit_sensitivity(
  family: Callable[..., Array],
  x_0: Array,
  parameter: Array,
  *,
  num_steps: int | None = None,
  us: PyTree | None = None,
) -> Sensitivity:
  """The orbit x_t = f(x_{t-1}, b[, u_t]) with its derivatives in x_0 and b.

    ∂x_t/∂x_0 = J_t ∂x_{t-1}/∂x_0
    dx_t/db   = J_t dx_{t-1}/db + ∂⁺x_t/∂b

  Args:
    family: (x [N], b []) -> [N], or (x, b, u_t) -> [N] where `us` is given.
    x_0: [N].
    parameter: [].
    num_steps: T; the length of `us` if None.
    us: [T, ...] or None.

  Returns:
    `Sensitivity`.

  Raises:
    ValueError: if x_0 is not [N], the parameter not [], one of them concretely
      not finite, neither a length nor inputs are given or they differ, or the
      family does not keep its shape and dtype.
  """
  x_0 = _checks.real_array("x_0", x_0, "[N]", half=True)
  b = _checks.real_scalar("parameter", parameter, x_0.dtype)
  if us is None and num_steps is None:
    raise ValueError("either num_steps or us must be given")
  if num_steps is not None:
    _validate.check_integer("num_steps", num_steps)
  length = num_steps
  if us is not None:
    us = jax.tree.map(jnp.asarray, us)
    length = _checks.common_length("us", us)
    if num_steps not in (None, length) or not length:
      raise ValueError(f"num_steps is {num_steps}, us has {length} steps")
  first = () if us is None else (jax.tree.map(lambda u: u[0], us),)
  _checks.check_keeps("family", family, x_0, b, *first)

  def step(carry, u_t):
    x, in_start, in_parameter = carry
    inputs = () if us is None else (u_t,)

    def push(dx, db):
      return jax.jvp(lambda x, b: family(x, b, *inputs), (x, b), (dx, db))

    x_t, in_parameter = push(in_parameter, jnp.ones_like(b))
    in_start = jax.vmap(lambda dx: push(dx, jnp.zeros_like(b))[1], 1, 1)(
      in_start
    )
    carry = (x_t, in_start, in_parameter)
    return carry, carry

  eye = jnp.eye(x_0.shape[0], dtype=x_0.dtype)
  start = (x_0, eye, jnp.zeros_like(x_0))
  _, later = jax.lax.scan(step, start, us, length=length)
  xs, in_start, in_parameter = (
    jnp.concatenate([a[None], rest])
    for a, rest in zip(start, later, strict=True)
  )
  path = xs, in_start, in_parameter
  finite = jnp.stack([jnp.isfinite(p).all() for p in path]).all()
  return Sensitivity(*path, finite)
