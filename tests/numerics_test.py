"""Norms and ratios at both ends of the range; spectral radius; products."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.test_util import check_grads

from steadygrad import numerics
from steadygrad.activations import ACTIVATIONS, activation
from tests import oracles
from tests.matrices import FAMILIES, known_radius

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float32: a handful of roundings of 6e-8 each.
SINGLE = 5e-7
# float64: the same of 1e-16 each.
DOUBLE = 1e-14
# `spectral_radius` in float32, for an eigenvalue of condition number 1: the
# errors of the squarings add up, and grow with that number.
RADIUS = 1e-6
# Central differences in float64, nested once; see `check_grads`.
DIFFERENCES = 1e-5

DTYPES = ("float16", "bfloat16", "float32")


@pytest.mark.parametrize("exponent", range(-30, 39, 5))
def test_joint_norm_over_the_range_of_single_precision(rng, exponent):
  tree = {
    "a": rng.normal(size=(3, 2)).astype(np.float32),
    "b": (rng.normal(size=4).astype(np.float32),),
  }
  tree = jax.tree.map(lambda x: x * np.float32(10.0**exponent) / 10, tree)
  for norm in (numerics.joint_norm, jax.jit(numerics.joint_norm)):
    np.testing.assert_allclose(
      norm(tree), oracles.norm(jax.tree.leaves(tree)), rtol=SINGLE
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_joint_norm_of_the_smallest_and_largest_of_a_dtype(dtype):
  info = jnp.finfo(dtype)
  for value in (info.tiny, info.max):
    x = jnp.array([value, 0, 0], dtype)
    got = numerics.joint_norm(x)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, np.float32(value))


def test_joint_norm_in_double_precision(x64, rng):
  for exponent in (-300, 0, 300):
    x = rng.normal(size=5) * 10.0**exponent
    got = numerics.joint_norm({"x": jnp.asarray(x), "f": jnp.zeros(2, "f4")})
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, oracles.norm([x]), rtol=DOUBLE)


def test_joint_norm_keeps_leading_axes(rng):
  a, b = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2, 5))
  scale = 10.0 ** rng.integers(-30, 30, size=(4, 3))
  a, b = a * scale[..., None], b * scale[..., None, None]
  got = numerics.joint_norm((a.astype("f4"), b.astype("f4")), batch_ndim=2)
  for i in np.ndindex(4, 3):
    expected = oracles.norm([a[i], b[i]])
    np.testing.assert_allclose(got[i], expected, rtol=SINGLE)


@pytest.mark.parametrize("tree", [{}, (), {"a": jnp.zeros((0, 3))}])
def test_joint_norm_of_nothing(tree):
  assert numerics.joint_norm(tree) == 0
  assert numerics.all_finite(tree)


def test_joint_norm_and_all_finite_of_inf_and_nan():
  for bad, shows in ((np.inf, np.isposinf), (-np.inf, np.isposinf)):
    assert shows(numerics.joint_norm({"a": jnp.array([1.0, bad])}))
  assert np.isnan(numerics.joint_norm({"a": jnp.array([1.0, np.nan])}))
  assert np.isnan(numerics.joint_norm({"a": jnp.array([np.inf, np.nan])}))
  for bad in (np.inf, -np.inf, np.nan):
    tree = {"a": jnp.ones(2), "b": jnp.array([1.0, bad])}
    assert not numerics.all_finite(tree)
  assert numerics.all_finite({"a": jnp.array([3e38, 0.0])})


def test_joint_norm_derivatives(x64):
  x = {"a": jnp.array([3.0, -1.0]), "b": jnp.array([[2.0]])}
  check_grads(
    jax.jit(numerics.joint_norm),
    (x,),
    order=2,
    modes=["fwd", "rev"],
    atol=DIFFERENCES,
    rtol=DIFFERENCES,
  )


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_joint_norm_gradient_at_zero_and_far_from_one(size):
  gradient = jax.grad(numerics.joint_norm)(jnp.array([3.0, 4.0]) * size)
  direction = np.array([0.6, 0.8]) if size else np.zeros(2)
  np.testing.assert_allclose(gradient, direction, rtol=SINGLE)


def test_scaled_squares_state_what_they_promise(rng):
  x = rng.normal(size=(3, 5)).astype("f4")
  x[1] = 0
  m, s = numerics.scaled_squares(x, batch_ndim=1)
  np.testing.assert_array_equal(m, [np.abs(x[0]).max(), 1, np.abs(x[2]).max()])
  assert s[1] == 0 and (s[::2] >= 1).all() and (s[::2] <= 5).all()


def test_products_of_half_precision_accumulate_in_single():
  """4097 ones: bfloat16 would stop counting at 256, float16 at 2048."""
  for dtype in DTYPES:
    ones = jnp.ones((1, 4097), dtype)
    got = numerics.matmul(ones, ones.T)
    assert got.dtype == jnp.float32 and got[0, 0] == 4097


def test_sum_outer(rng):
  a, b = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 5))
  np.testing.assert_allclose(
    numerics.sum_outer(a.astype("f4"), b.astype("f4")),
    np.einsum("tbi,tbj->ij", a, b),
    rtol=10 * SINGLE,
    atol=SINGLE,
  )


def rotation(angle, size):
  return size * np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )


def matrices(rng):
  """Where power iteration has trouble, and where it has none."""
  jordan = np.eye(4) * 0.9 + np.eye(4, k=1)
  return {
    "normal": rng.normal(size=(20, 20)),
    "rotation": rotation(0.3, 1.5),
    "quarter turn": rotation(np.pi / 2, 0.7),
    "plus and minus": np.diag([2.0, -2.0, 0.1]),
    "jordan block": jordan,
    "tiny": rng.normal(size=(6, 6)) * 1e-15,
    "large": rng.normal(size=(6, 6)) * 1e15,
    "one by one": np.array([[-3.0]]),
  }


def test_spectral_radius_equals_eigenvalues(x64, rng):
  for name, w in matrices(rng).items():
    expected = np.abs(np.linalg.eigvals(w)).max()
    got = numerics.spectral_radius(jnp.asarray(w))
    # Gelfand's limit: log(N) / 2^26, and log of a Jordan block's powers / 2^26.
    np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=name)


def radius_and_condition(w):
  """|λ| of the largest eigenvalue and its condition number 1 / |v_leftᴴ v|."""
  values, left, right = scipy.linalg.eig(w.astype("f8"), left=True)
  i = np.argmax(np.abs(values))
  return np.abs(values[i]), 1 / np.abs(np.vdot(left[:, i], right[:, i]))


def test_spectral_radius_in_single_precision_and_vmapped(rng):
  ws = rng.normal(size=(5, 12, 12)).astype("f4")
  ws[0, :2, :2], ws[0, 2:] = rotation(0.3, 1.5), 0
  got = jax.jit(jax.vmap(numerics.spectral_radius))(ws)
  for rho, w in zip(got, ws, strict=True):
    expected, condition = radius_and_condition(w)
    np.testing.assert_allclose(rho, expected, rtol=RADIUS * condition)


@pytest.mark.parametrize("size", [6, 50])
def test_spectral_radius_of_every_family(rng, size):
  """2000 of them, to N = 256 and in float64: tests/long/spectral_radius.py."""
  ws = {n: f(rng, size).astype("f4") for n, f in FAMILIES.items()}
  radius = jax.jit(jax.vmap(numerics.spectral_radius))
  for (name, w), rho in zip(
    ws.items(), radius(np.stack([*ws.values()])), strict=True
  ):
    # Known spectra are met to rounding, however badly they are conditioned.
    expected, condition = known_radius(name, w.astype("f8")), 1
    if expected is None:
      scale = np.abs(w).max()
      expected, condition = radius_and_condition(w / scale)
      expected *= scale
    np.testing.assert_allclose(
      rho, expected, rtol=RADIUS * condition, err_msg=name
    )


FAR_FROM_NORMAL = {
  # Each had radius 0: the powers grow as m^(N-1) ρ^m, and ρ^m underflowed.
  "a shift with a diagonal": (0.9 * np.eye(4) + 0.5 * np.eye(4, k=1), 0.9),
  "a Jordan block": (1.5 * np.eye(6) + np.eye(6, k=1), 1.5),
  "nearly the identity": (np.eye(50) + 1e-4 * np.triu(np.ones((50, 50)), 1), 1),
  "distinct, N = 20": (
    np.triu(np.ones((20, 20)), 1) + np.diag(np.linspace(0.8, 0.9, 20)),
    0.9,
  ),
}


@pytest.mark.parametrize("name", FAR_FROM_NORMAL)
def test_spectral_radius_far_from_normal(name):
  w, expected = FAR_FROM_NORMAL[name]
  got = numerics.spectral_radius(jnp.asarray(w, jnp.float32))
  np.testing.assert_allclose(got, expected, rtol=RADIUS)


def test_spectral_radius_far_from_normal_in_double_precision(x64):
  w = 0.9 * np.eye(50) + 0.5 * np.eye(50, k=1)
  got = numerics.spectral_radius(jnp.asarray(w))
  np.testing.assert_allclose(got, 0.9, rtol=1e-12)
  # 46 squarings: with 26 the error is log(κ) / 2^26.
  quarter = np.array([[0.0, -4.0], [1.0, 0.0]])
  got = numerics.spectral_radius(jnp.asarray(quarter))
  np.testing.assert_allclose(got, 2, rtol=1e-12)


def test_spectral_radius_that_underflows_on_the_way_is_nan():
  """ρ = 10^(-33/12), but w⁸ and w¹⁶ have no norm that float32 holds."""
  weak = np.eye(12, k=1).astype("f4")
  weak[-1, 0] = 1e-33
  assert np.isnan(numerics.spectral_radius(weak))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_spectral_radius_in_half_precision(dtype):
  got = numerics.spectral_radius(0.75 * jnp.eye(3, dtype=dtype))
  assert got.dtype == dtype
  # Formed in float32 and rounded once.
  np.testing.assert_allclose(float(got), 0.75, rtol=float(jnp.finfo(dtype).eps))


def test_spectral_radius_of_nothing_to_find():
  nilpotent = jnp.eye(5, k=1)
  assert numerics.spectral_radius(nilpotent) == 0
  assert numerics.spectral_radius(jnp.zeros((3, 3))) == 0
  # Its square cancels, where others underflow.
  assert numerics.spectral_radius(jnp.array([[1.0, -1.0], [1.0, -1.0]])) == 0
  assert np.isnan(numerics.spectral_radius(jnp.full((2, 2), np.nan)))
  assert np.isnan(numerics.spectral_radius(jnp.full((2, 2), np.inf)))
  # On no cycle, and yet it makes w a matrix of which nothing is known.
  assert np.isnan(numerics.spectral_radius(jnp.array([[1.0, np.nan], [0, 1]])))


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2)])
def test_spectral_radius_wants_a_square(shape):
  with pytest.raises(ValueError, match=r"w must be \[N, N\]"):
    numerics.spectral_radius(jnp.zeros(shape))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_and_their_slopes(x64, rng, name):
  x = rng.normal(size=50) * 3
  sigma = activation(name)
  np.testing.assert_allclose(sigma.phi(x), oracles.PHI[name](x), rtol=DOUBLE)
  slope = np.imag(oracles.PHI[name](x + 1e-30j)) / 1e-30
  np.testing.assert_allclose(sigma.phi_prime(x), slope, rtol=1e-9, atol=DOUBLE)
  assert np.max(np.abs(slope)) <= sigma.gamma
  assert math.isclose(
    float(sigma.phi_prime(jnp.array(1e-9))), sigma.gamma, abs_tol=1e-8
  )


def test_relu_has_slope_zero_at_zero():
  assert activation("relu").phi_prime(jnp.zeros([])) == 0


def test_an_unknown_activation_names_the_known():
  with pytest.raises(ValueError, match="'gelu'") as error:
    activation("gelu")
  assert all(name in str(error.value) for name in ACTIVATIONS)
