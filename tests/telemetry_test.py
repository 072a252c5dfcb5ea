"""Numbers collected by name, and the paper's rule for the threshold."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from steadygrad.cells import elman
from steadygrad.transforms import (
  add_omega_gradient,
  choose_max_norm,
  clip_by_global_norm,
  msgd_cr,
  skip_nonfinite,
  telemetry,
  zero_nonfinite,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

PARAMS = {"a": jnp.array([3.0, 4.0])}
CLIP = ["gradient_norm", "clipped", "finite"]
OMEGA = ["omega", "omega_valid_fraction"]
NONFINITE = ["updates_finite", "nonfinite_count"]


def names(tx):
  return list(telemetry(tx.init(PARAMS)))


def test_names_in_the_order_of_the_chain():
  cell = elman(1, 2)
  omega, clip = add_omega_gradient(cell), clip_by_global_norm(1.0)
  assert names(clip) == CLIP
  assert names(optax.chain(zero_nonfinite(), omega, clip, optax.sgd(0.1))) == (
    NONFINITE + OMEGA + CLIP
  )
  links = ("z", omega), ("a", clip)
  assert names(optax.named_chain(*links)) == OMEGA + CLIP
  assert names(msgd_cr(cell, 0.1, 1.0, 4.0)) == OMEGA + CLIP


def test_values_are_those_of_the_last_update(promotion):
  tx = optax.chain(clip_by_global_norm(1.0), optax.adam(0.1))
  state = tx.init(PARAMS)
  for scale, clipped in ((1.0, True), (0.1, False)):
    grads = jax.tree.map(lambda p, s=scale: s * p, PARAMS)
    _, state = tx.update(grads, state, PARAMS)
    found = telemetry(state)
    np.testing.assert_allclose(found["gradient_norm"], 5 * scale, rtol=1e-6)
    assert found["clipped"] == clipped and found["finite"]


def clipped_once():
  return clip_by_global_norm(1.0)


@pytest.mark.parametrize(
  "wrap",
  [
    lambda tx: optax.chain(optax.chain(tx), optax.identity()),
    lambda tx: optax.named_chain(("clip", tx)),
    lambda tx: optax.masked(tx, {"a": True}),
    lambda tx: optax.partition({"x": tx}, {"a": "x"}),
    lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    lambda tx: optax.apply_if_finite(tx, 3),
    lambda tx: optax.with_extra_args_support(tx),
  ],
)
def test_found_inside_any_wrapper(wrap):
  assert names(wrap(clipped_once())) == CLIP


def test_found_inside_injected_hyperparameters():
  tx = optax.inject_hyperparams(clip_by_global_norm)(max_norm=1.0)
  assert names(tx) == CLIP


def test_found_inside_a_link_that_has_numbers_of_its_own():
  tx = skip_nonfinite(optax.chain(clipped_once(), optax.sgd(0.1)))
  assert names(tx) == NONFINITE + CLIP


def test_a_second_link_of_a_kind_is_numbered():
  tx = optax.chain(clip_by_global_norm(2.5), clip_by_global_norm(9.0))
  _, state = tx.update(PARAMS, tx.init(PARAMS))
  found = telemetry(state)
  assert list(found) == CLIP + [name + "_2" for name in CLIP]
  assert found["gradient_norm"] == 5 and found["clipped"]
  np.testing.assert_allclose(found["gradient_norm_2"], 2.5, rtol=1e-6)
  assert not found["clipped_2"]


def test_numbers_of_an_nnx_optimizer_are_plain_arrays():
  module = nnx.Dict(a=nnx.Param(PARAMS["a"]))
  optimizer = nnx.Optimizer(module, clip_by_global_norm(1.0), wrt=nnx.Param)
  optimizer.update(module, nnx.state(module, nnx.Param))
  found = telemetry(optimizer.opt_state)
  assert list(found) == CLIP
  assert all(isinstance(x, jax.Array) for x in found.values())
  assert f"{found['gradient_norm']:.3f}" == "5.000"


def test_nothing_of_ours():
  assert telemetry(optax.adam(0.1).init(PARAMS)) == {}
  assert telemetry(()) == {}


def test_works_under_jit_scan_and_vmap():
  tx = optax.chain(clipped_once(), optax.sgd(0.1))

  def step(state, scale):
    grads = jax.tree.map(lambda p: scale * p, PARAMS)
    _, state = tx.update(grads, state)
    return state, telemetry(state)

  @jax.jit
  @jax.vmap
  def run(scales):
    return jax.lax.scan(step, tx.init(PARAMS), scales)[1]

  scales = jnp.array([[0.1, 1.0, 2.0], [4.0, 3.0, 0.01]])
  found = run(scales)
  assert sorted(found) == sorted(CLIP)  # A dict that leaves jit is sorted.
  chex.assert_shape(list(found.values()), (2, 3))
  np.testing.assert_allclose(found["gradient_norm"], 5 * scales, rtol=1e-6)
  np.testing.assert_array_equal(found["clipped"], 5 * scales > 1)


def test_the_rule_for_the_threshold():
  """The average norm; from half to ten times of it."""
  advice = choose_max_norm(np.array([[1.0, 2.0], [3.0, 6.0]]))
  assert (advice.suggested, advice.low, advice.high) == (3.0, 1.5, 30.0)
  assert advice.clipped_fraction == 0.25 and advice.role == "guard"
  assert advice.nonfinite_fraction == 0


@pytest.mark.parametrize(
  "max_norm, fraction, role",
  [
    (0.0, 1.0, "step size"),
    (1.5, 0.75, "step size"),
    (2.0, 0.5, "guard"),
    (3.0, 0.25, "guard"),
    (np.inf, 0.0, "guard"),
  ],
)
def test_guard_or_step_size(max_norm, fraction, role):
  """A norm equal to the threshold is not clipped, here as in the link."""
  advice = choose_max_norm([1.0, 2.0, 3.0, 6.0], max_norm)
  assert advice.clipped_fraction == fraction and advice.role == role
  assert advice.suggested == 3


def test_norms_that_are_not_finite_are_left_out():
  advice = choose_max_norm([2.0, np.inf, np.nan, 4.0])
  assert advice.suggested == 3 and advice.nonfinite_fraction == 0.5


def test_the_sum_of_many_large_single_precision_norms():
  norms = np.full(1000, 3e38, np.float32)
  assert choose_max_norm(norms).suggested == pytest.approx(3e38, rel=1e-6)


@pytest.mark.parametrize(
  "arguments, said",
  [
    (([],), ["gradient_norms", "0 finite of 0"]),
    (([np.nan, np.inf],), ["gradient_norms", "0 finite of 2"]),
    (([1.0, -2.0],), ["gradient_norms", "not negative"]),
    (([1.0], -1.0), ["max_norm", "not be negative", "-1"]),
    (([1.0], np.nan), ["max_norm", "nan"]),
  ],
)
def test_bad_arguments(arguments, said):
  for words in said:
    with pytest.raises(ValueError, match=words):
      choose_max_norm(*arguments)
