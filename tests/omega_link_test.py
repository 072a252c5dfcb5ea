"""`add_omega_gradient`: what it writes, its weight, its bound, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from steadygrad.cells import elman
from steadygrad.transforms import (
  add_omega_gradient,
  clip_by_global_norm,
  omega_terms,
  telemetry,
  zero_nonfinite,
)
from tests import adjoints_test, cases, oracles
from tests.omega_test import (
  MODES,
  SINGLE,
  compiled_gradient,
  made_trajectory,
  terms_of,
  trajectory_of,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over a few products of matrices of 4 units.
ROUNDING = 1e-12

# Error signals from the smallest to the largest a long sequence shows.
DECADES = np.linspace(-18, 18, 37)


def link_update(name, updates, trajectory, weight=1.0, **options):
  """(new updates, state) of one update."""
  tx = add_omega_gradient(cases.case(name).cell, weight, **options)
  return jax.jit(tx.update)(updates, tx.init(updates), trajectory=trajectory)


def expected_gradient(name, trajectory):
  return compiled_gradient(name)(trajectory, terms_of(trajectory).cotangents)


@pytest.mark.parametrize("name", ["elman_x_tanh", "elman_h_tanh", "lstm"])
def test_adds_the_weighted_derivative_and_touches_nothing_else(x64, name):
  trajectory = trajectory_of(name)
  updates = {"cell": trajectory.params, "readout": {"w_out": jnp.ones(2)}}
  updates = jax.tree.map(jnp.ones_like, updates)
  new, state = link_update(name, updates, trajectory, 3.0)
  gradient = expected_gradient(name, trajectory)
  for path, u in jax.tree_util.tree_leaves_with_path(updates["cell"]):
    g, got = gradient, new["cell"]
    for key in path:
      g, got = g[key.key] if g is not None else None, got[key.key]
    wanted = u if g is None else u + 3.0 * g
    np.testing.assert_allclose(got, wanted, rtol=ROUNDING)
  np.testing.assert_array_equal(new["readout"]["w_out"], np.ones(2))
  np.testing.assert_allclose(
    state.omega, terms_of(trajectory).omega, rtol=ROUNDING
  )


@pytest.mark.parametrize("form", ["x", "h"])
def test_merged_equals_adding_to_the_gradient_of_the_loss(x64, form):
  name = f"elman_{form}_tanh"
  batch = adjoints_test.make_batch("every", (6, 0, 3))
  _, grads, trajectory = cases.compiled_adjoints(name, "every")(
    cases.draw_params(name), batch
  )
  added, merged = (
    link_update(name, grads, trajectory, 2.5, merged=merged)[0]
    for merged in (False, True)
  )
  chex.assert_trees_all_close(merged, added, rtol=ROUNDING, atol=ROUNDING)
  change = added["cell"]["w_rec"] - grads["cell"]["w_rec"]
  assert np.max(np.abs(change)) > 1e-3


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_single_precision_over_36_decades_of_error_signals(rng, modes):
  """Every pair contributes alike, however small or large its signal is."""
  units = 5
  w_rec = rng.normal(size=(units, units)).astype(np.float32)
  directions = rng.normal(size=(len(DECADES), 2, units))
  deltas = directions * 10.0 ** DECADES[:, None, None]
  products = deltas @ np.asarray(w_rec.T, np.float64)
  value, _, slopes = oracles.omega(deltas, products, bound=0, **modes)
  expected = np.einsum("tbi,tbj->ij", slopes, deltas)

  cell = elman(1, units, activation="linear")
  params = {"w_rec": w_rec, "w_in": np.zeros((1, units), np.float32)}
  trajectory = made_trajectory(
    deltas.astype(np.float32), products.astype(np.float32)
  )._replace(params=params)
  tx = add_omega_gradient(cell, 1.0, min_squared_norm=0.0, **modes)
  zeros = {"cell": jax.tree.map(np.zeros_like, params)}
  new, state = jax.jit(tx.update)(zeros, tx.init(zeros), trajectory=trajectory)
  assert state.valid_fraction == 1
  np.testing.assert_allclose(state.omega, value, rtol=SINGLE)
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(
    new["cell"]["w_rec"], expected, rtol=0, atol=scale * 10 * SINGLE
  )


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_plain_and_scaled_sums_of_squares_agree(rng, modes):
  """A signal of 1e15 somewhere makes all sums scaled ones; masked, it counts
  for nothing, and the others are what they were."""
  deltas, products = rng.normal(size=(2, 4, 3, 5)).astype("f4")
  mask = np.ones((4, 3), bool)
  mask[0, 0] = False
  plain = omega_terms(made_trajectory(deltas, products, mask), **modes)
  deltas[0, 0] = 1e15
  scaled = omega_terms(made_trajectory(deltas, products, mask), **modes)
  chex.assert_trees_all_close(scaled[:3], plain[:3], rtol=SINGLE)
  for terms in (plain, scaled):
    inverse_scale, slope = (x[..., None] for x in terms.slope)
    wanted = products * inverse_scale * slope
    np.testing.assert_allclose(terms.cotangents, wanted, rtol=SINGLE)


def test_a_term_counts_where_the_bound_is_reached():
  """≥, as the authors' code: |δ|² equal to the bound counts."""
  deltas = np.zeros((3, 1, 2), np.float32)
  deltas[:, 0, 0] = 0.5, 0.49999, 0.50001
  terms = omega_terms(
    made_trajectory(deltas, 2 * deltas), min_squared_norm=0.25
  )
  np.testing.assert_allclose(terms.valid_fraction, 2 / 3, rtol=SINGLE)
  np.testing.assert_array_equal(
    np.any(terms.cotangents, -1)[:, 0], [True, False, True]
  )


def test_a_bound_smaller_than_single_precision_holds():
  """It is on a squared norm, whose root is still a float32."""
  deltas = np.full((2, 1, 1), 1e-22, np.float32)
  deltas[1] = 1e-28
  terms = omega_terms(made_trajectory(deltas, deltas), min_squared_norm=1e-50)
  np.testing.assert_allclose(terms.valid_fraction, 0.5)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("where", ["deltas", "products", "both"])
def test_what_is_not_finite_does_not_count(bad, where):
  deltas, products = np.ones((2, 4, 3, 5), np.float32)
  if where != "products":
    deltas[1, 0, 0] = bad
  if where != "deltas":
    products[1, 0, 0] = bad
  for modes in MODES:
    terms = omega_terms(made_trajectory(deltas, products), **modes)
    np.testing.assert_allclose(terms.valid_fraction, 11 / 12, rtol=SINGLE)
    np.testing.assert_allclose(terms.omega, 0, atol=SINGLE)
    np.testing.assert_allclose(terms.cotangents, 0, atol=SINGLE)


def test_the_weight_may_be_a_schedule_of_the_count(x64, promotion):
  name = "elman_x_tanh"
  trajectory = trajectory_of(name)
  zeros = {"cell": jax.tree.map(jnp.zeros_like, trajectory.params)}
  gradient = expected_gradient(name, trajectory)["w_rec"]
  tx = add_omega_gradient(
    cases.case(name).cell, optax.piecewise_constant_schedule(2.0, {1: 0.25})
  )
  state = tx.init(zeros)
  update = jax.jit(tx.update)
  for weight in (2.0, 0.5, 0.5):
    new, state = update(zeros, state, trajectory=trajectory)
    np.testing.assert_allclose(
      new["cell"]["w_rec"], weight * gradient, rtol=ROUNDING
    )
  assert state.count == 3


def test_at_names_the_path_of_the_cell(x64):
  name = "elman_x_tanh"
  trajectory = trajectory_of(name)
  gradient = expected_gradient(name, trajectory)["w_rec"]
  cell = cases.case(name).cell
  for at in ((), ("deep", "inside")):
    updates = jax.tree.map(jnp.zeros_like, trajectory.params)
    for part in reversed(at):
      updates = {part: updates}
    tx = add_omega_gradient(cell, 1.0, at=at)
    new, _ = tx.update(updates, tx.init(updates), trajectory=trajectory)
    for part in at:
      new = new[part]
    np.testing.assert_allclose(new["w_rec"], gradient, rtol=ROUNDING)


@pytest.mark.parametrize(
  "arguments, said",
  [
    (dict(cell="gru"), ["cell must be", "str"]),
    (dict(weight=-1.0), ["weight", "-1", "not negative"]),
    (dict(weight=np.nan), ["weight", "nan"]),
    (dict(ratio="cubed"), ["ratio", '"squared" or "norm"', "cubed"]),
    (dict(reduction="max"), ["reduction", '"mean" or "sum"', "max"]),
    (dict(min_squared_norm=-1.0), ["min_squared_norm", "-1", "not negative"]),
  ],
)
def test_bad_arguments(arguments, said):
  arguments = dict(cell=elman(2, 3)) | arguments
  for words in said:
    with pytest.raises(ValueError, match=words):
      add_omega_gradient(**arguments)


def test_bad_updates(x64):
  name = "elman_x_tanh"
  trajectory = trajectory_of(name)
  updates = {"cell": trajectory.params}
  tx = add_omega_gradient(cases.case(name).cell)
  with pytest.raises(ValueError, match="trajectory=.*NoneType"):
    tx.update(updates, tx.init(updates))
  with pytest.raises(ValueError, match=r"w_rec.*wrong.*`at`"):
    wrong = {"wrong": trajectory.params}
    tx.update(wrong, tx.init(wrong), trajectory=trajectory)


def test_merged_needs_a_fused_pair():
  with pytest.raises(ValueError, match="merged=True.*fused"):
    add_omega_gradient(elman(2, 3)._replace(fused=None), merged=True)


OPTIMISERS = {
  "sgd": lambda: optax.sgd(0.1),
  "momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
  "adam": lambda: optax.adam(1e-3),
  "adamw": lambda: optax.adamw(1e-3),
  "lion": lambda: optax.lion(1e-3),
  "rmsprop": lambda: optax.rmsprop(1e-3),
  "clipped": lambda: optax.chain(
    optax.clip_by_global_norm(0.1), optax.adam(1e-3)
  ),
}


def gradients_of(name):
  batch = adjoints_test.make_batch("every", (6, 0, 3))
  params = cases.draw_params(name)
  _, grads, trajectory = cases.compiled_adjoints(name, "every")(params, batch)
  return params, grads, trajectory


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize("optimiser", sorted(OPTIMISERS))
@pytest.mark.parametrize("name", ["elman_x_tanh", "lstm"])
def test_behind_an_optimiser_it_is_refused(x64, name, optimiser):
  """By an error where values are concrete, under jit by NaN."""
  params, grads, trajectory = gradients_of(name)
  link = add_omega_gradient(cases.case(name).cell, 4.0)
  tx = optax.chain(OPTIMISERS[optimiser](), link)
  state = tx.init(params)
  with pytest.raises(ValueError, match="add_omega_gradient.*optimiser.*before"):
    tx.update(grads, state, params, trajectory=trajectory)
  updates, state = jax.jit(tx.update)(
    grads, state, params, trajectory=trajectory
  )
  for leaf in jax.tree.leaves(updates["cell"])[-1:]:
    assert np.isnan(leaf).all()
  assert np.isnan(telemetry(state)["omega"])


def _others(grads):
  """The mean of the gradient and of a larger one that points elsewhere."""
  rng = np.random.default_rng(5)
  return jax.tree.map(lambda g: (g + 3 * rng.normal(size=g.shape)) / 2, grads)


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize("order", ["scaled", "decoupled", "averaged", "zeros"])
def test_what_may_stand_before_it(x64, order):
  """It adds what it adds to the gradient itself, also outside jit."""
  name = "elman_x_tanh"
  params, grads, trajectory = gradients_of(name)
  link = add_omega_gradient(cases.case(name).cell, 4.0)
  before = {
    "scaled": optax.chain(zero_nonfinite(), clip_by_global_norm(0.1)),
    "decoupled": optax.scale_by_adam(),
    "averaged": optax.stateless(lambda updates, params: _others(updates)),
    "zeros": optax.set_to_zero(),
  }[order]
  given, _ = before.update(grads, before.init(params), params)
  updates, state = link.update(given, link.init(params), trajectory=trajectory)
  change = updates["cell"]["w_rec"] - given["cell"]["w_rec"]
  expected = 4 * expected_gradient(name, trajectory)["w_rec"]
  np.testing.assert_allclose(change, expected, rtol=1e-9)
  assert np.isfinite(state.omega)


def test_a_later_update_is_not_judged(x64):
  """A single gradient may well point against the mean of many."""
  name = "elman_x_tanh"
  params, grads, trajectory = gradients_of(name)
  link = add_omega_gradient(cases.case(name).cell, 4.0)
  _, state = link.update(grads, link.init(params), trajectory=trajectory)
  against = jax.tree.map(jnp.negative, grads)
  updates, _ = link.update(against, state, trajectory=trajectory)
  chex.assert_tree_all_finite(updates)
