"""The three rules for gradients that are not finite."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from steadygrad.transforms import (
  clip_by_global_norm,
  shrink_if_nonfinite,
  skip_nonfinite,
  zero_nonfinite,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float32: one product, rounded once.
SINGLE = 2e-7

W_REC = np.array([[1.0, -2.0], [3.0, 4.0]], "float32")


def params():
  cell = {"w_rec": jnp.asarray(W_REC), "b": jnp.ones(2)}
  return {"cell": cell, "readout": {"w_out": jnp.ones((2, 1))}}


def grads(bad=None, leaf="readout"):
  tree = jax.tree.map(lambda p: 0.25 * jnp.ones_like(p), params())
  if bad is not None:
    name = {"readout": "w_out", "cell": "b"}[leaf]
    tree[leaf][name] = tree[leaf][name].at[0].set(bad)
  return tree


BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("leaf", ["readout", "cell"])
@pytest.mark.parametrize("bad", BAD)
def test_zero_replaces_the_whole_gradient(bad, leaf):
  tx = zero_nonfinite()
  updates, state = tx.update(grads(bad, leaf), tx.init(params()))
  chex.assert_trees_all_equal(updates, optax.tree.zeros_like(params()))
  assert not state.finite and state.nonfinite_count == 1
  updates, state = tx.update(grads(), state)
  chex.assert_trees_all_equal(updates, grads())
  assert state.finite and state.nonfinite_count == 1


def test_zero_lets_later_links_run():
  tx = optax.chain(zero_nonfinite(), optax.trace(0.5))
  state = tx.init(params())
  _, state = tx.update(grads(), state)
  updates, _ = tx.update(grads(np.nan), state)
  chex.assert_trees_all_equal(updates, jax.tree.map(lambda g: g / 2, grads()))


@pytest.mark.parametrize("leaf", ["readout", "cell"])
@pytest.mark.parametrize("bad", BAD)
def test_skip_leaves_the_inner_state_to_the_bit(promotion, bad, leaf):
  tx = skip_nonfinite(optax.adam(0.1))
  update = jax.jit(tx.update)
  _, state = update(grads(), tx.init(params()), params())
  updates, skipped = update(grads(bad, leaf), state, params())
  chex.assert_trees_all_equal(updates, optax.tree.zeros_like(params()))
  chex.assert_trees_all_equal(skipped.inner, state.inner)
  assert not skipped.finite and skipped.nonfinite_count == 1
  # And goes on as if the bad one had never been.
  chex.assert_trees_all_equal(
    update(grads(), skipped, params())[0], update(grads(), state, params())[0]
  )


def test_skip_is_its_inner_transformation_on_finite_gradients(promotion):
  tx, inner = skip_nonfinite(optax.adam(0.1)), optax.adam(0.1)
  state, expected_state = tx.init(params()), inner.init(params())
  for _ in range(3):
    updates, state = tx.update(grads(), state, params())
    expected, expected_state = inner.update(grads(), expected_state, params())
    chex.assert_trees_all_close(updates, expected, rtol=SINGLE)
  chex.assert_trees_all_close(state.inner, expected_state, rtol=SINGLE)


def test_skip_never_gives_up():
  """Unlike `optax.apply_if_finite`, which lets one through after a while."""
  tx = skip_nonfinite(optax.sgd(1.0))
  update = jax.jit(tx.update)
  state = tx.init(params())
  for _ in range(20):
    updates, state = update(grads(np.nan), state)
    chex.assert_tree_all_finite(updates)
  assert state.nonfinite_count == 20


def assert_shrunk(updates, rate=0.02):
  np.testing.assert_allclose(
    updates["cell"]["w_rec"], rate * W_REC, rtol=SINGLE
  )
  for leaf in (updates["cell"]["b"], updates["readout"]["w_out"]):
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("leaf", ["readout", "cell"])
@pytest.mark.parametrize("bad", [*BAD, 1.001e10, 1e20, 1e38])
def test_the_authors_rule_fires(bad, leaf):
  """NaN, inf or a norm above 1e10: gW_rec = 0.02 W_rec, all others 0."""
  tx = shrink_if_nonfinite()
  updates, state = tx.update(grads(bad, leaf), tx.init(params()), params())
  assert_shrunk(updates)
  assert not state.finite and state.nonfinite_count == 1


@pytest.mark.parametrize("large", [None, 1.0, 0.999e10])
def test_the_authors_rule_lets_others_pass_to_the_bit(large):
  tx = shrink_if_nonfinite()
  updates, state = tx.update(grads(large), tx.init(params()), params())
  chex.assert_trees_all_equal(updates, grads(large))
  assert state.finite and state.nonfinite_count == 0


def test_a_norm_equal_to_the_bound_passes():
  tree = jax.tree.map(jnp.zeros_like, params())
  tree["cell"]["b"] = jnp.array([3.0, 4.0])
  tx = shrink_if_nonfinite(max_norm=5.0)
  updates, _ = tx.update(tree, tx.init(params()), params())
  chex.assert_trees_all_equal(updates, tree)


def test_the_rule_comes_before_the_clip():
  """An exploding gradient that a clip would rescale is replaced instead."""
  before = optax.chain(shrink_if_nonfinite(), clip_by_global_norm(1.0))
  after = optax.chain(clip_by_global_norm(1.0), shrink_if_nonfinite())
  exploding = grads(1e12)
  updates, _ = before.update(exploding, before.init(params()), params())
  assert_shrunk(updates)
  updates, _ = after.update(exploding, after.init(params()), params())
  np.testing.assert_allclose(updates["readout"]["w_out"][0], 1, rtol=SINGLE)


def test_rate_bound_and_path_are_arguments():
  tx = shrink_if_nonfinite(0.5, max_norm=0.1, at=("cell",))
  updates, _ = tx.update(grads(), tx.init(params()), params())
  np.testing.assert_array_equal(updates["cell"]["w_rec"], 0.5 * W_REC)
  np.testing.assert_array_equal(updates["cell"]["b"], 0.5)
  np.testing.assert_array_equal(updates["readout"]["w_out"], 0)


@pytest.mark.parametrize(
  "arguments, said",
  [
    (dict(rate=-0.1), ["rate", "not negative", r"-0\.1"]),
    (dict(max_norm=-1.0), ["max_norm", "not negative", "-1"]),
    (dict(max_norm=np.nan), ["max_norm", "nan"]),
  ],
)
def test_bad_arguments(arguments, said):
  for words in said:
    with pytest.raises(ValueError, match=words):
      shrink_if_nonfinite(**arguments)


def test_bad_updates():
  tx = shrink_if_nonfinite()
  with pytest.raises(ValueError, match="shrink_if_nonfinite needs params"):
    tx.update(grads(), tx.init(params()))
  tx = shrink_if_nonfinite(at=("cell", "recurrent"))
  with pytest.raises(ValueError, match="none of the leaves.*`at`"):
    tx.update(grads(), tx.init(params()), params())
