"""Spectra, and the paper's two conditions with what each of them proves.

Section 2.1: with |σ′| ≤ γ and J_i = w_recᵀ diag(σ′(x_{i-1})),

  |∂x_t/∂x_k| ≤ Π_{t ≥ i > k} |w_rec| |diag(σ′(x_{i-1}))| ≤ (γ σ_max)^(t-k)

so a largest singular value below 1/γ suffices for long-term contributions to
vanish, and one above 1/γ is necessary, and not sufficient, for them to explode.
γ = 1 for tanh, 1/4 for the sigmoid. In the linear case the growth is that of
the spectral radius: ρ < 1 suffices to vanish, ρ > 1 is necessary to explode.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate, numerics
from steadygrad.analysis import _checks
from steadygrad.analysis.jacobians import LagProfile
from steadygrad.types import Array


class Conditions(NamedTuple):
  """Where a recurrent matrix stands; every field is [].

  Attributes:
    spectral_radius: ρ.
    largest_singular_value: σ_max ≥ ρ.
    threshold: 1/γ.
    vanishing_is_certain: σ_max < 1/γ. True proves that |∂x_t/∂x_k| decays at
      least as fast as (γ σ_max)^(t-k), for all inputs and states. False proves
      nothing.
    explosion_is_possible: not σ_max ≤ 1/γ. False proves that no ∂x_t/∂x_k
      exceeds norm 1. True proves nothing: saturation, or a matrix far from
      normal, may keep every product small.
    linear_vanishing: ρ < 1, which suffices for a linear network alone. False
      proves nothing.
    linear_explosion_is_possible: not ρ ≤ 1. ρ > 1 is necessary for a linear
      network with a diagonalisable matrix to explode exponentially, so that
      False proves that it does not; |∂x_t/∂x_k| may still pass through large
      values before it decays. True proves nothing.

  A ρ or σ_max that is NaN proves nothing: what would be certain is False, what
  is possible True.
  """

  spectral_radius: Array
  largest_singular_value: Array
  threshold: Array
  vanishing_is_certain: Array
  explosion_is_possible: Array
  linear_vanishing: Array
  linear_explosion_is_possible: Array


class BoundCheck(NamedTuple):
  """The bound of section 2.1 along a trajectory.

  Attributes:
    log_norms: [T, B], log |∂x_T/∂x_{T-lag}|, index lag - 1.
    log_bounds: [T], lag · log(γ σ_max).
    holds: bool [T, B], log_norms ≤ log_bounds up to rounding; False where a
      norm is not finite.
  """

  log_norms: Array
  log_bounds: Array
  holds: Array


class PowerIteration(NamedTuple):
  """The dominant eigenvalue, or pair of them, of a real matrix.

  Attributes:
    eigenvalue: complex [], of largest modulus, imaginary part ≥ 0.
    modulus: [], |eigenvalue|.
    residual: [], |A v - λ v| / |A| for the unit vector v that was found. The
      error of λ is about |A| times as much times its condition number, which is
      large far from normal: .9 I with .5 above the diagonal and N = 20 gives
      .98 in place of .9 in float32.
    iterations: int32 [].
    converged: bool [], whether residual ≤ tolerance. False where three or more
      eigenvalues share the largest modulus (unless they are equal), as in a
      rotation by blocks, or the matrix is not finite.
  """

  eigenvalue: Array
  modulus: Array
  residual: Array
  iterations: Array
  converged: Array


def singular_values(w: Array) -> Array:
  """[min(M, N)] descending; ValueError if w is no finite real matrix.

  Args:
    w: [M, N].
  """
  w = _checks.real_array("w", w, "[M, N]")
  return jnp.linalg.svd(w, compute_uv=False)


def conditions(w_rec: Array, gamma: float | Array) -> Conditions:
  """The paper's conditions for w_rec and |σ′| ≤ gamma.

  Args:
    w_rec: [N, N]; a matrix and its transpose give the same answer.
    gamma: bound on |σ′|: `Activation.gamma`.

  Returns:
    `Conditions`. A traced matrix that is not finite proves nothing.

  Raises:
    ValueError: if w_rec is not square and real, or concretely not finite, or
      gamma is concretely not positive.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.analysis import conditions
    >>> stands = conditions(0.5 * jnp.eye(3), gamma=1.0)
    >>> bool(stands.vanishing_is_certain), bool(stands.explosion_is_possible)
    (True, False)
  """
  w_rec = _checks.real_square("w_rec", w_rec)
  _validate.check_number("gamma", gamma, above=0, finite=False)
  top = singular_values(w_rec)[0]
  rho = numerics.spectral_radius(w_rec)
  threshold = 1 / jnp.asarray(gamma, top.dtype)
  return Conditions(
    spectral_radius=rho,
    largest_singular_value=top,
    threshold=threshold,
    vanishing_is_certain=top < threshold,
    explosion_is_possible=~(top <= threshold),
    linear_vanishing=rho < 1,
    linear_explosion_is_possible=~(rho <= 1),
  )


def check_bound(
  profile: LagProfile, w_rec: Array, gamma: float | Array
) -> BoundCheck:
  """Whether |∂x_T/∂x_k| ≤ (γ σ_max)^(T-k) along a trajectory.

  Args:
    profile: from `lag_profile` of the trajectory's Jacobians.
    w_rec: [N, N].
    gamma: bound on |σ′|.

  Returns:
    `BoundCheck`. Rounding is allowed for with 8 N units in the last place a
    step.

  Raises:
    ValueError: as `conditions`.
  """
  w_rec = _checks.real_square("w_rec", w_rec)
  _validate.check_number("gamma", gamma, above=0, finite=False)
  top = singular_values(w_rec)[0]
  num_steps = profile.log_norms.shape[0]
  lags = jnp.arange(1, num_steps + 1).astype(top.dtype)
  log_bounds = lags * jnp.log(jnp.asarray(gamma, top.dtype) * top)
  slack = 8 * w_rec.shape[0] * jnp.finfo(top.dtype).eps * lags
  holds = profile.log_norms <= (log_bounds + slack)[:, None]
  return BoundCheck(profile.log_norms, log_bounds, holds)


def power_iteration(
  w: Array, *, max_iterations: int = 2000, tolerance: float | None = None
) -> PowerIteration:
  """Power iteration on a plane, so that a complex pair is found as well.

  One vector never settles where a complex pair dominates: it turns. Two do:

    q ← orthonormal basis of w q, q [N, 2];   h = qᵀ w q

  and the larger eigenvalue of the 2 × 2 matrix h, in closed form, is w's. It
  covers a real eigenvalue, λ and -λ, and a pair λ, λ̄.

  Args:
    w: [N, N].
    max_iterations: where to stop.
    tolerance: on the residual; 100 units in the last place if None.

  Returns:
    `PowerIteration`. The zero matrix gives 0 and converges.

  Raises:
    ValueError: if w is not square and real or concretely not finite, or an
      option is not as above.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.analysis import power_iteration
    >>> found = power_iteration(jnp.array([[0.0, 0.5], [-0.5, 0.0]]))
    >>> print(abs(found.eigenvalue).round(4), found.converged)  # ±.5 i.
    0.5 True
  """
  w = _checks.real_square("w", w)
  _validate.check_integer("max_iterations", max_iterations, traced=True)
  if tolerance is not None:
    _validate.check_number("tolerance", tolerance, finite=False)
  size, eps = w.shape[0], jnp.finfo(w.dtype).eps
  limit = 100 * eps if tolerance is None else tolerance
  norm = numerics.joint_norm(w).astype(w.dtype)
  a = w / jnp.where(norm > 0, norm, 1)
  q = jax.random.normal(jax.random.key(0), (size, min(size, 2)), w.dtype)
  matmul = numerics.matmul

  def step(state):
    q, i, _, _ = state
    q, _ = jnp.linalg.qr(matmul(a, q))
    aq = matmul(a, q)
    h = matmul(q.T, aq)
    value, v = _dominant_of_2x2(h)
    miss = jnp.linalg.norm(matmul(aq, v.real) - matmul(q, (value * v).real))
    turn = jnp.linalg.norm(matmul(aq, v.imag) - matmul(q, (value * v).imag))
    return q, i + 1, value, jnp.hypot(miss, turn)

  def going(state):
    # A comparison with NaN is False, so a matrix that is not finite ends it.
    return (state[1] < max_iterations) & (state[3] > limit)

  start = (
    jnp.linalg.qr(q)[0],
    jnp.zeros([], jnp.int32),
    jnp.zeros([], numerics.common_dtype(w.dtype, jnp.complex64)),
    jnp.asarray(jnp.inf, w.dtype),
  )
  _, count, value, residual = jax.lax.while_loop(going, step, start)
  value = value * norm.astype(value.dtype)
  value = jax.lax.complex(value.real, jnp.abs(value.imag))
  return PowerIteration(
    value, jnp.abs(value), residual, count, residual <= limit
  )


def _dominant_of_2x2(h: Array) -> tuple[Array, Array]:
  """Largest eigenvalue of a real [1, 1] or [2, 2], and its unit vector."""
  kind = numerics.common_dtype(h.dtype, jnp.complex64)
  if h.shape[0] == 1:
    return h[0, 0].astype(kind), jnp.ones(1, kind)
  half = (h[0, 0] + h[1, 1]) / 2
  square = ((h[0, 0] - h[1, 1]) / 2) ** 2 + h[0, 1] * h[1, 0]
  root, h = jnp.sqrt(square.astype(kind)), h.astype(kind)
  half = half.astype(kind)
  value = half + jnp.where(half.real < 0, -root, root)
  # Either row of h - λ gives the vector; the larger is the safer one.
  rows = jnp.stack(
    [
      jnp.stack([h[0, 1], value - h[0, 0]]),
      jnp.stack([value - h[1, 1], h[1, 0]]),
    ]
  )
  lengths = jnp.sqrt(jnp.sum(jnp.abs(rows) ** 2, 1))
  v = jnp.where(lengths[0] >= lengths[1], rows[0], rows[1])
  length = jnp.max(lengths)
  zero = length == 0
  unit = jnp.array([1, 0], kind)
  return value, jnp.where(
    zero, unit, v / jnp.where(zero, 1, length).astype(kind)
  )
