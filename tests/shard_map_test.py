"""One batch over two devices by `jax.shard_map`, with JAX's own checks on.

Each device has half of the sequences and the loss is the mean over both, so
that losses, gradients and Ω are those of the whole batch on one device.
"""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from steadygrad import adjoints, segments, training
from steadygrad.cells import elman, linen, stack
from steadygrad.kernels import elman_scan
from steadygrad.losses import squared_error
from steadygrad.models import linear_readout, recurrent
from steadygrad.training.config import TaskConfig
from steadygrad.trajectories import trajectory
from steadygrad.transforms import (
  msgd_cr,
  omega_gradient,
  omega_terms,
  telemetry,
)
from steadygrad.types import Batch, Cell
from tests import kernels_test

pytestmark = pytest.mark.usefixtures("quickly_compiled")

P = jax.sharding.PartitionSpec
AXIS = "devices"
STEPS, BATCH, INPUTS, UNITS, OUTPUTS = 7, 4, 2, 4, 3
# float32 sums in another order, of numbers of order 1.
ROUNDING = 1e-6


def counting_cell():
  """A learned start, and a leaf of the state that no input reaches."""

  def init(key):
    return {
      "w": 0.5 * jax.random.normal(key, (UNITS, UNITS)),
      "x_0": jnp.ones(UNITS),
    }

  def initial_state(params, batch):
    x_0 = jnp.broadcast_to(jnp.sin(params["x_0"]), (batch, UNITS))
    return x_0, jnp.zeros((batch, 1))

  def step(params, state, u_t):
    x_tm1, count = state
    drive = jnp.sum(u_t, -1, keepdims=True) + jnp.sin(count)
    return jnp.tanh(x_tm1 @ params["w"] + drive), jnp.ones(count.shape)

  return Cell(init, initial_state, step, lambda state: state[0])


CELLS = {
  "x": elman(INPUTS, UNITS),
  "h": elman(INPUTS, UNITS, form="h"),
  "generic": elman(INPUTS, UNITS)._replace(fused=None),
  "gru": linen(nn.GRUCell(UNITS), INPUTS),
  "lstm": linen(nn.LSTMCell(UNITS), INPUTS),
  "counting": counting_cell(),
  "stack": stack([elman(INPUTS, 3), elman(3, UNITS, form="h")]),
}


def setting(name, reads, lengths):
  """(model, params, batch) and how the batch is split."""
  model = recurrent(CELLS[name], linear_readout(UNITS, OUTPUTS, reads=reads))
  keys = jax.random.split(jax.random.key(0), 3)
  shape = (BATCH, OUTPUTS) if reads == "last" else (STEPS, BATCH, OUTPUTS)
  batch = Batch(
    jax.random.normal(keys[0], (STEPS, BATCH, INPUTS)),
    jax.random.normal(keys[1], shape),
    None if lengths is None else jnp.asarray(lengths),
  )
  split = Batch(
    P(None, AXIS),
    P(AXIS) if reads == "last" else P(None, AXIS),
    P(AXIS) if np.ndim(lengths) else P(),
  )
  return model, model.init(keys[2]), batch, split


def split_over_devices(f, split, out=None):
  mesh = jax.make_mesh((2,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
  return jax.jit(
    jax.shard_map(f, mesh=mesh, in_specs=(P(), split), out_specs=out or P())
  )


def mean_error(outputs, batch):
  return jax.lax.pmean(squared_error(outputs, batch), AXIS)


@pytest.mark.parametrize(
  "name, reads, lengths, every",
  [(name, "last", (7, 0, 3, 2), None) for name in CELLS]
  + [(name, "every", None, 3) for name in CELLS]
  + [("x", "every", 5, None), ("generic", "every", 5, None)],
)
def test_losses_and_gradients_are_those_of_the_whole_batch(
  name, reads, lengths, every
):
  model, params, batch, split = setting(name, reads, lengths)

  def both(params, batch):
    def loss_of(params):
      return mean_error(model.apply(params, batch.us, batch.lengths), batch)

    explicit = adjoints(model, mean_error, checkpoint_every=every)
    return explicit(params, batch)[:2], jax.value_and_grad(loss_of)(params)

  whole = adjoints(model, squared_error)(params, batch)[:2]
  for got in split_over_devices(both, split)(params, batch):
    chex.assert_trees_all_close(got, whole, rtol=ROUNDING, atol=ROUNDING)


def test_lengths_that_differ_between_devices():
  """Each device's loop stops at a length of its own."""
  model, params, batch, split = setting("x", "last", (3, 6))

  def loss_of(params, batch):
    batch = batch._replace(lengths=batch.lengths[0])
    return adjoints(model, mean_error)(params, batch)[:2]

  got = split_over_devices(loss_of, split)(params, batch)
  each = batch._replace(lengths=jnp.array([3, 3, 6, 6]))
  whole = adjoints(model, squared_error)(params, each)[:2]
  chex.assert_trees_all_close(got, whole, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["x", "generic"])
def test_omega_is_that_of_the_whole_batch(monkeypatch, name, reduction, merged):
  """Three updates in a loop, with segments shorter than the sequence."""
  if merged and name == "generic":
    pytest.skip("merged needs a fused pair")
  monkeypatch.setattr(segments, "NUMBERS", 1)
  monkeypatch.setattr(segments, "ROWS", 4)
  model, params, batch, split = setting(name, "last", (7, 0, 3, 2))
  tx = msgd_cr(model.cell, 0.1, 1.0, 4.0, reduction=reduction, merged=merged)

  def run(loss_fn, params, batch):
    def update(carry, _):
      params, state = carry
      _, grads, trajectory = adjoints(model, loss_fn)(params, batch)
      updates, state = tx.update(grads, state, params, trajectory=trajectory)
      params = jax.tree.map(jnp.add, params, updates)
      return (params, state), telemetry(state)

    carry = params, tx.init(params)
    (params, _), told = jax.lax.scan(update, carry, length=3)
    return params, told

  split_run = functools.partial(run, mean_error)
  got = split_over_devices(split_run, split)(params, batch)
  whole = run(squared_error, params, batch)
  assert whole[1]["omega"][0] > 0
  chex.assert_trees_all_close(got, whole, rtol=3 * ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("what", ["deltas", "dys"])
@pytest.mark.parametrize("name", ["x", "gru"])
def test_a_trajectory_of_error_signals(name, what):
  """Ω of it, its derivative and gradients are those of the whole batch."""
  model, params, batch, split = setting(name, "every", (7, 0, 3, 2))
  signals = jax.random.normal(jax.random.key(9), (STEPS, BATCH, UNITS))

  def run(params, given):
    batch, signals = given
    seen = trajectory(
      *(model.cell, params["cell"], batch.us),
      **{what: signals},
      lengths=batch.lengths,
    )
    terms = omega_terms(seen)
    added = omega_gradient(model.cell, seen, terms.cotangents)
    return terms.omega, added, seen.grads

  got = split_over_devices(run, (split, P(None, AXIS)))(
    params, (batch, signals)
  )
  whole = jax.jit(run)(params, (batch, signals))
  assert whole[0] > 0 and (whole[2] is None) == (what == "deltas")
  chex.assert_trees_all_close(got, whole, rtol=5 * ROUNDING, atol=ROUNDING)


def test_a_whole_run_of_each_device():
  """`training.run` of a key that differs between the devices."""
  config = TaskConfig(
    length=10,
    max_length=11,
    max_updates=3,
    check_every=2,
    check_size=2,
    test_size=2,
    hidden_size=3,
    batch_size=2,
  )
  run = functools.partial(training.run, training.experiment(config))

  def one(_, keys):
    return jax.tree.map(lambda x: x[None], run(keys[0]))

  keys = jax.random.split(jax.random.key(0), 2)
  state, info = split_over_devices(one, P(AXIS), P(AXIS))((), keys)
  alone, told = jax.jit(run)(keys[1])
  got = jax.tree.map(lambda x: x[1], (state.params, info["loss"]))
  wanted = alone.params, told["loss"]
  chex.assert_trees_all_close(got, wanted, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.filterwarnings(
  "ignore:The Pallas Triton backend:DeprecationWarning"
)
@pytest.mark.parametrize("shared", ["w_rec", "sequences"])
@pytest.mark.parametrize("kernel", kernels_test.KERNELS)
def test_kernels_lower(kernel, shared):
  """Pallas's interpreter itself fails under these checks: lowered alone."""
  platform = kernels_test.PLATFORMS[kernel]
  kind, device_kind, cores = kernels_test.DEVICES[platform]
  about = {"platform": kind, "device_kind": device_kind, "num_cores": cores}
  # JAX 0.10.0 knows a device by its kind alone.
  known = inspect.signature(jax.sharding.AbstractDevice).parameters
  device = jax.sharding.AbstractDevice(
    **{name: value for name, value in about.items() if name in known}
  )
  mesh = jax.sharding.AbstractMesh(
    (2,),
    (AXIS,),
    axis_types=(jax.sharding.AxisType.Auto,),
    abstract_device=device,
  )
  scan = elman_scan("x", "tanh", implementation=kernel)
  operands = kernels_test.arrays(STEPS, BATCH, 5)
  passes = functools.partial(kernels_test.both, scan)
  time_first, first = P(None, AXIS), P(AXIS)
  specs = (P(), time_first, first, time_first)
  out = (time_first, time_first, time_first, first)
  if shared == "sequences":
    operands[0] = jnp.stack([operands[0]] * 4)
    specs, out = (first, P(), P(), P()), first
    passes = jax.vmap(passes, (0, None, None, None))
  f = jax.shard_map(passes, mesh=mesh, in_specs=specs, out_specs=out)
  with jax.sharding.use_abstract_mesh(mesh):
    lowered = jax.jit(f).trace(*operands).lower(lowering_platforms=(platform,))
  calls = kernels_test.calls(lowered.as_text())
  assert calls.count(kernels_test.CALLS[kernel]) == 2
