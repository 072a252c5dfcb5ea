"""A radius that could not be had proves nothing, whoever reads it.

`numerics.spectral_radius` is NaN where it fails. Here it is made to, for maps
and matrices that are plainly stable.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import initializers, numerics
from steadygrad.analysis import (
  bifurcation_diagram,
  check_bound,
  conditions,
  cycles,
  dynamics_recorder,
  fixed_points,
  follow_branch,
  lyapunov_exponents,
  power_iteration,
  spectrum,
)
from steadygrad.analysis.jacobians import LagProfile
from tests.analysis_models import batch_of, model_of, params_of, squared_error

pytestmark = pytest.mark.usefixtures("quickly_compiled")

STARTS = np.array([[0.1, -0.2], [0.3, 0.4]], np.float32)


@pytest.fixture
def no_radius(monkeypatch):
  monkeypatch.setattr(
    numerics, "spectral_radius", lambda w: jnp.full([], jnp.nan, w.dtype)
  )


def _halves(x):
  return 0.5 * jnp.tanh(x)


def test_points_are_stable_where_the_radius_is_there():
  assert fixed_points(_halves, STARTS).stable.all()
  assert cycles(lambda x: -0.5 * x, STARTS, 1).stable.all()


def test_no_point_is_stable(no_radius):
  for eigenvalues in (True, False):
    found = fixed_points(_halves, STARTS, return_eigenvalues=eigenvalues)
    assert found.converged.all() and not found.stable.any()
  assert not cycles(_halves, STARTS, 1).stable.any()
  many = bifurcation_diagram(lambda x, b: b * x, jnp.array([0.3]), STARTS)
  assert many.converged.all() and not many.stable.any()


def test_no_branch_is_stable(no_radius):
  branch = follow_branch(lambda x, b: _halves(x) + b, STARTS[0], 0.0)
  assert branch.converged.all() and not branch.stable.any()


def test_stable_wants_the_eigenvalues_to_agree(monkeypatch):
  """As where the radius is 0 for a matrix far from normal."""
  w = 1.5 * jnp.eye(6) + jnp.eye(6, k=1)
  monkeypatch.setattr(numerics, "spectral_radius", lambda w: 0 * w[0, 0])
  found = fixed_points(lambda x: jnp.tanh(x) @ w, jnp.zeros((1, 6)))
  assert found.converged.all() and not found.stable.any()


def test_conditions_prove_nothing(monkeypatch):
  small = 0.1 * jnp.eye(3)
  known = conditions(small, 1.0)
  assert known.linear_vanishing and known.vanishing_is_certain
  assert not known.linear_explosion_is_possible
  assert not known.explosion_is_possible
  monkeypatch.setattr(
    numerics, "spectral_radius", lambda w: jnp.full([], jnp.nan)
  )
  found = conditions(small, 1.0)
  assert not found.linear_vanishing and found.linear_explosion_is_possible
  assert found.vanishing_is_certain and not found.explosion_is_possible
  monkeypatch.setattr(
    spectrum, "singular_values", lambda w: jnp.full(len(w), jnp.nan)
  )
  found = conditions(small, 1.0)
  assert not found.vanishing_is_certain and found.explosion_is_possible


def test_a_traced_matrix_or_bound_that_is_nan_proves_nothing():
  check = jax.jit(conditions)
  for found in (
    check(jnp.full((3, 3), jnp.nan), 1.0),
    check(0.1 * jnp.eye(3), jnp.nan),
  ):
    assert not found.vanishing_is_certain and found.explosion_is_possible
  nan = jnp.full((3, 3), jnp.nan)
  found = check(nan, 1.0)
  assert not found.linear_vanishing and found.linear_explosion_is_possible
  assert not jax.jit(power_iteration)(nan).converged
  profile = LagProfile(jnp.zeros((2, 1)), jnp.zeros((2, 1, 3)), True)
  assert not jax.jit(check_bound)(profile, nan, 1.0).holds.any()


def test_a_record_says_that_it_is_not_finite(monkeypatch):
  model = model_of("elman_x")
  record = dynamics_recorder(model, squared_error, settle_steps=5)
  run = lambda: jax.jit(lambda *a: record(*a))(params_of(model), batch_of())  # noqa: E731
  assert run().finite
  monkeypatch.setattr(
    numerics, "spectral_radius", lambda w: jnp.full([], jnp.nan)
  )
  found = run()
  assert np.isnan(found.spectral_radius) and not found.finite


@pytest.mark.parametrize("radius, same", [(0.0, True), (np.nan, False)])
def test_a_start_is_left_unscaled_at_radius_zero_alone(
  monkeypatch, radius, same
):
  draw = initializers.sparse_spectral(connections=3, radius=0.7)
  key = jax.random.key(0)
  scaled = draw(key, (8, 8))
  monkeypatch.setattr(
    numerics, "spectral_radius", lambda w: jnp.full([], radius, w.dtype)
  )
  got = np.asarray(draw(key, (8, 8)))
  assert np.isfinite(got).all() == same and np.isnan(got).all() != same
  if same:  # As drawn: the scaled one times a number that is not 1.
    ratio = got[got != 0] / np.asarray(scaled)[got != 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert abs(ratio[0] - 1) > 0.1


def test_an_exponent_of_plus_infinity_is_none():
  """|x|^(1/2) has an infinite slope at 0, where the orbit stays."""

  @jax.custom_jvp
  def root(x):
    return 0 * x

  root.defjvp(lambda x, dx: (0 * x[0], jnp.inf * dx[0]))
  found = lyapunov_exponents(root, np.zeros(1, np.float32), num_steps=4)
  assert not found.converged
  # A singular Jacobian is an answer.
  flat = lyapunov_exponents(
    lambda x: 0 * x, np.zeros(1, np.float32), num_steps=4
  )
  assert flat.exponents[0] == -np.inf and flat.converged
