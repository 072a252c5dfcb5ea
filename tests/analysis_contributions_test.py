"""Temporal contributions against plain gradients and finite products."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from steadygrad import _passes, unroll
from steadygrad.analysis import step_contributions, temporal_contributions
from tests.analysis_models import (
  batch_of,
  model_of,
  params_of,
  squared_error,
)

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SUM = 1e-10  # What the issue asks of the sum in float64.
ROUNDING = 1e-12  # A few hundred units in the last place of float64.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _setup(kind, reads="every", lengths=None):
  model = model_of(kind, reads=reads)
  return model, params_of(model), batch_of(lengths=lengths)


def _gradient(model, params, batch):
  """The oracle: reverse mode through the plain scan."""

  def loss(params, batch):
    outputs = model.apply(params, batch.us, batch.lengths)
    return squared_error(outputs, batch)

  value, grads = jax.jit(jax.value_and_grad(loss))(params, batch)
  return value, grads["cell"]


@pytest.mark.parametrize(
  "kind, lengths",
  [
    ("elman_x", (6, 2, 4)),
    ("elman_h", None),
    ("gru", (6, 2, 4)),
    ("lstm", None),
  ],
)
def test_contributions_sum_to_the_gradient(float64, kind, lengths):
  lengths = None if lengths is None else jnp.array(lengths)
  model, params, batch = _setup(kind, lengths=lengths)
  split = temporal_contributions(model, squared_error, return_parts=True)
  loss, found = jax.jit(split)(params, batch)
  value, expected = _gradient(model, params, batch)
  total = jax.tree.map(lambda x: x.sum(0), found.totals)
  parts = jax.tree.map(lambda x: x.sum((0, 1)), found.parts)
  initial = jax.tree.map(lambda x: x.sum(0), found.initial_parts)
  chex.assert_trees_all_close(total, expected, atol=SUM)
  chex.assert_trees_all_close(
    jax.tree.map(jnp.add, parts, initial), expected, atol=SUM
  )
  np.testing.assert_allclose(loss, value, rtol=ROUNDING)


def test_norms_are_those_of_the_parts(float64):
  model, params, batch = _setup("gru")
  split = temporal_contributions(
    model, squared_error, steps=(2, -1), return_parts=True
  )
  _, found = jax.jit(split)(params, batch)
  flat = [np.asarray(x) for x in jax.tree.leaves(found.parts)]
  squares = sum(np.square(x).reshape(2, 6, -1).sum(-1) for x in flat)
  np.testing.assert_allclose(found.norms, np.sqrt(squares), rtol=ROUNDING)
  np.testing.assert_array_equal(found.norms[0, 3:], 0)
  assert (found.norms[0, :3] > 0).all() and (found.norms[1] > 0).all()


def test_elman_contribution_is_the_product_of_eq_4(float64):
  """∂E_t/∂x_t ∏ J_i ∂⁺x_k/∂w_rec, multiplied out in NumPy."""
  model, params, batch = _setup("elman_x", reads="last")
  split = temporal_contributions(
    model, squared_error, steps=(-1,), return_parts=True
  )
  _, found = jax.jit(split)(params, batch)
  cell = {k: np.asarray(v) for k, v in params["cell"].items()}
  out = {k: np.asarray(v) for k, v in params["readout"].items()}
  us, x = np.asarray(batch.us), np.zeros((3, 4))
  xs = [x]
  for u in us:
    x = np.tanh(x) @ cell["w_rec"] + u @ cell["w_in"] + cell["b"]
    xs.append(x)
  h = np.tanh(x)
  error = 2 * (h @ out["w_out"] + out["b_out"] - batch.targets[-1]) / 3
  delta = (error @ out["w_out"].T) * (1 - h**2)
  for k in range(6, 0, -1):
    part = np.tanh(xs[k - 1]).T @ delta
    np.testing.assert_allclose(
      found.parts["w_rec"][0, k - 1], part, rtol=1e-9, atol=ROUNDING
    )
    delta = (delta @ cell["w_rec"].T) * (1 - np.tanh(xs[k - 1]) ** 2)


def test_a_learned_initial_state_has_its_share(float64):
  model, params, batch = _setup("elman_x")

  def initial_state(theta, size):
    return jnp.broadcast_to(theta["b"], (size, 4))

  model = model._replace(
    cell=model.cell._replace(initial_state=initial_state, fused=None)
  )
  split = temporal_contributions(model, squared_error, return_parts=True)
  _, found = jax.jit(split)(params, batch)

  def loss(theta):
    xs = unroll(model.cell, theta, batch.us)
    outputs = model.readout.apply(params["readout"], model.cell.output(xs))
    return squared_error(outputs, batch)

  expected = jax.jit(jax.grad(loss))(params["cell"])
  total = jax.tree.map(lambda x: x.sum(0), found.totals)
  chex.assert_trees_all_close(total, expected, atol=SUM)
  assert (found.initial_norms > 0).all()


def _operations(jaxpr):
  """Multiplications of all matrix products, loops counted in full."""
  count = 0
  for equation in jaxpr.eqns:
    times = equation.params.get("length", 1)
    if equation.primitive.name == "dot_general":
      (contract, _), _ = equation.params["dimension_numbers"]
      left = equation.invars[0].aval.shape
      inner = int(np.prod([left[i] for i in contract]))
      count += inner * int(np.prod(equation.outvars[0].aval.shape))
    for inner in jaxprs_in_params(equation.params):
      count += times * _operations(inner)
  return count


@pytest.mark.parametrize("kind", ["elman_x", "lstm"])
def test_one_loss_step_costs_at_most_two_backward_passes(kind):
  model, params, batch = _setup(kind)
  cell, theta = model.cell, params["cell"]
  x_0 = cell.initial_state(theta, 3)
  xs = jax.eval_shape(lambda p: unroll(cell, p, batch.us), theta)
  xs = jax.tree.map(lambda x: jnp.zeros(x.shape), xs)
  dxs = xs

  def backward(dxs):
    return _passes.generic_backward(cell, theta, batch.us, x_0, xs, dxs, None)[
      0
    ]

  def norms(dxs):
    dx_t = jax.tree.map(lambda d: d[-1], dxs)
    return step_contributions(cell, theta, batch.us, x_0, xs, dx_t, 5)[0]

  passes = _operations(jax.make_jaxpr(backward)(dxs).jaxpr)
  taken = _operations(jax.make_jaxpr(norms)(dxs).jaxpr)
  assert 0 < taken <= 2 * passes


def test_jits_and_vmaps():
  model, params, batch = _setup("elman_h")
  split = temporal_contributions(model, squared_error, steps=(-1,))
  many = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
  _, one = jax.jit(split)(params, batch)
  _, two = jax.jit(jax.vmap(split, (0, None)))(many, batch)
  # float32: the compiled program may round in another order.
  np.testing.assert_allclose(two.norms[0], one.norms, rtol=1e-4)
  assert two.norms.shape == (2, 1, 6)


def test_steps_outside_are_refused():
  model, params, batch = _setup("elman_x")
  with pytest.raises(ValueError, match="steps must lie"):
    temporal_contributions(model, squared_error, steps=(6,))(params, batch)
  with pytest.raises(ValueError, match="at least one"):
    temporal_contributions(model, squared_error, steps=())(params, batch)
