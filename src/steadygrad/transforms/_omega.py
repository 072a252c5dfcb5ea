"""Ω, the paper's regulariser against vanishing gradients: value, derivative.

With the error signal δ_t = dE/dx_t and the product p_t = δ_t ∂x_t/∂x_{t-1}

  "norm"     Ω_t = (|p_t| / |δ_t| − 1)²      eq. 9
  "squared"  Ω_t = (|p_t|² / |δ_t|² − 1)²    eq. 10, the authors' code

A term counts where |δ_t|² reaches a bound. Over T steps and B sequences

  "mean"     Ω = Σ_{t,b} Ω_t / number of terms that count    the authors' code
  "sum"      Ω = Σ_{t,b} Ω_t / B                             eq. 9

and the derivative is the immediate one of eq. 10: x_{t-1}, u_t and δ_t are held
fixed, and only the step from x_{t-1} to x_t sees the parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate, numerics, trees, varying
from steadygrad._unroll import previous_states, take_step
from steadygrad.segments import in_segments, num_steps
from steadygrad.types import Array, Cell, OmegaSlope, PyTree, Trajectory

MIN_SQUARED_NORM = 1e-20  # The authors' bound on |δ_t|².
# Sums of squares between them, and their inverses, lose nothing.
_PLAIN_LOW = 1e-30
_PLAIN_HIGH = 1e25


class OmegaTerms(NamedTuple):
  """Ω and its derivative in the products.

  Attributes:
    omega: [].
    valid_fraction: [], share of the unmasked pairs that counted.
    cotangents: ∂Ω/∂products, as `products`.
    slope: the same as two numbers a pair, [T, B] each.
  """

  omega: Array
  valid_fraction: Array
  cotangents: PyTree
  slope: OmegaSlope


def check_modes(
  ratio: str, reduction: str, min_squared_norm: float | Array
) -> None:
  """ValueError unless `omega_terms` takes these."""
  _validate.check_one_of("ratio", ratio, ("squared", "norm"))
  _validate.check_one_of("reduction", reduction, ("mean", "sum"))
  _validate.check_number("min_squared_norm", min_squared_norm)


def recurrent_part(cell: Cell, trajectory: Trajectory) -> Trajectory:
  """The trajectory of those leaves of the states that feed back.

  A leaf that the next step does not read sends nothing on, so that its error
  signal is no part of what the recursion keeps or loses. The products are then
  made again, from the error signals of the others alone.
  """
  if cell.feeds_back is None:
    return trajectory
  deltas = jax.tree.map(
    lambda kept, part: part if kept else jax.tree.map(jnp.zeros_like, part),
    cell.feeds_back,
    trajectory.deltas,
  )

  def pull(x_tm1, u_t, delta_t):
    _, vjp = trees.vjp(lambda x: cell.step(trajectory.params, x, u_t), x_tm1)
    return vjp(delta_t)[0]

  before = previous_states(trajectory.x_0, trajectory.xs)
  products = jax.vmap(pull)(before, trajectory.us, deltas)
  return trajectory._replace(deltas=deltas, products=products)


def omega_terms(
  trajectory: Trajectory,
  *,
  ratio: str = "squared",
  reduction: str = "mean",
  min_squared_norm: float | Array = MIN_SQUARED_NORM,
) -> OmegaTerms:
  """Ω of a trajectory and ∂Ω/∂products, in float32 (float64 for float64).

  Wherever a plain sum of squares would overflow or underflow, both norms are
  formed after a division by the largest |δ_t| of each pair, so that the ratio
  survives as long as the dtype holds the numbers themselves.
  States of several leaves count with their joint norm, over those leaves that
  are floating or complex; the others have cotangents of zero.

  Args:
    trajectory: from `adjoints`.
    ratio: "squared" or "norm".
    reduction: "mean" or "sum".
    min_squared_norm: pairs whose |δ_t|² is below it do not count; nor do those
      with δ_t = 0, beyond a length, or not finite.

  Returns:
    `OmegaTerms`. Inside `jax.shard_map` they are of the sequences of all
    devices. Ω holds for |p_t| / |δ_t| up to 1e9 in float32; beyond, it or
    its derivative may be inf. If no pair counts all of it is zero. In "norm" a
    zero product has cotangent zero, the subgradient.
  """
  trajectory = check_trajectory(trajectory)
  check_modes(ratio, reduction, min_squared_norm)
  products = trajectory.products
  scale, delta_sq, product_sq = _squares(trajectory, min_squared_norm)
  dtype = delta_sq.dtype
  # The root of a bound that float32 does not hold may still be one.
  bound = jnp.asarray(min_squared_norm**0.5, dtype)
  valid = scale * jnp.sqrt(delta_sq) >= bound
  valid &= (delta_sq > 0) & jnp.isfinite(delta_sq) & jnp.isfinite(product_sq)
  if trajectory.mask is not None:
    valid &= trajectory.mask

  r_squared = product_sq / jnp.where(valid, delta_sq, 1)
  if ratio == "squared":
    terms = jnp.square(r_squared - 1)
    derivative = 4 * (r_squared - 1)
  else:
    zero = r_squared == 0
    r = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, r_squared)))
    terms = jnp.square(r - 1)
    derivative = jnp.where(zero, 0, 2 * (r - 1) / jnp.where(zero, 1, r))

  # Inside `shard_map` the sums are over the sequences of all devices.
  over = varying.axes(delta_sq) - varying.axes(trajectory.params)
  devices = varying.num_devices(over)
  # Counted in int32: float16 and bfloat16 lose count at 2048 and 256.
  count = jnp.sum(valid, dtype=jnp.int32)
  count = varying.summed(count, over).astype(dtype)
  total = devices * valid.size
  if trajectory.mask is not None:
    total = varying.summed(jnp.sum(trajectory.mask), over)
  batch = devices * valid.shape[1]
  pairs = jnp.maximum(count, 1) if reduction == "mean" else batch
  # ∂Ω_t/∂p_t = derivative p_t / |δ_t|², and |δ_t|² = scale² delta_sq: divided
  # in two steps, for scale² may not be representable.
  slope = jnp.where(valid, derivative / jnp.where(valid, delta_sq, 1), 0)
  slope = slope / pairs
  inverse_scale = 1 / jnp.where(valid, scale, 1)
  slope = slope * inverse_scale

  def cotangent(p):
    if not trees.is_inexact(p):
      return jnp.zeros_like(p)
    wide = (slice(None),) * 2 + (None,) * (p.ndim - 2)
    p = p.astype(dtype) * inverse_scale[wide]
    return jnp.where(valid[wide], p * slope[wide], 0)

  cotangents = jax.tree.map(cotangent, products)
  omega = varying.summed(jnp.sum(jnp.where(valid, terms, 0)), over) / pairs
  valid_fraction = count / jnp.maximum(jnp.asarray(total, dtype), 1)
  slopes = OmegaSlope(inverse_scale, slope)
  return OmegaTerms(omega, valid_fraction, cotangents, slopes)


def _squares(trajectory, min_squared_norm):
  """(m, |δ_t|² / m², |p_t|² / m²), [T, B] each, with an m that is safe."""
  deltas, products = map(
    trees.inexact_leaves, (trajectory.deltas, trajectory.products)
  )
  if not deltas:
    raise ValueError("Omega needs a state with a floating-point leaf")

  def scaled():
    m, delta_sq = numerics.scaled_squares(deltas, batch_ndim=2)
    return m, delta_sq, squares(products, m)

  def squares(leaves, m=None):
    total = 0
    for x in leaves:
      x = x.astype(numerics.accumulator_dtype(x))
      if m is not None:
        x = x / m.reshape(m.shape + (1,) * (x.ndim - 2))
      total = total + jnp.sum(x * x, tuple(range(2, x.ndim)))
    return total

  def both(slices, counts):
    del counts
    return None, tuple(map(squares, slices))

  # Sums as they are cost a third of the scaled ones, and serve nearly always:
  # what underflows in them is below the bound and counts for nothing.
  _, (delta_sq, product_sq) = in_segments(
    both, (deltas, products), num_steps(trajectory.mask)
  )
  plain = jnp.all(delta_sq < _PLAIN_HIGH)
  plain &= jnp.all(product_sq < _PLAIN_HIGH)
  plain &= jnp.asarray(min_squared_norm) >= _PLAIN_LOW
  as_they_are = jnp.ones_like(delta_sq), delta_sq, product_sq
  return jax.lax.cond(plain, lambda: as_they_are, scaled)


def omega_gradient(
  cell: Cell, trajectory: Trajectory, cotangents: PyTree
) -> PyTree:
  """The immediate derivative of Ω in the cell's parameters.

  A cell with a fused pair has the closed form of eq. 10, in w_rec alone; in the
  h-form it holds σ′(h_t) fixed, as the authors do. Any other cell (and
  `cell._replace(fused=None)`) differentiates its whole step, one vjp for all
  steps at once and no recursion; `optax.masked` narrows that to some leaves.

  Args:
    cell: the cell the trajectory is of.
    trajectory: from `adjoints`.
    cotangents: from `omega_terms`.

  Returns:
    A tree like `trajectory.params`; leaves that Ω does not touch are None in
    the closed form. Otherwise parameters without a derivative have zeros.
  """
  _validate.check_same_shapes("cotangents", cotangents, trajectory.products)
  params = trajectory.params
  if cell.fused and cell.fused.factors:
    _, rights, scales = cell.fused.factors(trajectory)
    lefts = cotangents
    if scales is not None:
      lefts = jnp.multiply(*numerics.promoted(cotangents, scales))
    w_rec = numerics.sum_outer(lefts, rights)
    w_rec = varying.summed_like(w_rec, params["w_rec"])
    placed = {"w_rec": jax.tree.map(lambda _: w_rec, params["w_rec"])}
    return trees.place(params, placed, otherwise=lambda _: None)

  x_tm1s = previous_states(trajectory.x_0, trajectory.xs)

  def products_of(params):
    def send(x_tm1, u_t, delta_t):
      _, vjp = trees.vjp(lambda x: take_step(cell, params, x, u_t), x_tm1)
      return vjp(delta_t)[0]

    return jax.vmap(send)(x_tm1s, trajectory.us, trajectory.deltas)

  products, vjp = trees.vjp(products_of, params)
  cotangents = jax.tree.map(
    lambda c, p: c.astype(p.dtype), cotangents, products
  )
  return vjp(cotangents)[0]


def check_trajectory(trajectory: Any) -> Trajectory:
  """The trajectory; ValueError unless it is one, of shapes that agree."""
  if not isinstance(trajectory, Trajectory):
    raise ValueError(
      "add_omega_gradient needs update(..., trajectory=), the third result of"
      f" adjoints(model, loss_fn)(params, batch); got {type(trajectory)}"
    )
  _validate.check_same_shapes(
    "trajectory.products", trajectory.products, trajectory.deltas
  )
  if trajectory.mask is not None:
    for delta in jax.tree.leaves(trajectory.deltas):
      if trajectory.mask.shape != delta.shape[:2]:
        raise ValueError(
          f"trajectory.mask must be [T, B], here {delta.shape[:2]}, got shape"
          f" {trajectory.mask.shape}"
        )
  return trajectory
