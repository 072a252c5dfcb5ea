"""Cells of Flax NNX, and Flax's TrainState with a trajectory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training import train_state

import steadygrad.flax
from steadygrad import adjoints, transforms, unroll
from steadygrad.cells import elman, linen
from steadygrad.cells import nnx as cells_nnx
from steadygrad.models import linear_readout, recurrent
from steadygrad.trajectories import trajectory
from steadygrad.types import Batch, Readout

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float32: a few steps of four units, numbers of order 1.
SINGLE = 1e-5
INPUTS, UNITS, STEPS, BATCH = 3, 4, 5, 2

CELLS = {
  "gru": nnx.GRUCell,
  "lstm": nnx.LSTMCell,
  "optimized_lstm": nnx.OptimizedLSTMCell,
  "simple": nnx.SimpleCell,
}


def inputs():
  return jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS))


def made(kind, seed=0):
  return kind(INPUTS, UNITS, rngs=nnx.Rngs(seed))


@pytest.mark.parametrize("name", sorted(CELLS))
def test_cells_give_what_flax_gives(name):
  """Outputs of `nnx.RNN` of the same module and inputs."""
  module = made(CELLS[name])
  cell = cells_nnx(module, INPUTS)
  params = cell.init(jax.random.key(0))
  assert cell.fused is None
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(params))
  ys = cell.output(unroll(cell, params, inputs()))
  layer = nnx.RNN(module, time_major=True)
  wanted = layer(inputs(), rngs=nnx.Rngs(0))
  np.testing.assert_allclose(ys, wanted, rtol=SINGLE, atol=SINGLE)
  state = nnx.state(module, nnx.Param)
  same = cell.output(unroll(cell, state, inputs()))
  np.testing.assert_array_equal(same, ys)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_gradients_and_omega(name):
  """Those of `jax.grad`; Ω's derivative has the paths of the parameters."""
  cell = cells_nnx(functools.partial(CELLS[name], INPUTS, UNITS), INPUTS)
  model = recurrent(cell, linear_readout(UNITS, 2))
  params = model.init(jax.random.key(0))

  def loss_fn(outputs, batch):
    return jnp.sum(outputs**2)

  batch = Batch(inputs(), None)
  _, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  plain = jax.jit(jax.grad(lambda p: loss_fn(model.apply(p, batch.us), None)))
  chex.assert_trees_all_close(grads, plain(params), rtol=SINGLE, atol=SINGLE)
  tx = transforms.add_omega_gradient(cell)
  updates, state = tx.update(grads, tx.init(params), trajectory=seen)
  assert float(state.omega) > 0
  moved = jax.tree.map(lambda u, g: bool(jnp.any(u != g)), updates, grads)
  assert any(jax.tree.leaves(moved["cell"]))
  assert not any(jax.tree.leaves(moved["readout"]))


def test_new_parameters_for_every_key():
  cell = cells_nnx(functools.partial(nnx.GRUCell, INPUTS, UNITS), INPUTS)
  kernels = [cell.init(jax.random.key(s))["dense_h"]["kernel"] for s in (0, 1)]
  assert float(jnp.max(jnp.abs(kernels[0] - kernels[1]))) > 0.1
  seeds = jax.vmap(cell.init)(jax.random.split(jax.random.key(0), 3))
  assert seeds["dense_h"]["kernel"].shape == (3, UNITS, 3 * UNITS)


def test_a_module_keeps_its_own_parameters():
  module = made(nnx.GRUCell, 5)
  cell = cells_nnx(module, INPUTS)
  own = nnx.to_pure_dict(nnx.state(module, nnx.Param))
  chex.assert_trees_all_equal(cell.init(jax.random.key(0)), own)
  chex.assert_trees_all_equal(cell.init(jax.random.key(1)), own)


class Dense(nnx.RNNCellBase):
  """A cell from which others differ in one thing."""

  def __init__(self, inputs, units, *, rngs):
    self.dense = nnx.Linear(inputs, units, rngs=rngs)
    self.units = units
    self.add(rngs)

  def add(self, rngs):
    pass

  def __call__(self, carry, inputs):
    carry = self.change(self.dense(inputs) + carry)
    return carry, carry

  def change(self, carry):
    return jnp.tanh(carry)

  def initialize_carry(self, input_shape, rngs=None, carry_init=None):
    return jnp.zeros((*input_shape[:-1], self.units))

  @property
  def num_feature_axes(self):
    return 1


class Dropping(Dense):
  deterministic = False

  def add(self, rngs):
    self.drop = nnx.Dropout(0.5, deterministic=self.deterministic, rngs=rngs)

  def change(self, carry):
    return jnp.tanh(self.drop(carry))


class Still(Dropping):
  deterministic = True


class Normalised(Dense):
  def add(self, rngs):
    self.norm = nnx.BatchNorm(self.units, rngs=rngs)

  def change(self, carry):
    return self.norm(carry)


class Bare(Dense):
  def __init__(self, inputs, units, *, rngs):
    self.units = units

  def __call__(self, carry, inputs):
    carry = jnp.tanh(carry + jnp.sum(inputs, -1, keepdims=True))
    return carry, carry


class Growing(Dense):
  def change(self, carry):
    return jnp.concatenate([carry, carry], -1)


class Unbatched(Dense):
  def initialize_carry(self, input_shape, rngs=None, carry_init=None):
    return jnp.zeros(self.units)


class Broken(Dense):
  def change(self, carry):
    return carry @ jnp.ones((3, self.units))


class Spatial(Dense):
  @property
  def num_feature_axes(self):
    return 2


class Silent(Dense):
  @property
  def num_feature_axes(self):
    raise NotImplementedError


class Twice(Dense):
  def __call__(self, carry, inputs):
    carry = self.dense(inputs) + carry
    return carry, 2 * carry


@pytest.mark.parametrize("kind", [Dense, Still])
def test_a_cell_of_ones_own_is_taken(kind):
  """Streams of random numbers may be there that no step draws from."""
  cell = cells_nnx(made(kind), INPUTS)
  ys = unroll(cell, cell.init(jax.random.key(0)), inputs())
  assert ys.shape == (STEPS, BATCH, UNITS)


@pytest.mark.parametrize(
  "kind, said",
  [
    (Spatial, "num_feature_axes 1, got 2"),
    (Silent, "num_feature_axes 1, got none"),
    (Dropping, "random numbers.*dropout"),
    (Normalised, "no variables but parameters.*BatchStat"),
    (Bare, "must have parameters"),
    (Growing, r"keep its shapes.*\(2, 4\).*\(2, 8\)"),
    (Unbatched, r"\[B, ...\].*\(4,\)"),
    (Broken, "does not run"),
  ],
)
@pytest.mark.parametrize("output", [None, lambda x: x])
def test_cells_that_cannot_be_a_cell(kind, said, output):
  with (
    jax.numpy_rank_promotion("allow"),  # As most users have it.
    pytest.raises(ValueError, match=said) as caught,
  ):
    cells_nnx(made(kind), INPUTS, output=output)
  assert kind.__name__ in str(caught.value)


def test_an_output_that_is_not_in_the_carry():
  with pytest.raises(ValueError, match="Twice.*output="):
    cells_nnx(made(Twice), INPUTS)
  cell = cells_nnx(made(Twice), INPUTS, output=lambda x: 2 * x)
  np.testing.assert_array_equal(cell.output(jnp.ones(4)), 2)


@pytest.mark.parametrize(
  "module, inputs, said",
  [
    ("gru", 3, "cell must be an NNX RNNCellBase, .*str"),
    (nn.GRUCell(4), 3, "cell must be an NNX RNNCellBase, .*linen"),
    (nnx.Linear(3, 4, rngs=nnx.Rngs(0)), 3, "cell must be an NNX RNNCellBase"),
    (nnx.GRUCell, 3, "cell must be an NNX RNNCellBase"),
    (lambda rngs: None, 3, "cell must be an NNX RNNCellBase, .*None"),
    (made(nnx.GRUCell), 0, "input_size.* at least 1, got 0"),
    (made(nnx.GRUCell), 5, "GRUCell does not run as a Cell"),
  ],
)
def test_bad_arguments(module, inputs, said):
  with pytest.raises(ValueError, match=said):
    cells_nnx(module, inputs)


def state_of(kind, tx):
  cell = elman(INPUTS, UNITS)
  model = recurrent(cell, linear_readout(UNITS, 1))
  params = model.init(jax.random.key(0))
  state = kind.create(apply_fn=model.apply, params=params, tx=tx(cell))
  run = adjoints(model, lambda outputs, batch: jnp.mean(outputs**2))
  _, grads, seen = run(params, Batch(inputs(), None))
  return state, grads, seen


def test_train_state_hands_the_trajectory_on():
  """The update of `tx` by hand; under jit as outside; `tx` stays."""

  def tx(cell):
    return optax.chain(
      transforms.add_omega_gradient(cell),
      transforms.clip_by_global_norm(1.0),
      transforms.adam(0.1),
    )

  state, grads, seen = state_of(steadygrad.flax.TrainState, tx)
  updates, opt_state = state.tx.update(
    grads, state.opt_state, state.params, trajectory=seen
  )
  wanted = optax.apply_updates(state.params, updates)

  @jax.jit
  def step(state, grads, seen):
    return state.apply_gradients(grads=grads, trajectory=seen)

  for new in (
    state.apply_gradients(grads=grads, trajectory=seen),
    step(state, grads, seen),
  ):
    assert type(new) is type(state) and new.tx is state.tx
    assert int(new.step) == 1
    chex.assert_trees_all_close(new.params, wanted, rtol=SINGLE, atol=1e-7)
    chex.assert_trees_all_close(new.opt_state, opt_state, rtol=SINGLE)
  with pytest.raises(ValueError, match="needs update.*trajectory="):
    state.apply_gradients(grads=grads)


@pytest.mark.parametrize("given", [True, False])
def test_train_state_is_that_of_flax(given):
  """Of an optimiser that reads no trajectory, with one and without."""
  tx = optax.sgd(0.1, momentum=0.9)
  state, grads, seen = state_of(steadygrad.flax.TrainState, lambda _: tx)
  plain, _, _ = state_of(train_state.TrainState, lambda _: tx)
  extra = {"trajectory": seen} if given else {}
  for _ in range(2):
    state = state.apply_gradients(grads=grads, **extra, apply_fn=len)
    plain = plain.apply_gradients(grads=grads)
  assert state.apply_fn is len and int(state.step) == int(plain.step) == 2
  chex.assert_trees_all_equal(state.params, plain.params)
  chex.assert_trees_all_equal(state.opt_state, plain.opt_state)


class Net(nn.Module):
  """A user's module of one piece, of arrays [B, T, M], with one line more."""

  @nn.compact
  def __call__(self, us):
    ys = nn.RNN(nn.OptimizedLSTMCell(UNITS, name="lstm"))(us)
    ys = self.perturb("ys", ys)
    return nn.Dense(2, name="head")(ys[:, -1])


def test_perturb_gives_what_omega_reads():
  """Of Flax's `perturb` on an `nn.RNN`'s output; as `adjoints` has it."""
  net, us = Net(), inputs().swapaxes(0, 1)
  variables = net.init(jax.random.key(0), us)
  params, zeros = variables["params"], variables["perturbations"]

  @jax.jit
  @functools.partial(jax.grad, argnums=1)
  def signals(params, zeros):
    outputs = net.apply({"params": params, "perturbations": zeros}, us)
    return jnp.sum(outputs**2)

  cell = linen(nn.OptimizedLSTMCell(UNITS), INPUTS)
  dys = signals(params, zeros)["ys"].swapaxes(0, 1)
  got = trajectory(cell, params["lstm"], inputs(), dys=dys)

  def apply(theta, ys):
    return nn.Dense(2).apply({"params": theta}, ys[-1])

  model = recurrent(cell, Readout(None, apply, "last"))
  both = {"cell": params["lstm"], "readout": params["head"]}
  run = adjoints(model, lambda outputs, batch: jnp.sum(outputs**2))
  _, grads, wanted = jax.jit(run)(both, Batch(inputs(), None))
  chex.assert_trees_all_close(got, wanted, rtol=SINGLE, atol=1e-6)
  tx = transforms.add_omega_gradient(cell, at=("lstm",))
  loops = {"lstm": grads["cell"], "head": grads["readout"]}
  updates, _ = tx.update(loops, tx.init(params), trajectory=got)
  terms = transforms.omega_terms(wanted)
  added = transforms.omega_gradient(cell, wanted, terms.cotangents)
  expected = jax.tree.map(lambda g, a: g + 4 * a, grads["cell"], added)
  chex.assert_trees_all_close(
    updates["lstm"], expected, rtol=SINGLE, atol=SINGLE
  )
