"""Jacobians through time and the total derivative of Omega."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints
from steadygrad._unroll import previous_states, unroll
from steadygrad.analysis import (
  delta_norms_by_lag,
  elman_jacobians,
  jacobian_products,
  lag_profile,
  last_step_delta_norms,
  omega_derivatives,
  omega_total,
  step_jacobians,
)
from steadygrad.transforms.omega import omega_terms
from steadygrad.types import Trajectory
from tests.analysis_models import (
  KINDS,
  batch_of,
  cell_of,
  model_of,
  params_of,
  squared_error,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROUNDING = 1e-11  # Some thousand units in the last place of float64.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _orbit(kind, steps=5, **options):
  cell = cell_of(kind, **options)
  params, us = params_of(cell), batch_of(steps=steps, size=2).us
  x_0 = jax.tree.map(
    lambda x: x + 0.3, jax.jit(lambda p: cell.initial_state(p, 2))(params)
  )
  xs = jax.jit(lambda p: unroll(cell, p, us, x_0=x_0))(params)
  return cell, params, us, x_0, xs


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
@pytest.mark.parametrize("form", ["x", "h"])
def test_closed_form_equals_vjp_of_the_step(float64, form, activation):
  cell, params, us, x_0, xs = _orbit(f"elman_{form}", activation=activation)
  by_vjp = jax.jit(lambda p: step_jacobians(cell, p, xs, us, x_0=x_0))(params)
  closed = elman_jacobians(
    params["w_rec"],
    previous_states(x_0, xs),
    activation=activation,
    form=form,
    xs=xs,
  )
  np.testing.assert_allclose(closed, by_vjp, atol=ROUNDING)


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_the_derivatives_of_the_last_state(float64, kind):
  """∂x_T/∂x_0 by forward mode through the plain scan."""
  cell, params, us, x_0, xs = _orbit(kind)

  def last(leaves, sequence):
    state = jax.tree.unflatten(jax.tree.structure(x_0), leaves)
    state = jax.tree.map(lambda x: x[None], state)
    end = unroll(cell, params, sequence[:, None], x_0=state)
    return [x[-1, 0] for x in jax.tree.leaves(end)]

  @jax.jit
  def both(params):
    jacobians = step_jacobians(cell, params, xs, us, x_0=x_0)
    leaves = [x[0] for x in jax.tree.leaves(x_0)]
    blocks = jax.jacfwd(last)(leaves, us[:, 0])
    return jacobian_products(jacobians), blocks, lag_profile(jacobians)

  (scaled, logs), blocks, profile = both(params)
  product = np.asarray(scaled[0, 0] * jnp.exp(logs[0, 0]))
  expected = np.block([[np.asarray(b) for b in row] for row in blocks])
  np.testing.assert_allclose(product, expected, atol=ROUNDING)
  values = np.linalg.svd(expected, compute_uv=False)
  # The smallest are relative to the largest in any decomposition.
  np.testing.assert_allclose(
    np.exp(profile.log_singular_values[-1, 0]), values, atol=ROUNDING
  )
  np.testing.assert_allclose(
    np.exp(profile.log_norms[-1, 0]), values[0], rtol=1e-9
  )


def test_products_neither_overflow_nor_underflow():
  jacobians = jnp.stack([1e3 * jnp.eye(2), 1e-3 * jnp.eye(2)], 0)
  many = jnp.repeat(jacobians, 40, 0)[:, None]
  profile = jax.jit(lag_profile)(many)
  lags = np.arange(1, 81)
  expected = np.log(1e3) * np.where(lags <= 40, -lags, lags - 80)
  # Sums of 80 float32 logarithms of size 7.
  np.testing.assert_allclose(profile.log_norms[:, 0], expected, atol=2e-3)
  assert profile.finite.all()


def test_a_product_that_is_not_finite_says_so():
  many = jnp.ones((3, 1, 2, 2)).at[1].set(jnp.inf)
  profile = jax.jit(lag_profile)(many)
  np.testing.assert_array_equal(profile.finite[:, 0], [True, False, False])
  assert np.isnan(profile.log_norms[1:]).all()


def test_beyond_a_length_the_jacobian_is_one(float64):
  cell, params, us, x_0, xs = _orbit("elman_x")
  mask = jnp.arange(5)[:, None] < jnp.array([[3, 5]])
  jacobians = jax.jit(
    lambda p: step_jacobians(cell, p, xs, us, x_0=x_0, mask=mask)
  )(params)
  np.testing.assert_array_equal(jacobians[3:, 0], np.stack([np.eye(4)] * 2))
  assert not np.allclose(jacobians[3, 1], np.eye(4))


def test_delta_norms_by_lag_count_back_from_each_end():
  deltas = (jnp.arange(1.0, 5.0)[:, None] * jnp.array([[3.0, -4.0]]))[..., None]
  mask = jnp.arange(4)[:, None] < jnp.array([[4, 2]])
  deltas = jnp.where(mask[..., None], deltas, 0)
  found = delta_norms_by_lag(
    Trajectory(None, None, None, None, deltas, deltas, mask)
  )
  full = np.abs(deltas[:, :, 0])
  np.testing.assert_array_equal(found.norms[:, 0], full[::-1, 0])
  np.testing.assert_array_equal(found.norms[:, 1], [*full[1::-1, 1], 0, 0])
  np.testing.assert_array_equal(found.valid, np.asarray(mask))
  plain = delta_norms_by_lag(
    Trajectory(None, None, None, None, deltas, deltas, None)
  )
  np.testing.assert_array_equal(plain.norms, full[::-1])


def _squares(outputs, targets):
  return jnp.sum(jnp.square(outputs - targets), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_signals_of_the_last_step_are_those_of_a_loss_of_it_alone(
  kind, float64
):
  """By gradients in zeros that are added to the states, which know no δ."""
  model, batch = model_of(kind), batch_of()
  cell, params = model.cell, params_of(model)
  found = last_step_delta_norms(model, _squares, params, batch)
  assert found.valid.all()
  x_0 = cell.initial_state(params["cell"], 3)

  @jax.jit
  def loss(zeros):
    x = x_0
    for u, zero in zip(batch.us, zeros, strict=True):
      x = jax.tree.map(jnp.add, cell.step(params["cell"], x, u), zero)
    outputs = model.readout.apply(params["readout"], cell.output(x)[None])
    return jnp.sum(_squares(outputs[0], batch.targets[-1]))

  zeros = [jax.tree.map(jnp.zeros_like, x_0) for _ in batch.us]
  for norms, delta in zip(
    found.norms[::-1], jax.grad(loss)(zeros), strict=True
  ):
    squares = [np.square(x).sum(-1) for x in jax.tree.leaves(delta)]
    np.testing.assert_allclose(norms, np.sqrt(sum(squares)), rtol=1e-9)


@pytest.mark.parametrize(
  "reads,batch,said",
  [
    ("last", batch_of(), "model must .* reads=\"every\", got 'last'"),
    ("every", batch_of(lengths=np.full(3, 2)), "batch must have no lengths"),
    ("every", None, "batch must be a steadygrad.types.Batch"),
  ],
)
def test_signals_of_the_last_step_need_it(reads, batch, said):
  model = model_of("elman_x", reads=reads)
  with pytest.raises(ValueError, match=said):
    last_step_delta_norms(model, _squares, params_of(model), batch)


def _tap_omega(model, batch, readout):
  """Ω as a function of the cell's parameters with error signals from taps.

  Zeros added to every state, differentiated by forward-over-plain-reverse; the
  products by moving the zero one step on. Independent of `adjoints`.
  """
  cell = model.cell

  def omega(theta):
    x_0 = jnp.zeros((3, 4))

    def run(taps):
      def step(x, inputs):
        x = cell.step(theta, x, inputs[0]) + inputs[1]
        return x, x

      xs = jax.lax.scan(step, x_0 + taps[0], (batch.us, taps[1:]))[1]
      return squared_error(readout(cell.output(xs)), batch), xs

    back, xs = jax.grad(run, has_aux=True)(jnp.zeros((7, 3, 4)))
    # What reaches x_{t-1} through x_t alone: all of it for a last-step loss.
    deltas, products = back[1:], back[:-1]
    squares = lambda d: jnp.sum(jnp.square(d), -1)  # noqa: E731
    return jnp.mean(jnp.square(squares(products) / squares(deltas) - 1))

  return omega


@pytest.mark.parametrize("kind", ["elman_x", "elman_h", "gru"])
def test_total_derivative_of_omega(float64, kind):
  model = model_of(kind, reads="last")
  params, batch = params_of(model), batch_of()
  value, total = jax.jit(omega_total(model, squared_error))(params, batch)
  oracle = _tap_omega(
    model, batch, lambda ys: model.readout.apply(params["readout"], ys)
  )
  expected, grads = jax.jit(jax.value_and_grad(oracle))(params["cell"])
  np.testing.assert_allclose(value, expected, rtol=1e-9)
  chex.assert_trees_all_close(total, grads, rtol=1e-7, atol=1e-9)


def test_immediate_and_total_derivatives_and_their_angle(float64):
  model = model_of("elman_x", reads="last")
  params, batch = params_of(model), batch_of()
  found = jax.jit(omega_derivatives(model, squared_error))(params, batch)
  _, _, trajectory = jax.jit(adjoints(model, squared_error))(params, batch)
  x_tm1s = previous_states(trajectory.x_0, trajectory.xs)

  def immediate(w_rec):
    prime = 1 - jnp.tanh(x_tm1s) ** 2
    products = (trajectory.deltas @ w_rec.T) * prime
    return omega_terms(trajectory._replace(products=products)).omega

  expected = jax.jit(jax.grad(immediate))(params["cell"]["w_rec"])
  a, b = np.asarray(expected).ravel(), np.asarray(found.total["w_rec"]).ravel()
  np.testing.assert_allclose(found.immediate["w_rec"], expected, atol=1e-9)
  np.testing.assert_array_equal(found.immediate["w_in"], 0)
  cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
  np.testing.assert_allclose(found.cosine, cosine, rtol=1e-9)
  np.testing.assert_allclose(
    found.norm_ratio, np.linalg.norm(b) / np.linalg.norm(a), rtol=1e-9
  )
  assert abs(cosine) < 0.999


def test_omega_derivatives_of_an_lstm_are_finite():
  model = model_of("lstm", reads="last")
  params, batch = params_of(model), batch_of()
  found = jax.jit(omega_derivatives(model, squared_error))(params, batch)
  assert np.isfinite(found.cosine) and abs(found.cosine) <= 1


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match="square"):
    elman_jacobians(jnp.ones((2, 3)), jnp.ones(2), activation="tanh")
  with pytest.raises(ValueError, match="with xs"):
    elman_jacobians(jnp.eye(2), jnp.ones(2), activation="tanh", form="h")
  with pytest.raises(ValueError, match="square"):
    jacobian_products(jnp.ones((3, 2, 2)))
  cell = cell_of("elman_x")
  bad = np.full((2, 1, 4), np.nan)
  with pytest.raises(ValueError, match="not finite"):
    step_jacobians(cell, None, bad, np.ones((2, 1, 2)), x_0=bad[0])
