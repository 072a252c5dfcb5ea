"""Lyapunov exponents: the growth per step of ∂x_t/∂x_0, for all directions.

  Q_t R_t = J_t Q_{t-1},   λ_i = 1/T Σ_t log |R_t[i, i]|

The largest is the rate at which gradients explode (λ > 0) or vanish (λ < 0)
along that trajectory. The QR decomposition at every step keeps the directions
apart where products of Jacobians lose all but the largest in rounding.
Benettin et al. 1980; Engelken et al. 2023 for recurrent networks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad.analysis import _checks, _states
from steadygrad.types import Array, Cell, PyTree


class Lyapunov(NamedTuple):
  """Lyapunov exponents in natural logarithms per step.

  Attributes:
    exponents: [n], the n largest, in descending order.
    drift: [n], |mean over the second half - mean over all|, what the estimate
      still moves by.
    converged: bool [], whether the state stayed finite, no exponent is NaN or
      +inf, and every drift is at most the tolerance. An orbit that escapes says
      False.
    x_last: [N], the state at the end.
  """

  exponents: Array
  drift: Array
  converged: Array
  x_last: Array


def lyapunov_exponents(
  f: Callable[..., Array],
  x_0: Array,
  *,
  num_steps: int | None = None,
  us: PyTree | None = None,
  burn_in: int = 0,
  num_exponents: int | None = None,
  qr_every: int = 1,
  tolerance: float = 0.05,
) -> Lyapunov:
  """The spectrum of a map, autonomous or driven, along one orbit.

  Differentiable in what `f` closes over and in `x_0` and `us`, where the
  exponents of the leading directions are distinct.

  Args:
    f: x [N] -> [N], or (x, u) -> [N] where `us` is given.
    x_0: [N].
    num_steps: steps after the burn-in; all of `us` if None.
    us: inputs, leaves [burn_in + num_steps, ...], or None.
    burn_in: first steps that bring state and frame to rest and do not count.
    num_exponents: n; N if None.
    qr_every: steps between two decompositions, a divisor of `burn_in` and of
      `num_steps`. More is faster; in between the directions may grow apart by
      exp(qr_every (λ_1 - λ_n)), which must stay well below 1 / eps.
    tolerance: on the drift.

  Returns:
    `Lyapunov`. A singular Jacobian gives an exponent of -inf or, where rounding
    hides it, a very negative one.

  Raises:
    ValueError: on shapes or counts that do not fit, a concrete x_0 that is not
      finite, or an f that does not keep its shape and dtype.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.analysis import lyapunov_exponents
    >>> f = lambda x: x * jnp.array([2.0, 0.5])
    >>> found = lyapunov_exponents(f, jnp.ones(2), num_steps=20, burn_in=20)
    >>> print(found.exponents.round(4))  # log 2 and log .5.
    [ 0.6931 -0.6931]
  """
  x_0 = _checks.real_array("x_0", x_0, "[N]")
  us = jax.tree.map(jnp.asarray, us)
  total = _total_steps(num_steps, us, burn_in, qr_every)
  _validate.check_number("tolerance", tolerance, finite=False)
  size = x_0.shape[0]
  n = size if num_exponents is None else num_exponents
  _validate.check_integer("num_exponents", n)
  if n > size:
    raise ValueError(f"num_exponents must lie in 1..{size}, got {n}")
  first = () if us is None else (jax.tree.map(lambda u: u[0], us),)
  _checks.check_keeps("f", f, x_0, *first)

  def push_frame(carry, u_t):
    x, q = carry
    g = f if us is None else lambda x: f(x, u_t)
    x_next, push = jax.linearize(g, x)
    return (x_next, jax.vmap(push, 1, 1)(q)), None

  def block(carry, us):
    (x, q), _ = jax.lax.scan(push_frame, carry, us, length=qr_every)
    q, r = jnp.linalg.qr(q)
    return (x, q), jnp.log(jnp.abs(jnp.diagonal(r))) / qr_every

  # A generic frame: the unit vectors may be invariant and hide directions.
  frame = jax.random.normal(jax.random.key(0), (size, n), x_0.dtype)
  start = (x_0, jnp.linalg.qr(frame)[0])
  blocks = jax.tree.map(
    lambda u: u.reshape((total // qr_every, qr_every) + u.shape[1:]), us
  )
  (x_last, _), logs = jax.lax.scan(
    block, start, blocks, length=total // qr_every
  )
  logs = logs[burn_in // qr_every :]
  exponents = jnp.mean(logs, 0)
  second = jnp.mean(logs[len(logs) // 2 :], 0)
  moved = jnp.abs(second - exponents)
  drift = jnp.where(second == exponents, 0, moved)
  # -inf is an answer, of a singular Jacobian; +inf and NaN are none.
  found = (exponents < jnp.inf) & (drift <= tolerance)
  converged = jnp.isfinite(x_last).all() & found.all()
  order = jnp.argsort(-exponents)
  return Lyapunov(exponents[order], drift[order], converged, x_last)


def cell_lyapunov_exponents(
  cell: Cell,
  params: PyTree,
  us: Array,
  *,
  x_0: PyTree | None = None,
  burn_in: int = 0,
  num_exponents: int | None = None,
  qr_every: int = 1,
  tolerance: float = 0.05,
) -> Lyapunov:
  """The spectrum of any cell along each sequence of a batch.

  For the autonomous dynamics pass zeros (or any constant) as `us`.

  Args:
    cell: the cell; states of several leaves count as one vector of N.
    params: its parameters.
    us: inputs [burn_in + T, B, M].
    x_0: leaves [B, ...]; `cell.initial_state` if None.
    burn_in: see `lyapunov_exponents`.
    num_exponents: see `lyapunov_exponents`.
    qr_every: see `lyapunov_exponents`.
    tolerance: see `lyapunov_exponents`.

  Returns:
    `Lyapunov` with a leading axis [B] in every field.

  Raises:
    ValueError: as `lyapunov_exponents`, or if us are not [T, B, M].
  """
  us = _checks.real_array("us", us, "[T, B, M]", half=True)
  size = us.shape[1]
  if x_0 is None:
    x_0 = cell.initial_state(params, size)
  step = _states.flat_step(cell, params, x_0)

  def one(x, us):
    return lyapunov_exponents(
      step,
      x,
      us=us,
      burn_in=burn_in,
      num_exponents=num_exponents,
      qr_every=qr_every,
      tolerance=tolerance,
    )

  return jax.vmap(one, (0, 1))(_states.flatten(x_0), us)


def _total_steps(num_steps, us, burn_in, qr_every) -> int:
  """Steps in all; ValueError where counts and inputs do not fit."""
  _validate.check_integer("burn_in", burn_in, least=0)
  _validate.check_integer("qr_every", qr_every)
  if num_steps is not None:
    _validate.check_integer("num_steps", num_steps)
  if us is not None:
    total = _checks.common_length("us", us)
    num_steps = total - burn_in if num_steps is None else num_steps
  elif num_steps is not None:
    total = burn_in + num_steps
  else:
    raise ValueError("num_steps must be given where us are not, got None")
  if burn_in % qr_every or num_steps % qr_every:
    raise ValueError(
      f"qr_every={qr_every} must divide burn_in={burn_in} and"
      f" num_steps={num_steps}"
    )
  if num_steps < 1 or burn_in + num_steps != total:
    raise ValueError(
      f"us has {total} steps; burn_in {burn_in} and num_steps {num_steps}"
      " must add up to it, with at least one step after the burn-in"
    )
  return total
