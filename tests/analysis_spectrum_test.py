"""Spectra, the paper's conditions and bound, and power iteration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import unroll
from steadygrad.activations import ACTIVATIONS
from steadygrad.analysis import (
  check_bound,
  conditions,
  lag_profile,
  power_iteration,
  singular_values,
  step_jacobians,
)
from tests.analysis_models import batch_of, cell_of, params_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

EIGENVALUE = 1e-10  # Residual 2e-14 times the condition of these eigenvalues.
GELFAND = 1e-6  # 26 squarings: log(N) / 2^26 besides rounding.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def test_conditions_say_what_they_prove(float64):
  """A shear: ρ = 0 and σ_max = 5; its orthogonal sibling; a small one."""
  shear = jnp.array([[0.0, 5.0], [0.0, 0.0]])
  tanh = jax.jit(lambda w: conditions(w, 1.0))
  found = tanh(shear)
  assert not found.vanishing_is_certain and found.explosion_is_possible
  assert found.linear_vanishing and not found.linear_explosion_is_possible
  np.testing.assert_allclose(found.largest_singular_value, 5, rtol=1e-12)
  small = tanh(0.9 * jnp.eye(2))
  assert small.vanishing_is_certain and not small.explosion_is_possible
  # With the sigmoid's γ = 1/4 a matrix of norm 3.9 still vanishes.
  sigmoid = jax.jit(lambda w: conditions(w, 0.25))
  assert sigmoid(3.9 * jnp.eye(2)).vanishing_is_certain
  assert not sigmoid(4.1 * jnp.eye(2)).vanishing_is_certain
  np.testing.assert_allclose(found.threshold, 1)


def test_spectra_agree_with_numpy(float64):
  w = np.random.default_rng(0).normal(size=(9, 9))
  found = jax.jit(lambda w: conditions(w, 1.0))(jnp.asarray(w))
  rho = np.abs(np.linalg.eigvals(w)).max()
  np.testing.assert_allclose(found.spectral_radius, rho, rtol=GELFAND)
  np.testing.assert_allclose(
    singular_values(jnp.asarray(w)), np.linalg.svd(w)[1], rtol=1e-12
  )


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("form", ["x", "h"])
def test_bound_holds_along_trajectories(float64, form, activation):
  cell = cell_of(f"elman_{form}", activation=activation)
  gamma = ACTIVATIONS[activation].gamma
  us = batch_of(steps=20).us

  @jax.jit
  def check(params):
    x_0 = cell.initial_state(params, 3)
    xs = unroll(cell, params, us, x_0=x_0)
    profile = lag_profile(step_jacobians(cell, params, xs, us, x_0=x_0))
    return check_bound(profile, params["w_rec"], gamma)

  for scale in (0.2, 2.0):
    params = params_of(cell, scale=scale)
    found = check(params)
    top = np.linalg.svd(np.asarray(params["w_rec"]))[1][0]
    lags = np.arange(1, 21)
    np.testing.assert_allclose(found.log_bounds, lags * np.log(gamma * top))
    assert found.holds.all()
    if gamma * top < 1:
      # Geometric decay, as the sufficient condition says.
      assert (np.exp(found.log_norms[-1]) <= (gamma * top) ** 20).all()


def test_bound_is_attained_and_its_violation_is_seen(float64):
  """Linear and orthogonal: equality. Twice the Jacobian: a violation."""
  basis = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
  w = jnp.asarray(0.9 * basis)
  jacobians = jnp.broadcast_to(w.T, (30, 1, 4, 4))
  found = check_bound(lag_profile(jacobians), w, 1.0)
  np.testing.assert_allclose(found.log_norms[:, 0], found.log_bounds, rtol=1e-9)
  assert found.holds.all()
  assert not check_bound(lag_profile(2 * jacobians), w, 1.0).holds.any()


@pytest.mark.parametrize(
  "name, w",
  [
    ("complex pair", [[0.0, 0.9], [-0.9, 0.0]]),
    ("negative", np.diag([-3.0, 2.0, 0.5])),
    ("opposite signs", np.diag([2.0, -2.0, 0.5])),
    ("one unit", [[-3.0]]),
    ("identity", np.eye(3)),
    ("zero", np.zeros((2, 2))),
    ("defective", [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.3]]),
    ("random", np.random.default_rng(0).normal(size=(12, 12))),
  ],
)
def test_power_iteration_finds_the_dominant_eigenvalue(float64, name, w):
  w = np.asarray(w, float)
  found = jax.jit(power_iteration)(jnp.asarray(w))
  values = np.linalg.eigvals(w)
  # The double root of a Jordan block is good to √(residual) alone.
  loose = 1e-6 if name == "defective" else EIGENVALUE
  np.testing.assert_allclose(found.modulus, np.abs(values).max(), atol=loose)
  near = np.abs(values - complex(found.eigenvalue)).min()
  assert near < loose and found.converged


def test_linear_network_grows_with_the_modulus(float64):
  """|∂x_t/∂x_0|^(1/t) tends to ρ where a complex pair dominates."""
  w = jnp.array([[0.6, 1.0, 0.3], [-1.0, 0.6, 0.0], [0.0, 0.2, 0.4]])
  found = jax.jit(power_iteration)(w)
  profile = lag_profile(jnp.broadcast_to(w.T, (400, 1, 3, 3)))
  growth = profile.log_norms[-1, 0] - profile.log_norms[199, 0]
  # A pair makes the norm swing by a factor that does not grow: O(1 / t).
  np.testing.assert_allclose(growth / 200, np.log(found.modulus), atol=5e-3)
  assert abs(complex(found.eigenvalue).imag) > 0.5


def test_three_of_one_modulus_do_not_converge():
  found = jax.jit(lambda w: power_iteration(w, max_iterations=200))(
    jnp.eye(3)[jnp.array([1, 2, 0])]
  )
  assert not found.converged and found.iterations == 200


def test_traced_nan_does_not_converge_and_proves_nothing():
  w = jnp.full((3, 3), jnp.nan)
  assert not jax.jit(power_iteration)(w).converged
  found = jax.jit(lambda w: conditions(w, 1.0))(w)
  # False would prove that nothing explodes.
  assert not found.vanishing_is_certain and found.explosion_is_possible


def test_vmaps():
  w = jnp.stack([jnp.diag(jnp.array([3.0, 1.0])), jnp.eye(2)])
  found = jax.jit(jax.vmap(power_iteration))(w)
  np.testing.assert_allclose(found.modulus, [3, 1], rtol=1e-5)
  assert found.converged.all()


@pytest.mark.parametrize("f", [power_iteration, lambda w: conditions(w, 1.0)])
def test_nonsense_is_refused(f):
  with pytest.raises(ValueError, match="square"):
    f(jnp.ones((2, 3)))
  with pytest.raises(ValueError, match="not finite"):
    f(jnp.array([[1.0, jnp.inf], [0.0, 1.0]]))
  with pytest.raises(ValueError, match="gamma"):
    conditions(jnp.eye(2), 0.0)
