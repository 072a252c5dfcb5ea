"""Ω: values in closed form, its immediate derivative, zeros."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.transforms import OmegaTerms, omega_gradient, omega_terms
from steadygrad.types import OmegaSlope, Trajectory
from tests import adjoints_test, cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over a few products of matrices of 4 units.
ROUNDING = 1e-12
# float32: some ten operations on numbers each good to 6e-8.
SINGLE = 2e-6
# Central differences with a step of 1e-5: 1e-10 from the step, 1e-11 from
# rounding, on gradients of order 1; ten times that for the fourth powers.
DIFFERENCES = 1e-7

RATIOS, REDUCTIONS = ("squared", "norm"), ("mean", "sum")
MODES = [dict(ratio=a, reduction=b) for a in RATIOS for b in REDUCTIONS]
WHOLE_STEP = (
  "elman_x_tanh",
  "elman_x_tanh_generic",
  "elman_h_tanh_generic",
  "gru",
  "lstm",
  "own",
)


@functools.cache
def compiled_gradient(name):
  cell = cases.case(name).cell
  return jax.jit(lambda tr, cotangents: omega_gradient(cell, tr, cotangents))


@functools.cache
def _compiled_terms(modes):
  return jax.jit(functools.partial(omega_terms, **dict(modes)))


def terms_of(trajectory, **modes):
  return _compiled_terms(tuple(modes.items()))(trajectory)


def trajectory_of(name, lengths=(6, 0, 3), params=None):
  """One with a loss on every step."""
  params = params or cases.draw_params(name)
  batch = adjoints_test.make_batch("every", lengths)
  return cases.compiled_adjoints(name, "every")(params, batch)[2]


def linear_trajectory(form, w_rec):
  name = f"elman_{form}_linear"
  params = cases.draw_params(name)
  params["cell"]["w_rec"] = jnp.asarray(w_rec)
  return name, trajectory_of(name, None, params)


def made_trajectory(deltas, products, mask=None):
  """One in which nothing but the error signals and products matters."""
  deltas = jnp.asarray(deltas)
  zeros = jnp.zeros_like(deltas)
  x_0 = jnp.zeros(zeros.shape[1:], deltas.dtype)
  return Trajectory({}, x_0, zeros, zeros, deltas, jnp.asarray(products), mask)


@pytest.mark.parametrize("form", ["x", "h"])
@pytest.mark.parametrize("c", [0.5, 1.0, 1.7])
def test_linear_cell_with_a_multiple_of_the_identity(x64, form, c):
  """|δ_t J_t| = c |δ_t|, so Ω is (c² − 1)² or, of eq. 9, (c − 1)²."""
  name, trajectory = linear_trajectory(form, c * np.eye(cases.UNITS))
  for modes in MODES:
    terms = terms_of(trajectory, **modes)
    each = (c**2 - 1) ** 2 if modes["ratio"] == "squared" else (c - 1) ** 2
    number = cases.STEPS if modes["reduction"] == "sum" else 1
    np.testing.assert_allclose(
      terms.omega, number * each, rtol=ROUNDING, atol=ROUNDING
    )
    assert terms.valid_fraction == 1


@pytest.mark.parametrize("form", ["x", "h"])
def test_an_orthogonal_matrix_has_none_and_no_gradient(x64, rng, form):
  w_rec = np.linalg.qr(rng.normal(size=(cases.UNITS, cases.UNITS)))[0]
  name, trajectory = linear_trajectory(form, w_rec)
  for modes in MODES:
    terms = terms_of(trajectory, **modes)
    gradient = compiled_gradient(name)(trajectory, terms.cotangents)
    assert terms.omega < ROUNDING
    np.testing.assert_allclose(gradient["w_rec"], 0, atol=ROUNDING)


@pytest.mark.parametrize("modes", MODES, ids=str)
@pytest.mark.parametrize("name", ["elman_h_tanh", "lstm"])
def test_values_and_cotangents_follow_the_definition(x64, name, modes):
  trajectory = trajectory_of(name)
  terms = terms_of(trajectory, **modes)
  value, valid, slopes = oracles.omega(
    oracles.flat(trajectory.deltas),
    oracles.flat(trajectory.products),
    mask=np.asarray(trajectory.mask),
    **modes,
  )
  np.testing.assert_allclose(terms.omega, value, rtol=ROUNDING)
  np.testing.assert_allclose(terms.valid_fraction, valid, rtol=ROUNDING)
  np.testing.assert_allclose(
    oracles.flat(terms.cotangents), slopes, rtol=ROUNDING, atol=ROUNDING
  )


def test_a_sum_is_a_mean_times_the_terms_a_sequence(x64):
  trajectory = trajectory_of("elman_x_tanh")
  counted = np.sum(trajectory.mask)
  for ratio in RATIOS:
    mean, total = (
      terms_of(trajectory, ratio=ratio, reduction=r) for r in REDUCTIONS
    )
    assert mean.valid_fraction == 1
    scale = counted / cases.BATCH
    np.testing.assert_allclose(total.omega, mean.omega * scale, rtol=ROUNDING)
    np.testing.assert_allclose(
      total.cotangents, mean.cotangents * scale, rtol=ROUNDING
    )


def frozen(name, trajectory):
  """(params, x_tm1s, us, δs), NumPy, of the pairs that count, as [P, 1, n]."""
  mask = np.asarray(trajectory.mask)
  xs, x_0 = oracles.flat(trajectory.xs), oracles.flat(trajectory.x_0)
  x_tm1s = np.concatenate([x_0[None], xs[:-1]])
  us, deltas = np.asarray(trajectory.us), oracles.flat(trajectory.deltas)
  params = oracles.to_numpy(trajectory.params)
  return params, *(x[mask][:, None] for x in (x_tm1s, us, deltas))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", WHOLE_STEP)
def test_the_derivative_is_the_immediate_one(x64, name, ratio):
  """Against differences with x_{t-1}, u_t and δ_t frozen; no recursion."""
  trajectory = trajectory_of(name)
  modes = dict(ratio=ratio, reduction="mean")
  cotangents = terms_of(trajectory, **modes).cotangents
  gradient = compiled_gradient(name)(trajectory, cotangents)
  expected = oracles.immediate_omega_gradient(
    cases.case(name).step, *frozen(name, trajectory), **modes
  )
  for path, got in jax.tree_util.tree_leaves_with_path(gradient):
    wanted = functools.reduce(lambda tree, k: tree[k.key], path, expected)
    scale = max(np.max(np.abs(wanted)), 1)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=scale * DIFFERENCES)
  assert max(np.max(np.abs(g)) for g in jax.tree.leaves(gradient)) > 1e-3


def test_closed_form_of_the_h_form_holds_the_slope_fixed_too(x64):
  """The authors' rule: σ′(h_t) frozen. A generic cell moves it: they differ."""
  trajectory = trajectory_of("elman_h_tanh")
  modes = dict(ratio="squared", reduction="mean")
  cotangents = terms_of(trajectory, **modes).cotangents
  fused = compiled_gradient("elman_h_tanh")(trajectory, cotangents)
  whole = compiled_gradient("elman_h_tanh_generic")(trajectory, cotangents)

  params, x_tm1s, us, deltas = frozen("elman_h_tanh", trajectory)
  h = oracles.elman_step("h", "tanh")(params, x_tm1s, us)
  # Then a step is linear in w_rec: p = (δ ∘ (1 − h²)) w_recᵀ.
  expected = oracles.immediate_omega_gradient(
    lambda p, x, u: x @ p["w_rec"],
    {"w_rec": params["w_rec"]},
    x_tm1s,
    us,
    deltas * (1 - h**2),
    of=deltas,
    **modes,
  )
  scale = np.max(np.abs(expected["w_rec"]))
  np.testing.assert_allclose(
    fused["w_rec"], expected["w_rec"], rtol=0, atol=scale * DIFFERENCES
  )
  assert fused["w_in"] is None and fused["b"] is None
  # They differ by 1e-1 to 1 at these weights; 1e-3 says it is no rounding.
  assert np.max(np.abs(fused["w_rec"] - whole["w_rec"])) > 1e-3 * scale


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "linear"])
def test_closed_form_of_the_x_form_is_exact(x64, activation):
  name = f"elman_x_{activation}"
  trajectory = trajectory_of(name)
  cotangents = terms_of(trajectory).cotangents
  closed = compiled_gradient(name)(trajectory, cotangents)
  whole = compiled_gradient(name + "_generic")(trajectory, cotangents)
  np.testing.assert_allclose(
    closed["w_rec"], whole["w_rec"], rtol=ROUNDING, atol=ROUNDING
  )
  for leaf in ("w_in", "b"):
    np.testing.assert_array_equal(whole[leaf], 0)


@pytest.mark.parametrize("modes", MODES, ids=str)
@pytest.mark.parametrize("zero", ["deltas", "products", "both"])
def test_finite_at_zero_signals_and_at_zero_products(modes, zero):
  deltas, products = np.ones((2, 4, 3, 5), np.float32)
  if zero != "products":
    deltas[1:3] = 0
  if zero != "deltas":
    products[2:] = 0
  terms = terms_of(made_trajectory(deltas, products), **modes)
  chex.assert_tree_all_finite(terms)
  counted = np.any(deltas != 0, -1)
  np.testing.assert_allclose(terms.valid_fraction, counted.mean())
  _, _, slopes = oracles.omega(
    deltas.astype(float), products.astype(float), **modes
  )
  np.testing.assert_allclose(terms.cotangents, slopes, rtol=SINGLE)


@pytest.mark.parametrize("modes", MODES, ids=str)
def test_nothing_that_counts_gives_zeros(modes):
  deltas = np.zeros((4, 3, 5), np.float32)
  chex.assert_trees_all_equal(
    terms_of(made_trajectory(deltas, deltas), **modes),
    OmegaTerms(
      jnp.zeros([]),
      jnp.zeros([]),
      jnp.zeros((4, 3, 5)),
      OmegaSlope(jnp.ones((4, 3)), jnp.zeros((4, 3))),
    ),
  )
