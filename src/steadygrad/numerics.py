"""Norms that neither overflow nor underflow; products at full precision.

The sum of squares of a float32 vector overflows once its norm passes 1.8e19 and
vanishes below 1e-19, well inside the range in which gradients explode and
vanish. Everything here divides by the largest magnitude first.
"""

import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from steadygrad import _validate, varying
from steadygrad.types import Array, PyTree


def common_dtype(*operands) -> jnp.dtype:
  """What JAX promotes arrays or dtypes to, in its strict mode as well."""
  with jax.numpy_dtype_promotion("standard"):
    return jnp.result_type(*operands)


def promoted(*arrays: Array) -> list[Array]:
  """Arrays in their common dtype: the strict mode mixes none by itself."""
  dtype = common_dtype(*arrays)
  return [jnp.asarray(x, dtype) for x in arrays]


def add(x: Array, y: Array) -> Array:
  """x + y, where y has x's last axes; both promotions are written down."""
  x, y = promoted(x, y)
  return x + jnp.expand_dims(y, range(x.ndim - y.ndim))


def times(x: Array, y: Array) -> Array:
  """x ∘ y, as `add`."""
  x, y = promoted(x, y)
  return x * jnp.expand_dims(y, range(x.ndim - y.ndim))


def accumulator_dtype(*leaves: Array) -> jnp.dtype:
  """float32, or float64 if any leaf is of 64 bits: norms are formed in it."""
  return jnp.finfo(common_dtype(jnp.float32, *leaves)).dtype


def normalised(x: Array, epsilon: float = 1e-6) -> Array:
  """x [..., N] at mean 0 and variance 1 over N: a layer normalisation.

  As Flax's, but for gain and offset. `jax.nn.standardize` takes the difference
  of two means for the variance, which cancels where the mean is large.
  """
  mean = jnp.mean(x, -1, keepdims=True)
  variance = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + epsilon)


class Precision(NamedTuple):
  """How an accelerator multiplies float32.

  Attributes:
    cuda: of NVIDIA's GPUs; all but the highest need compute capability 8.
    tpu: likewise.
  """

  cuda: jax.lax.Precision | jax.lax.DotAlgorithmPreset
  tpu: jax.lax.Precision


_PRESETS, _LEVELS = jax.lax.DotAlgorithmPreset, jax.lax.Precision
# What stays of float32's 24 bits: all of them; all but a last one, by three
# products; 11; 8. A TPU has no TF32, and takes what keeps as many.
PRECISIONS = {
  "highest": Precision(_LEVELS.HIGHEST, _LEVELS.HIGHEST),
  "tf32x3": Precision(_PRESETS.TF32_TF32_F32_X3, _LEVELS.HIGHEST),
  "tf32": Precision(_PRESETS.TF32_TF32_F32, _LEVELS.HIGH),
  "bfloat16": Precision(_PRESETS.BF16_BF16_F32, _LEVELS.DEFAULT),
}


def matmul(a: Array, b: Array, precision: str | None = None) -> Array:
  """a b at full precision, accumulated in at least float32.

  A name of `PRECISIONS` lets GPUs and TPUs round operands of float32; a CPU
  never does, nor is any other dtype rounded.
  """
  a, b = promoted(a, b)
  wide = common_dtype(a.dtype, jnp.float32)

  def at(how):
    return functools.partial(
      jnp.matmul, precision=how, preferred_element_type=wide
    )

  exact, how = at(_LEVELS.HIGHEST), PRECISIONS[precision or "highest"]
  rounds = how != PRECISIONS["highest"] and a.dtype == jnp.float32
  if not rounds or jax.default_backend() == "cpu":
    return exact(a, b)
  platforms = {"cuda": at(how.cuda), "tpu": at(how.tpu)}
  return jax.lax.platform_dependent(a, b, default=exact, **platforms)


def sum_outer(
  lefts: Array, rights: Array, precision: str | None = None
) -> Array:
  """Σ_{t,b} lefts[t, b]ᵀ rights[t, b]: one product of [*, TB] with [TB, *]."""
  columns = lefts.shape[-1]
  lefts = lefts.reshape(-1, columns).astype(rights.dtype)
  if jax.default_backend() == "cpu" and columns % 32 == 0:
    # A column of such rows lies in a few sets of the cache; 129 columns take
    # three quarters of the time of 128.
    lefts = jnp.pad(lefts, ((0, 0), (0, 1)))
  rights = rights.reshape(-1, rights.shape[-1])
  return matmul(lefts.T, rights, precision)[:columns]


def scaled_squares(tree: PyTree, batch_ndim: int = 0) -> tuple[Array, Array]:
  """(m, s) with m·√s the joint norm over all but the leading axes.

  Args:
    tree: leaves of shape [*batch, ...], the same `batch_ndim` leading axes.
    batch_ndim: how many leading axes are kept.

  Returns:
    `m` [*batch], the largest magnitude (1 where that is zero or not finite, so
    that it divides safely), constant under differentiation; and `s` [*batch],
    Σ (x / m)², which lies in [1, 16 size] where m was finite and positive. `s`
    is not finite where an element is not. An empty tree gives (1, 0).
  """
  leaves = [x for x in jax.tree.leaves(tree) if jnp.size(x)]
  dtype = accumulator_dtype(*leaves)
  if not leaves:
    return jnp.ones([], dtype), jnp.zeros([], dtype)
  leaves = [jnp.abs(x).astype(dtype) for x in leaves]
  axes = [tuple(range(batch_ndim, x.ndim)) for x in leaves]
  largest = [jnp.max(x, a) for x, a in zip(leaves, axes, strict=True)]
  m = functools.reduce(jnp.maximum, largest)
  m = jax.lax.stop_gradient(jnp.where((m > 0) & jnp.isfinite(m), m, 1))
  # XLA divides by a broadcast scalar as a product with its reciprocal, and that
  # of a larger one would be subnormal and flushed to zero.
  m = jnp.minimum(m, jnp.asarray(1 / jnp.finfo(dtype).tiny, dtype))

  def squares(x, axis):
    scale = m.reshape(m.shape + (1,) * (x.ndim - batch_ndim))
    return jnp.sum(jnp.square(x / scale), axis)

  total = sum(squares(x, a) for x, a in zip(leaves, axes, strict=True))
  return m, cast(Array, total)


def joint_norm(tree: PyTree, batch_ndim: int = 0) -> Array:
  """√ Σ |x|² over all leaves and all but the leading axes, in float32 or 64.

  Exact to rounding for every norm the dtype holds; differentiable, with
  gradient zero at zero; inf and NaN elements give inf and NaN.

  Args:
    tree: leaves [*batch, ...].
    batch_ndim: how many leading axes are kept.

  Returns:
    [*batch].
  """
  m, s = scaled_squares(tree, batch_ndim)
  zero = s == 0
  return jnp.where(zero, 0 * s, m * jnp.sqrt(jnp.where(zero, 1, s)))


def all_finite(tree: PyTree) -> Array:
  """Whether no element of any leaf is inf or NaN: bool []."""
  leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
  return jnp.stack(leaves).all() if leaves else jnp.array(True)


def spectral_radius(w: Array, *, squarings: int | None = None) -> Array:
  """Largest |eigenvalue| by Gelfand's formula, compiled and vmapped at will.

  ρ(w) = lim_k ‖w^(2^k)‖^(1 / 2^k), with a normalisation at every squaring.
  Unlike power iteration it holds for complex pairs and rotations, and unlike
  `jnp.linalg.eigvals` it runs on every accelerator. For reports on the host
  prefer `numpy.linalg.eigvals`.

  Weights on no cycle of the network that w describes are left out first, since
  no eigenvalue depends on them: those of a delay line, or from one layer to the
  next. With them w^m can outgrow ρ^m by m^(N-1), and what carries the radius
  would underflow.

  Args:
    w: [N, N].
    squarings: k; the error of log ρ is about log(N) / 2^k besides rounding. 26
      if None, and 46 for float64, which is under the rounding: 7e-7 relative in
      float32 times the condition number of the largest eigenvalue.

  Returns:
    [] in w's dtype. 0 for a nilpotent w. NaN if w is not finite, or if its
    powers passed through numbers that the dtype does not hold: then the radius
    is not known.

  Raises:
    ValueError: if w is not square [N, N], or not real floating-point.

  Example:
    >>> float(spectral_radius(0.5 * jnp.eye(3) + 2 * jnp.eye(3, k=1)))
    0.5
  """
  _validate.check_shapes(w=(w, "N N"))
  _validate.check_floating("w", w.dtype)
  wide = w.astype(accumulator_dtype(w))
  limits = jnp.finfo(wide.dtype)
  if squarings is None:
    squarings = 46 if limits.bits == 64 else 26
  finite = jnp.isfinite(wide).all()
  wide, exponent = _moderate(_on_cycles(wide))

  def square(k, carry):
    a, norm, log_rho, lost, before = carry
    a = a / jnp.where(norm > 0, norm, 1)
    log_rho = log_rho + jnp.log(norm) * 0.5 ** k.astype(norm.dtype)
    squared = jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST)
    norm = joint_norm(squared)
    before = jnp.where(lost, before, jnp.abs(a))
    # Of a unit norm: products as small as this may have been flushed to zero.
    lost = lost | (norm < limits.tiny / limits.eps)
    return squared, norm, log_rho, lost, before

  norm, zero = joint_norm(wide), jnp.zeros([], wide.dtype)
  carry = wide, norm, zero, norm == 0, jnp.zeros_like(wide)
  _, norm, log_rho, lost, before = jax.lax.fori_loop(
    0, squarings, square, varying.alike(carry)
  )
  rho = jnp.exp(log_rho + jnp.log(norm) * 0.5**squarings)
  rho = jnp.ldexp(rho, exponent)
  # Where the products were large they have cancelled, and w is nilpotent.
  magnitude = joint_norm(matmul(before, before))
  nilpotent = (magnitude == 0) | (magnitude > limits.eps)
  rho = jnp.where(lost, jnp.where(nilpotent, 0, jnp.nan), rho)
  return jnp.where(finite, rho, jnp.nan).astype(w.dtype)


def _on_cycles(w: Array) -> Array:
  """w [N, N] without the weights that lie on no cycle; the same eigenvalues.

  In an order of the units that sorts their strongly connected parts w is block
  triangular, and the blocks on its diagonal are what stays.
  """
  size = w.shape[0]
  reach = jnp.where((w != 0) | jnp.eye(size, dtype=bool), 1.0, 0.0)
  for _ in range(max(size - 1, 1).bit_length()):
    reach = jnp.minimum(jnp.matmul(reach, reach), 1)
  return jnp.where((reach > 0) & (reach.T > 0), w, 0)


def _moderate(w: Array) -> tuple[Array, Array]:
  """(w / 2^e, e), with e = 0 unless w is so large or small that logs lose."""
  _, exponent = jnp.frexp(jnp.max(jnp.abs(w), initial=0))
  most = jnp.finfo(w.dtype).maxexp - 28
  exponent = jnp.where(jnp.abs(exponent) > 16, exponent, 0)
  exponent = jnp.clip(exponent, -most, most)
  return jnp.ldexp(w, -exponent), exponent
