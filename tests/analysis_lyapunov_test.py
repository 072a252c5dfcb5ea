"""Lyapunov exponents of maps whose exponents are known, and of cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.analysis import (
  autonomous,
  cell_lyapunov_exponents,
  lyapunov_exponents,
)
from tests.analysis_models import cell_of, params_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

EXACT = 1e-9  # Exponents that rounding alone moves, over hundreds of steps.
STATISTICAL = 5e-4  # Three digits; the standard errors here are below 2.5e-4.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _mean_over_orbits(f, starts, **options):
  """Mean exponents, what single orbits say, and whether all converged."""
  found = jax.jit(jax.vmap(lambda x: lyapunov_exponents(f, x, **options)))(
    starts
  )
  return found.exponents.mean(0), found


def test_logistic_map_has_ln_2(float64):
  starts = jnp.linspace(0.11, 0.43, 32)[:, None]
  mean, found = _mean_over_orbits(
    lambda x: 4 * x * (1 - x), starts, num_steps=5000, burn_in=100
  )
  np.testing.assert_allclose(mean, np.log(2), atol=STATISTICAL)
  assert found.converged.all()


def test_cat_map_has_the_logarithms_of_its_eigenvalues(float64):
  w = jnp.array([[2.0, 1.0], [1.0, 1.0]])
  found = jax.jit(
    lambda x: lyapunov_exponents(
      lambda x: jnp.mod(x @ w, 1), x, num_steps=200, burn_in=30
    )
  )(jnp.array([0.1, 0.23]))
  golden = np.log((3 + np.sqrt(5)) / 2)
  np.testing.assert_allclose(found.exponents, [golden, -golden], atol=EXACT)
  np.testing.assert_allclose(golden, 0.962424, atol=5e-7)


def test_henon_map(float64):
  def henon(x):
    return jnp.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])

  starts = jnp.linspace(0.0, 0.2, 128)[:, None] * jnp.ones((1, 2))
  mean, found = _mean_over_orbits(
    henon, starts, num_steps=30000, burn_in=200, qr_every=5
  )
  np.testing.assert_allclose(mean, [0.4192, -1.6232], atol=STATISTICAL)
  # |det J| = .3 everywhere, so the sum is exact on every orbit.
  np.testing.assert_allclose(found.exponents.sum(1), np.log(0.3), atol=EXACT)


@pytest.mark.parametrize("kind", ["symmetric", "orthogonal", "triangular"])
def test_linear_maps_have_log_moduli(float64, kind):
  rng = np.random.default_rng(3)
  basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
  moduli = np.array([2.0, 1.3, 0.6, 0.1])
  w = {
    "symmetric": basis @ np.diag(moduli * [1, -1, 1, -1]) @ basis.T,
    "orthogonal": basis,
    "triangular": np.diag(moduli) + np.triu(rng.normal(size=(4, 4)), 1),
  }[kind]
  expected = np.zeros(4) if kind == "orthogonal" else np.log(moduli)
  found = jax.jit(
    lambda w: lyapunov_exponents(
      lambda x: x @ w, jnp.ones(4), num_steps=300, burn_in=100
    )
  )(jnp.asarray(w))
  np.testing.assert_allclose(found.exponents, expected, atol=EXACT)


def test_fewer_exponents_are_the_largest(float64):
  w = jnp.diag(jnp.array([0.5, 3.0, 1.5]))
  found = jax.jit(
    lambda: lyapunov_exponents(
      lambda x: x @ w, jnp.ones(3), num_steps=100, burn_in=60, num_exponents=2
    )
  )()
  np.testing.assert_allclose(found.exponents, np.log([3, 1.5]), atol=EXACT)


def test_gradient_is_that_of_finite_differences(float64):
  """d λ_i / d gain of a contracting tanh network, central differences."""
  w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
  us = jnp.asarray(np.random.default_rng(1).normal(size=(20, 3)))

  @jax.jit
  def weighted(gain):
    found = lyapunov_exponents(
      lambda x, u: gain * jnp.tanh(x) @ w + u, jnp.zeros(3), us=us, burn_in=5
    )
    return jnp.dot(found.exponents, jnp.array([1.0, 2.0, -0.5]))

  step = 1e-6  # Truncation 1e-12, rounding 1e-10: the tolerance covers both.
  slope = (weighted(0.5 + step) - weighted(0.5 - step)) / (2 * step)
  np.testing.assert_allclose(jax.grad(weighted)(0.5), slope, rtol=1e-7)


@pytest.mark.parametrize("kind", ["elman_x", "gru", "lstm"])
def test_driven_cells_agree_with_the_product_of_jacobians(float64, kind):
  """Sum of the exponents is the mean log |det J|, multiplied out by NumPy."""
  cell = cell_of(kind)
  params = params_of(cell)
  us = jnp.asarray(np.random.default_rng(2).normal(size=(12, 2, 2)))
  found = jax.jit(
    lambda p: cell_lyapunov_exponents(cell, p, us, tolerance=np.inf)
  )(params)
  step = jax.jit(jax.jacfwd(lambda x, u: autonomous(cell, params, u)(x)))
  move = jax.jit(lambda x, u: autonomous(cell, params, u)(x))
  for b in range(2):
    x = jnp.zeros(found.x_last.shape[1])
    logs = []
    for u in us[:, b]:
      logs.append(np.linalg.slogdet(np.asarray(step(x, u)))[1])
      x = move(x, u)
    np.testing.assert_allclose(found.exponents[b].sum(), np.mean(logs), 1e-9)
    np.testing.assert_allclose(found.x_last[b], x, atol=EXACT)
  assert found.converged.all()


def test_an_orbit_that_escapes_did_not_converge():
  found = jax.jit(
    lambda x: lyapunov_exponents(lambda x: 4 * x * (1 - x), x, num_steps=50)
  )(jnp.array([2.0]))
  assert not found.converged


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(num_steps=0), "num_steps"),
    (dict(num_exponents=2), "num_exponents"),
    (dict(burn_in=-1), "burn_in"),
    (dict(qr_every=3), "qr_every"),
    (dict(us=np.zeros((3, 1))), "add up"),
    (dict(x_0=np.array([np.nan])), "not finite"),
    (dict(x_0=np.zeros((1, 1))), "x_0"),
  ],
)
def test_nonsense_is_refused(change, message):
  options = dict(x_0=np.zeros(1), num_steps=10) | change
  with pytest.raises(ValueError, match=message):
    lyapunov_exponents(lambda x, *_: x, options.pop("x_0"), **options)
