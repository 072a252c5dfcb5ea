"""What a run records of its dynamics, against separate computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.analysis import (
  autonomous,
  dynamics_recorder,
)
from tests.analysis_models import batch_of, model_of, params_of, squared_error

pytestmark = pytest.mark.usefixtures("quickly_compiled")

CLOSE = 2e-4  # float32 through a pass of six steps and its norms.


def _jacobian_exponent(cell, params, us):
  """log |J_T ... J_1| / T of one sequence, multiplied out."""
  x = jnp.zeros(4)
  product = np.eye(4)
  step = jax.jit(
    lambda x, u: (
      autonomous(cell, params, u)(x),
      jax.jacfwd(autonomous(cell, params, u))(x),
    )
  )
  # The recorder's frame is one random vector; NumPy's must be the same one.
  frame = np.asarray(jax.random.normal(jax.random.key(0), (4, 1)))[:, 0]
  for u in us:
    x, jacobian = step(x, u)
    product = np.asarray(jacobian) @ product
  grown = product @ (frame / np.linalg.norm(frame))
  return np.log(np.linalg.norm(grown)) / len(us)


@pytest.mark.parametrize("lengths", [None, (6, 3, 4)])
def test_numbers_of_an_elman_network(lengths):
  model = model_of("elman_x", reads="last")
  params = params_of(model)
  batch = batch_of(lengths=None if lengths is None else jnp.array(lengths))
  record = dynamics_recorder(model, squared_error, num_sequences=2)
  found = jax.jit(record)(params, batch)
  w = np.asarray(params["cell"]["w_rec"])
  rho, top = np.abs(np.linalg.eigvals(w)).max(), np.linalg.svd(w)[1][0]
  np.testing.assert_allclose(found.spectral_radius, rho, rtol=CLOSE)
  np.testing.assert_allclose(found.largest_singular_value, top, rtol=CLOSE)

  def loss(params, taps):
    def step(x, inputs):
      u, tap, going = inputs
      x_t = model.cell.step(params["cell"], x, u) + tap
      x = jnp.where(going, x_t, x)
      return x, x

    counts = jnp.array(lengths or (6, 6, 6))
    going = (jnp.arange(6)[:, None] < counts[None])[..., None]
    xs = jax.lax.scan(step, jnp.zeros((3, 4)), (batch.us, taps, going))[1]
    outputs = model.readout.apply(params["readout"], model.cell.output(xs))
    return squared_error(outputs, batch)

  value, (grads, deltas) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
    params, jnp.zeros((6, 3, 4))
  )
  norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
  np.testing.assert_allclose(found.loss, value, rtol=CLOSE)
  np.testing.assert_allclose(found.gradient_norm, norm, rtol=CLOSE)
  sizes = np.linalg.norm(deltas, axis=-1)
  ends = lengths or (6, 6, 6)
  by_lag = [
    np.sqrt(
      np.mean(
        [sizes[e - 1 - lag, b] ** 2 for b, e in enumerate(ends) if e > lag]
      )
    )
    for lag in range(6)
  ]
  np.testing.assert_allclose(found.delta_norms, by_lag, rtol=CLOSE)
  exponents = [
    _jacobian_exponent(model.cell, params["cell"], batch.us[: ends[b], b])
    for b in range(2)
  ]
  np.testing.assert_allclose(
    found.lyapunov_exponent, np.mean(exponents), atol=CLOSE
  )
  assert found.finite


def test_counts_the_two_attractors_of_a_latch():
  model = model_of("elman_x", reads="last", inputs=1, hidden=1)
  params = params_of(model)
  params["cell"] = {
    "w_rec": jnp.array([[2.0]]),
    "w_in": jnp.array([[1.0]]),
    "b": jnp.zeros(1),
  }
  batch = batch_of(inputs=1, size=4)
  us = (
    jnp.ones_like(batch.us) * jnp.array([1.0, -1.0, 1.0, -1.0])[None, :, None]
  )
  record = dynamics_recorder(model, squared_error, num_starts=4)
  found = jax.jit(record)(params, batch._replace(us=us))
  assert found.attractor_count == 2 and found.unsettled_count == 0


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_other_cells_vmap_over_seeds(kind):
  model = model_of(kind, reads="last")
  params, batch = params_of(model), batch_of()
  record = dynamics_recorder(model, squared_error, settle_steps=50)
  seeds = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), params)
  found = jax.jit(jax.vmap(record, (0, None)))(seeds, batch)
  assert found.delta_norms.shape == (2, 6) and found.finite.all()
  assert found.spectral_radius[0] != found.spectral_radius[1]


def test_a_diverged_network_says_so():
  model = model_of("elman_x", reads="last")
  params = jax.tree.map(lambda x: x * jnp.inf, params_of(model))
  found = jax.jit(dynamics_recorder(model, squared_error))(params, batch_of())
  assert not found.finite and found.attractor_count == 0


def test_nonsense_is_refused():
  model = model_of("elman_x")
  with pytest.raises(ValueError, match="num_starts"):
    dynamics_recorder(model, squared_error, num_starts=0)
  record = dynamics_recorder(model, squared_error, matrix=lambda p: p["w_in"])
  with pytest.raises(ValueError, match="square"):
    jax.eval_shape(record, params_of(model), batch_of())
