"""Error signals of every model, against zeros added to states and inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, analysis, models, tasks, training
from steadygrad._unroll import step_mask
from steadygrad.cells import elman
from steadygrad.training import TaskConfig
from steadygrad.training.networks import MODELS

pytestmark = pytest.mark.usefixtures("quickly_compiled")

STEPS, SIZE = 12, 3


def close(got, wanted):
  """float32 sums in another order, of the size of the largest."""
  largest = float(np.max(np.abs(wanted)))
  np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * largest)


def made(name, lengths=None):
  """(model, loss, params, batch)."""
  config = TaskConfig(
    model=name, algorithm="msgd_c", length=STEPS, hidden_size=8
  )
  exp = training.experiment(config)
  params = exp.model.init(jax.random.key(0))
  batch = exp.task.sample(jax.random.key(1), SIZE)._replace(lengths=lengths)
  return exp.model, exp.task.loss, params, batch


def by_taps(model, loss_fn, params, batch):
  """The state's signals: the gradient in zeros added to each state."""
  xs = jax.eval_shape(adjoints(model, loss_fn), params, batch)[2].xs
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), xs)
  lengths = batch.lengths
  if lengths is None:
    lengths = jnp.full(SIZE, STEPS)

  mask = step_mask(lengths, STEPS, SIZE)

  def error(zeros):
    x, ys = model.cell.initial_state(params["cell"], SIZE), []
    for t in range(STEPS):
      new = model.cell.step(params["cell"], x, batch.us[t])
      counts = mask[t, :, None]
      pick = jax.tree.map(lambda n, o: jnp.where(counts, n, o), new, x)  # noqa: B023
      x = jax.tree.map(lambda s, z: s + z[t], pick, zeros)  # noqa: B023
      ys.append(model.cell.output(x))
    return loss_fn(
      model.readout.read(params["readout"], jnp.stack(ys), mask), batch
    )

  signals = jax.grad(error)(zeros)
  return jax.tree.map(lambda s: jnp.where(mask[..., None], s, 0), signals)


@pytest.mark.parametrize("name", MODELS)
def test_signals_are_the_derivatives(name):
  lengths = jnp.array([STEPS, 5, 0])
  model, loss, params, batch = made(name, lengths)
  found = jax.jit(analysis.error_signals(model, loss))(params, batch)
  wanted = by_taps(model, loss, params, batch)
  for got, signal in zip(
    jax.tree.leaves(found["state"]), jax.tree.leaves(wanted), strict=True
  ):
    close(got, signal)
  by_jax = jax.grad(lambda us: loss(model.apply(params, us, lengths), batch))(
    batch.us
  )
  close(found["input"], by_jax)
  assert not np.any(found["input"][5:, 1])
  assert not np.any(found["input"][:, 2])


@pytest.mark.parametrize("name", MODELS)
def test_the_state_s_are_the_adjoints_to_the_bit(name):
  model, loss, params, batch = made(name)
  # Each operation by itself: two programs may round in different ways.
  found = analysis.error_signals(model, loss)(params, batch)["state"]
  _, _, trajectory = adjoints(model, loss)(params, batch)
  jax.tree.map(np.testing.assert_array_equal, found, trajectory.deltas)


def test_both_directions_have_the_inputs_of_the_sequence():
  task = tasks.temporal_order(length=STEPS)
  readout = models.linear_readout(8, task.output_size)
  model = models.bidirectional(elman(6, 4), elman(6, 4), readout)
  params = model.init(jax.random.key(0))
  batch = task.sample(jax.random.key(1), SIZE)
  found = analysis.error_signals(model, task.loss)(params, batch)["input"]
  wanted = jax.grad(lambda us: task.loss(model.apply(params, us), batch))(
    batch.us
  )
  close(found, wanted)
