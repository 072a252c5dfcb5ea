"""Algorithm 1, every row of the table in `clip_by_global_norm`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from steadygrad.transforms import clip_by_global_norm
from tests import oracles

# float32: a norm, a quotient and a product, each good to 6e-8.
SINGLE = 5e-7
# Rounding of the dtype itself, the result being rounded to it once.
HALF = {"float16": 1e-3, "bfloat16": 8e-3}
# Central differences in float64, nested once; see `check_grads`.
DIFFERENCES = 1e-5


def clip(updates, max_norm):
  tx = clip_by_global_norm(max_norm)
  return tx.update(updates, tx.init(updates))


def vector(*numbers, dtype="float32"):
  return {"a": jnp.array(numbers, dtype)}


def tree_of(rng, scale=1.0):
  tree = {"a": rng.normal(size=(3, 2)), "b": (rng.normal(size=4),)}
  return jax.tree.map(lambda x: jnp.asarray(x * scale, "float32"), tree)


@pytest.mark.parametrize("max_norm", [5.0, 5.1, 1e30])
def test_a_norm_not_above_the_threshold_passes_to_the_bit(max_norm):
  """≤: Algorithm 1 with a strict comparison, as the authors' code."""
  updates, state = clip(vector(3, 4), max_norm)
  chex.assert_trees_all_equal(updates, vector(3, 4))
  assert state.gradient_norm == 5 and not state.clipped and state.finite


@pytest.mark.parametrize("max_norm", [4.9, 1.0, 1e-20])
def test_a_norm_above_the_threshold_becomes_the_threshold(max_norm):
  updates, state = clip(vector(3, 4), max_norm)
  expected = np.array([0.6, 0.8]) * max_norm
  np.testing.assert_allclose(updates["a"], expected, rtol=SINGLE)
  assert state.gradient_norm == 5 and state.clipped and state.finite


def test_gradients_whose_squares_overflow():
  updates, state = clip(vector(1e20, 1e20, 0), 1.0)
  np.testing.assert_allclose(
    updates["a"], [np.sqrt(0.5), np.sqrt(0.5), 0], rtol=SINGLE
  )
  np.testing.assert_allclose(state.gradient_norm, 2**0.5 * 1e20, rtol=SINGLE)


def test_gradients_whose_squares_underflow():
  updates, state = clip(vector(1e-25, 1e-25), 1e-30)
  np.testing.assert_allclose(updates["a"], np.sqrt(0.5) * 1e-30, rtol=SINGLE)
  np.testing.assert_allclose(state.gradient_norm, 2**0.5 * 1e-25, rtol=SINGLE)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, np.inf])
def test_zeros_stay_zeros_and_have_a_finite_gradient(max_norm):
  updates, state = clip(vector(0, 0), max_norm)
  np.testing.assert_array_equal(updates["a"], 0)
  assert state.gradient_norm == 0 and not state.clipped and state.finite
  slope = jax.jacobian(lambda u: clip(u, max_norm)[0]["a"])(vector(0, 0))
  chex.assert_tree_all_finite(slope)


def test_threshold_zero_gives_zeros():
  np.testing.assert_array_equal(clip(vector(3, 4), 0.0)[0]["a"], 0)


@pytest.mark.parametrize("numbers", [(3, 4), (1e20, 1e20), (3e38, 0)])
def test_threshold_inf_only_measures(numbers):
  updates, state = clip(vector(*numbers), jnp.inf)
  chex.assert_trees_all_equal(updates, vector(*numbers))
  norm = np.linalg.norm(np.array(numbers, float))
  np.testing.assert_allclose(state.gradient_norm, norm, rtol=SINGLE)
  assert not state.clipped


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("max_norm", [0.0, 1.0, np.inf])
def test_what_is_not_finite_passes_to_the_bit(bad, max_norm):
  updates, state = clip(vector(3, bad), max_norm)
  np.testing.assert_array_equal(updates["a"], np.float32([3, bad]))
  assert not state.finite and not state.clipped
  assert not np.isfinite(state.gradient_norm)


def test_an_integer_leaf_is_left_alone_and_does_not_count():
  alone, expected = clip(vector(3, 4), 1.0)
  updates, state = clip(
    vector(3, 4) | {"n": jnp.array(7), "on": jnp.array(True)}, 1.0
  )
  np.testing.assert_array_equal(updates["a"], alone["a"])
  assert updates["n"] == 7 and updates["n"].dtype == jnp.int32
  assert updates["on"].dtype == bool and updates["on"]
  chex.assert_trees_all_equal(state, expected)
  assert state.gradient_norm == 5


@pytest.mark.parametrize("tree", [{}, {"a": None}, {"a": jnp.zeros((0, 2))}])
def test_no_leaves(tree):
  updates, state = clip(tree, 1.0)
  chex.assert_trees_all_equal(updates, tree)
  assert state.gradient_norm == 0 and state.finite


@pytest.mark.parametrize("max_norm", [-1.0, np.nan, jnp.array(-1.0)])
def test_a_negative_threshold_is_an_error(max_norm):
  with pytest.raises(ValueError, match="max_norm.*not negative.*(-1|nan)"):
    clip_by_global_norm(max_norm)


def test_a_traced_negative_threshold_counts_as_zero():
  updates, state = jax.jit(clip)(vector(3, 4), -1.0)
  np.testing.assert_array_equal(updates["a"], 0)
  assert state.clipped


@pytest.mark.parametrize("numbers", [(3, 4), (1e-30, 0)])
def test_a_traced_nan_threshold_shows(numbers):
  updates, _ = jax.jit(clip)(vector(*numbers), np.nan)
  assert np.isnan(updates["a"]).all()


def test_a_norm_over_the_maximum_of_the_dtype():
  updates, state = clip(vector(3e38, 3e38), 1.0)
  chex.assert_trees_all_equal(updates, vector(3e38, 3e38))
  assert np.isposinf(state.gradient_norm) and not state.finite


@pytest.mark.parametrize("exponent", range(-30, 31, 5))
def test_exact_from_1e_minus_30_to_1e_30(rng, exponent):
  updates = tree_of(rng, 10.0**exponent)
  leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(updates)]
  norm = oracles.norm(leaves)
  for factor in (0.5, 1e-5, 2.0):
    got, state = jax.jit(clip)(updates, factor * norm)
    np.testing.assert_allclose(state.gradient_norm, norm, rtol=SINGLE)
    assert state.clipped == (factor < 1)
    expected = oracles.clip(leaves, factor * norm)
    for a, b in zip(jax.tree.leaves(got), expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=SINGLE)


@pytest.mark.parametrize("value", ["tiny", "max"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_smallest_and_the_largest_of_a_dtype(dtype, value):
  info = jnp.finfo(dtype)
  number = float(getattr(info, value))
  updates, state = clip(vector(number, 0, dtype=dtype), number / 4)
  assert updates["a"].dtype == dtype and state.gradient_norm.dtype == "float32"
  np.testing.assert_allclose(state.gradient_norm, number, rtol=SINGLE)
  assert state.clipped
  if value == "max":
    np.testing.assert_allclose(
      np.asarray(updates["a"], "float64"),
      [number / 4, 0],
      rtol=HALF.get(dtype, SINGLE),
    )


def test_mixed_dtypes_share_one_norm(x64):
  tree = {
    "f2": jnp.array([3.0], "float16"),
    "f8": jnp.array([4.0], "float64"),
  }
  updates, state = clip(tree, 2.5)
  assert state.gradient_norm.dtype == jnp.float64 and state.gradient_norm == 5
  assert updates["f2"].dtype == "float16" and updates["f2"] == 1.5
  np.testing.assert_allclose(updates["f8"], 2.0, rtol=1e-15)


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 100.0])
def test_equals_optax_where_that_one_is_right(rng, max_norm):
  updates = tree_of(rng)
  theirs = optax.clip_by_global_norm(max_norm)
  expected, _ = theirs.update(updates, theirs.init(updates))
  chex.assert_trees_all_close(clip(updates, max_norm)[0], expected, rtol=SINGLE)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_derivatives_in_updates_and_threshold(x64, rng, max_norm):
  updates = jax.tree.map(lambda x: x.astype("float64"), tree_of(rng))
  check_grads(
    jax.jit(lambda u, c: clip(u, c)[0]),
    (updates, max_norm),
    order=2,
    modes=["fwd", "rev"],
    atol=DIFFERENCES,
    rtol=DIFFERENCES,
  )


def test_derivative_in_the_threshold_is_the_direction():
  def first(c, u):
    return clip(u, c)[0]["a"]

  slope = jax.jacobian(first)
  np.testing.assert_allclose(slope(1.0, vector(3, 4)), [0.6, 0.8], rtol=SINGLE)
  np.testing.assert_array_equal(slope(9.0, vector(3, 4)), 0)
  np.testing.assert_array_equal(slope(jnp.inf, vector(3, 4)), 0)


def test_derivative_under_a_threshold_of_inf():
  slope = jax.jacobian(lambda u: clip(u, jnp.inf)[0]["a"])(vector(3, 4))
  np.testing.assert_array_equal(slope["a"], np.eye(2))


def test_each_seed_of_a_vmap_has_a_norm_of_its_own():
  stacked = {"a": jnp.array([[3.0, 4.0], [0.3, 0.4]])}
  updates, state = jax.vmap(lambda u: clip(u, 1.0))(stacked)
  np.testing.assert_allclose(
    updates["a"], [[0.6, 0.8], [0.3, 0.4]], rtol=SINGLE
  )
  np.testing.assert_array_equal(state.clipped, [True, False])
