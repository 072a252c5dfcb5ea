"""Cells: the two forms of the Elman network, Flax cells, bad input."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from steadygrad import adjoints, unroll
from steadygrad.cells import elman, linen
from steadygrad.models import linear_readout, recurrent
from steadygrad.types import Batch
from tests import adjoints_test, cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 6 steps of 4 units, numbers of order 1.
ROUNDING = 1e-12
# float32: the same of numbers good to 6e-8.
SINGLE = 1e-5

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")


@functools.cache
def run_from(form, activation, fused):
  """(params, batch, x_0) -> (outputs, loss, grads) from a state x_0."""
  cell = cases.case(f"elman_{form}_{activation}").cell
  if not fused:
    cell = cell._replace(fused=None)

  def run(params, batch, x_0):
    started = cell._replace(initial_state=lambda p, b: x_0)
    readout = linear_readout(
      cases.UNITS, cases.OUTPUTS, reads="every", dtype=jnp.float64
    )
    model = recurrent(started, readout)
    loss, grads, trajectory = adjoints(model, cases.squared_error)(
      params, batch
    )
    return started.output(trajectory.xs), loss, grads

  return jax.jit(run)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_two_forms_agree_from_corresponding_states(
  x64, rng, activation, fused
):
  """h_0 = σ(x_0) gives h_t = σ(x_t): same outputs, loss and gradients."""
  params = cases.draw_params(f"elman_x_{activation}")
  batch = adjoints_test.make_batch("every", (6, 0, 3))
  x_0 = jnp.asarray(rng.normal(size=(cases.BATCH, cases.UNITS)))
  h_0 = jnp.asarray(oracles.PHI[activation](np.asarray(x_0)))
  x_form = run_from("x", activation, fused)(params, batch, x_0)
  h_form = run_from("h", activation, fused)(params, batch, h_0)
  chex.assert_trees_all_close(x_form, h_form, rtol=ROUNDING, atol=ROUNDING)
  if fused:
    generic = run_from("x", activation, False)(params, batch, x_0)
    chex.assert_trees_all_close(x_form, generic, rtol=ROUNDING, atol=ROUNDING)


def test_sigmoid_units_start_at_one_half_or_at_zero():
  """x_0 = 0 shows .5; h_0 = 0, as the authors start, is no σ(x_0)."""
  for form, shown in (("x", 0.5), ("h", 0.0)):
    cell = elman(2, 3, form=form, activation="sigmoid")
    x_0 = cell.initial_state(cell.init(jax.random.key(0)), 4)
    chex.assert_shape(x_0, (4, 3))
    np.testing.assert_array_equal(cell.output(x_0), shown)


def test_orientation_is_from_row_to_column():
  cell = elman(1, 2, activation="linear")
  params = {
    "w_rec": jnp.array([[0.0, 2.0], [0.0, 0.0]]),
    "w_in": jnp.array([[10.0, 0.0]]),
    "b": jnp.array([0.0, 100.0]),
  }
  x_1 = cell.step(params, jnp.array([[1.0, 7.0]]), jnp.array([[1.0]]))
  np.testing.assert_array_equal(x_1, [[10, 102]])


@pytest.mark.parametrize("form", ["x", "h"])
def test_without_biases(form):
  cell = elman(3, 4, form=form, use_bias=False)
  readout = linear_readout(4, 2)
  params = recurrent(cell, readout).init(jax.random.key(0))
  assert sorted(params["cell"]) == ["w_in", "w_rec"]
  us = jax.random.normal(jax.random.key(1), (5, 2, 3))
  loss_fn = lambda outputs, batch: jnp.sum(outputs**2)  # noqa: E731
  results = [
    jax.jit(adjoints(recurrent(c, readout), loss_fn))(params, Batch(us, None))
    for c in (cell, cell._replace(fused=None))
  ]
  chex.assert_trees_all_close(
    results[0][:2], results[1][:2], rtol=SINGLE, atol=SINGLE
  )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept(dtype, fused):
  dtype = jnp.dtype(dtype)
  cell = elman(3, 4, dtype=dtype)
  cell = cell if fused else cell._replace(fused=None)
  model = recurrent(cell, linear_readout(4, 2, dtype=dtype))
  params = model.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (5, 2, 3), dtype)
  loss_fn = lambda outputs, batch: jnp.sum(outputs**2)  # noqa: E731
  _, grads, trajectory = jax.jit(adjoints(model, loss_fn))(
    params, Batch(us, None)
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
  assert trajectory.xs.dtype == dtype
  assert jax.eval_shape(model.apply, params, us).dtype == dtype


FLAX = {
  "gru": nn.GRUCell,
  "lstm": nn.LSTMCell,
  "optimized_lstm": nn.OptimizedLSTMCell,
  "simple": nn.SimpleCell,
  "mgu": nn.MGUCell,
}


@pytest.mark.parametrize("name", sorted(FLAX))
def test_flax_cells_give_what_flax_gives(name):
  """Outputs of `nn.RNN` of the same cell, parameters and inputs."""
  flax_cell = FLAX[name](features=4)
  cell = linen(flax_cell, 3)
  params = cell.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (5, 2, 3))
  ys = cell.output(unroll(cell, params, us))
  layer = nn.RNN(FLAX[name](features=4), time_major=True)
  expected = layer.apply({"params": {"cell": params}}, us)
  np.testing.assert_allclose(ys, expected, rtol=SINGLE, atol=SINGLE)
  assert cell.fused is None


class TwiceTheCarry(nn.RNNCellBase):
  """A cell whose output is no leaf of its carry."""

  @nn.compact
  def __call__(self, carry, inputs):
    carry = nn.Dense(4)(inputs) + carry
    return carry, 2 * carry

  def initialize_carry(self, rng, input_shape):
    return jnp.zeros((*input_shape[:-1], 4))

  @property
  def num_feature_axes(self):
    return 1


def test_a_flax_cell_whose_output_is_not_in_its_carry():
  with pytest.raises(ValueError, match="TwiceTheCarry.*output="):
    linen(TwiceTheCarry(), 3)
  cell = linen(TwiceTheCarry(), 3, output=lambda x: 2 * x)
  np.testing.assert_array_equal(cell.output(jnp.ones(4)), 2)


class Dense(nn.RNNCellBase):
  """A cell from which others differ in one thing."""

  @nn.compact
  def __call__(self, carry, inputs):
    carry = self.change(nn.Dense(4)(inputs) + carry)
    return carry, carry

  def change(self, carry):
    return jnp.tanh(carry)

  @nn.nowrap
  def initialize_carry(self, rng, input_shape):
    return jnp.zeros((*input_shape[:-1], 4))

  @property
  def num_feature_axes(self):
    return 1


class Dropping(Dense):
  def change(self, carry):
    return nn.Dropout(0.5, deterministic=False)(carry)


class Noisy(Dense):
  def change(self, carry):
    return carry + jax.random.normal(self.make_rng("noise"), carry.shape)


class Normalised(Dense):
  def change(self, carry):
    return nn.BatchNorm(use_running_average=False)(carry)


class Counted(Dense):
  def change(self, carry):
    self.variable("counts", "steps", jnp.zeros, ()).value += 1
    return carry


class Bare(Dense):
  def __call__(self, carry, inputs):
    carry = jnp.tanh(carry + jnp.sum(inputs, -1, keepdims=True))
    return carry, carry


class Growing(Dense):
  def change(self, carry):
    return jnp.concatenate([carry, carry], -1)


class Unbatched(Dense):
  @nn.nowrap
  def initialize_carry(self, rng, input_shape):
    return jnp.zeros(4)


class Broken(Dense):
  def change(self, carry):
    return carry @ jnp.ones((3, 4))


class Spatial(Dense):
  @property
  def num_feature_axes(self):
    return 2


class Silent(Dense):
  @property
  def num_feature_axes(self):
    raise NotImplementedError


def test_a_plain_cell_of_ones_own_is_taken():
  """So that what the next test refuses is what each cell has of its own."""
  cell = linen(Dense(), 3)
  params = cell.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (5, 2, 3))
  assert unroll(cell, params, us).shape == (5, 2, 4)


@pytest.mark.parametrize(
  "make, said",
  [
    (lambda: nn.ConvLSTMCell(4, kernel_size=(3,)), "num_feature_axes 1, got 2"),
    (lambda: nn.ConvLSTMCell(4, kernel_size=(3, 3)), "num_feature_axes 1.* 3"),
    (Spatial, "num_feature_axes 1, got 2"),
    (Silent, "num_feature_axes 1, got none"),
    (Dropping, "random numbers.*dropout"),
    (Noisy, "random numbers.*noise"),
    (Normalised, "collections.*batch_stats"),
    (Counted, "collections.*counts"),
    (Bare, "must have parameters"),
    (Growing, r"keep its shapes.*\(2, 4\).*\(2, 8\)"),
    (Unbatched, r"\[B, ...\].*\(4,\)"),
    (Broken, "does not run"),
  ],
)
@pytest.mark.parametrize("output", [None, lambda x: x])
def test_flax_cells_that_cannot_be_a_cell(make, said, output):
  """In words of ours, that name the cell, before its first step."""
  with (
    jax.numpy_rank_promotion("allow"),  # As most users have it.
    pytest.raises(ValueError, match=said) as caught,
  ):
    linen(make(), 2, output=output)
  assert type(make()).__name__ in str(caught.value)


class Started(nn.RNNCellBase):
  """A cell whose carry begins with a parameter."""

  def setup(self):
    self.start = self.param("start", nn.initializers.normal(1.0), (4,))
    self.dense = nn.Dense(4)

  def initialize_carry(self, rng, input_shape):
    return jnp.broadcast_to(self.start, (*input_shape[:-1], 4))

  def __call__(self, carry, inputs):
    carry = jnp.tanh(self.dense(jnp.concatenate([carry, inputs], -1)))
    return carry, carry

  @property
  def num_feature_axes(self):
    return 1


def test_a_flax_cell_that_learns_its_first_carry():
  """Outputs of `nn.RNN`, and gradients of `jax.grad`, in the start too."""
  cell = linen(Started(), 3)
  model = recurrent(cell, linear_readout(4, 2))
  params = model.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (5, 2, 3))
  expected = nn.RNN(Started(), time_major=True).apply(
    {"params": {"cell": params["cell"]}}, us
  )
  ys = cell.output(unroll(cell, params["cell"], us))
  np.testing.assert_allclose(ys, expected, rtol=SINGLE, atol=SINGLE)

  loss_fn = lambda outputs, batch: jnp.sum(outputs**2)  # noqa: E731
  _, grads, _ = jax.jit(adjoints(model, loss_fn))(params, Batch(us, None))
  wanted = jax.jit(jax.grad(lambda p: loss_fn(model.apply(p, us), None)))(
    params
  )
  chex.assert_trees_all_close(grads, wanted, rtol=SINGLE, atol=SINGLE)
  assert np.min(np.abs(grads["cell"]["start"])) > 1e-4


@pytest.mark.parametrize(
  "make, said",
  [
    (lambda: elman(0, 3), ["input_size", "at least 1", "0"]),
    (lambda: elman(3, -2), ["hidden_size", "at least 1", "-2"]),
    (lambda: elman(3, 4, form="y"), ["form", '"x" or "h"', "'y'"]),
    (lambda: elman(3, 4, activation="gelu"), ["activation", "tanh", "'gelu'"]),
    (
      lambda: elman(3, 4, implementation="cuda"),
      ["implementation", "xla", "'cuda'"],
    ),
    (lambda: linen("gru", 3), ["cell must be a linen RNNCellBase", "str"]),
    (lambda: linen(nn.GRUCell(4), 0), ["input_size", "at least 1", "0"]),
    (lambda: linear_readout(0, 2), ["input_size", "at least 1", "0"]),
    (lambda: linear_readout(2, 0), ["output_size", "at least 1", "0"]),
    (
      lambda: linear_readout(2, 2, reads="all"),
      ["reads", '"last" or "every"', "'all'"],
    ),
  ],
)
def test_bad_arguments(make, said):
  for words in said:
    with pytest.raises(ValueError, match=words):
      make()


def test_readouts_of_the_last_and_of_every_step(rng):
  ys = jnp.asarray(rng.normal(size=(5, 2, 3)), "float32")
  params = {"w_out": jnp.ones((3, 2)), "b_out": jnp.array([0.0, 1.0])}
  expected = np.asarray(ys).sum(-1)[..., None] + np.array([0, 1])
  every = linear_readout(3, 2, reads="every").apply(params, ys)
  np.testing.assert_allclose(every, expected, rtol=SINGLE, atol=SINGLE)
  last = linear_readout(3, 2).apply(params, ys)
  np.testing.assert_allclose(last, expected[-1], rtol=SINGLE, atol=SINGLE)
