"""Inputs as symbols are inputs as one-hot numbers."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import (
  adjoints,
  analysis,
  losses,
  models,
  training,
  trajectory,
  unroll,
)
from steadygrad.cells import elman, leaky, stack
from steadygrad.symbols import OneHot, Symbols, sampler
from steadygrad.tasks import TASKS
from steadygrad.training import Data, TaskConfig, batches
from steadygrad.types import Batch

pytestmark = pytest.mark.usefixtures("quickly_compiled")

STEPS, BATCH, UNITS, FEW, MANY = 7, 3, 5, 4, 40
ROUNDING = 1e-12
LENGTHS = (7, 0, 4)


def cell_of(name, size):
  if name == "leaky":
    return leaky(size, UNITS)
  form, bias = ("h", True) if name == "h" else ("x", name != "no_bias")
  cell = elman(size, UNITS, form=form, use_bias=bias, dtype=jnp.float64)
  if name == "generic":
    return cell._replace(fused=None)
  if name == "stack":
    return stack([cell, elman(UNITS, UNITS, dtype=jnp.float64)])
  return cell


def model_of(name, size):
  both = name == "bidirectional"
  readout = models.linear_readout(UNITS * (1 + both), 3, dtype=jnp.float64)
  cell = cell_of(name, size)
  if both:
    return models.bidirectional(cell, cell_of("h", size), readout)
  return models.recurrent(cell, readout)


def pair(size, lengths=LENGTHS):
  """The same batch with symbols and with one-hot numbers."""
  rng = np.random.default_rng(0)
  us = Symbols(
    jnp.asarray(rng.integers(0, size, (STEPS, BATCH)), jnp.uint8), size
  )
  batch = Batch(us, jnp.array([0, 2, 1]), jnp.array(lengths))
  return batch, batch._replace(us=us.one_hot())


def close(a, b):
  chex.assert_trees_all_close(a, b, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
  "name, size, every",
  [
    ("x", FEW, None),
    ("h", MANY, None),
    ("no_bias", MANY, None),
    ("generic", FEW, None),
    ("stack", MANY, None),
    ("x", FEW, 2),
    ("leaky", FEW, None),
    ("bidirectional", FEW, None),
  ],
)
def test_gradients_are_those_of_one_hot_numbers(x64, name, size, every):
  model = model_of(name, size)
  params = model.init(jax.random.key(0))
  given = pair(size)
  fn = jax.jit(adjoints(model, losses.cross_entropy, checkpoint_every=every))
  (loss, grads, seen), (wanted, like, wide) = (fn(params, b) for b in given)
  exact = close if name != "leaky" else chex.assert_trees_all_equal
  exact((loss, grads), (wanted, like))
  exact((seen.deltas, seen.products), (wide.deltas, wide.products))
  assert isinstance(seen.us, Symbols) == model.cell.reads_symbols
  moved = jax.tree.leaves(grads["cell"])
  assert all(float(jnp.abs(g).max()) > 0 for g in moved)


def test_whoever_takes_inputs_takes_symbols(x64):
  model = model_of("x", FEW)
  params = model.init(jax.random.key(0))
  symbols, numbers = pair(FEW)
  for apply in (
    lambda us, n: model.apply(params, us, n),
    lambda us, n: unroll(model.cell, params["cell"], us, lengths=n),
    lambda us, n: trajectory(
      model.cell,
      params["cell"],
      us,
      lengths=n,
      dys=jnp.ones((STEPS, BATCH, UNITS)),
    )._replace(us=()),
  ):
    apply = jax.jit(apply)
    close(*(apply(b.us, b.lengths) for b in (symbols, numbers)))


@pytest.mark.parametrize(
  "make",
  [
    lambda m: analysis.error_signals(m, losses.cross_entropy),
    lambda m: analysis.temporal_contributions(
      m, losses.cross_entropy, steps=(-1,)
    ),
    lambda m: analysis.dynamics_recorder(
      m, losses.cross_entropy, num_starts=1, settle_steps=20
    ),
  ],
  ids=["signals", "contributions", "recorder"],
)
def test_analyses_take_symbols_as_numbers(x64, make):
  model = model_of("x", FEW)
  params = model.init(jax.random.key(0))
  fn = jax.jit(make(model))
  close(*(fn(params, b._replace(lengths=None)) for b in pair(FEW)))


def test_what_is_no_symbol_counts_as_the_nearest(x64):
  us = Symbols(jnp.array([[-1, 1, 9]]), 3)
  wanted = Symbols(jnp.array([[0, 1, 2]]), 3)
  cell = cell_of("x", 3)
  params = cell.init(jax.random.key(0))
  np.testing.assert_array_equal(us.one_hot(), wanted.one_hot())
  close(unroll(cell, params, us), unroll(cell, params, wanted))


def test_symbols_of_another_number_are_named(x64):
  model = model_of("x", FEW)
  params = model.init(jax.random.key(0))
  with pytest.raises(ValueError, match=r"us must be \[T, B, M\].*got 40"):
    model.apply(params, pair(MANY)[0].us)
  assert pair(MANY)[0].us.shape == (STEPS, BATCH, MANY)
  assert len(pair(MANY)[0].us) == STEPS


@pytest.mark.parametrize("name", sorted(TASKS))
def test_samples_are_one_hot_and_a_byte_is_behind_them(name):
  task = TASKS[name](20, None)
  key = jax.random.key(3)
  us = task.sample(key, 2).us
  assert us.shape[2] == task.input_size and not isinstance(us, Symbols)
  if not isinstance(task.sample, OneHot):
    assert sampler(task.sample) is task.sample
    return
  behind = sampler(task.sample)(key, 2).us
  assert behind.values.dtype == jnp.uint8 and behind.size == task.input_size
  np.testing.assert_array_equal(us, behind.one_hot())
  np.testing.assert_array_equal(us.argmax(-1), behind.values)


def test_training_draws_symbols_for_whatever_model():
  config = TaskConfig(
    length=10, hidden_size=4, batch_size=3, check_size=10, test_size=10
  )
  exp = training.experiment(config)
  key = jax.random.key(0)
  state = training.init(exp, key)
  assert isinstance(
    exp.batches.draw(Data(), key, 0, (), state.params)[0].us, Symbols
  )
  other = training.experiment(dataclasses.replace(config, model="leaky"))
  mixed = exp._replace(model=other.model, init=other.init, chain=other.chain)
  start = training.init(mixed, key)
  step = jax.jit(lambda s: training.update(mixed, Data(), key, s))
  assert np.isfinite(step(start)[1]["loss"])


def test_a_sampler_put_in_place_of_a_tasks_own_is_the_one_that_is_used():
  exp = training.experiment(TaskConfig(length=10, hidden_size=4))
  task = exp.task

  def sample(key, size):
    return task.sample(key, size)._replace(targets=jnp.zeros(size, jnp.int32))

  source = batches.fresh(task._replace(sample=sample), exp.model, 3, 10)
  batch, _ = source.draw(Data(), jax.random.key(0), 0, (), None)
  assert not isinstance(batch.us, Symbols) and not batch.targets.any()
