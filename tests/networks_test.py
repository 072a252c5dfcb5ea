"""Every model that a configuration can name."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, training
from steadygrad.training import MODELS, CorpusConfig, Data, TaskConfig
from steadygrad.training.config import ALGORITHMS
from steadygrad.types import Batch, Model

pytestmark = pytest.mark.usefixtures("quickly_compiled")

INPUTS, OUTPUTS, UNITS, STEPS, BATCH = 3, 2, 4, 6, 3
LENGTHS = (6, 0, 3)
# float32 sums in another order, of numbers of order 1.
SAME = dict(rtol=1e-5, atol=1e-6)
KEY = jax.random.key(0)

# Ω is of error signals that go from state to state.
WITHOUT_OMEGA = {"transformer"}

every_model = pytest.mark.parametrize("name", MODELS)
either_readout = pytest.mark.parametrize("reads", ["last", "every"])


@functools.cache
def model(name, reads):
  config = TaskConfig(model=name, hidden_size=UNITS, algorithm="msgd_c")
  made = training.model_of(config, INPUTS, OUTPUTS, reads)
  assert isinstance(made, Model)
  return made


@functools.cache
def problem(name, reads, seed=0):
  """(params, batch), the weights of order 1."""
  keys = jax.random.split(jax.random.key(seed), 3)
  params = jax.tree.map(lambda p: 2 * p, model(name, reads).init(keys[0]))
  shape = (BATCH, OUTPUTS) if reads == "last" else (STEPS, BATCH, OUTPUTS)
  us = jax.random.normal(keys[1], (STEPS, BATCH, INPUTS))
  targets = jax.random.normal(keys[2], shape)
  return params, Batch(us, targets, jnp.array(LENGTHS))


def squared_error(outputs, batch):
  return jnp.mean(jnp.square(outputs - batch.targets))


@every_model
@either_readout
def test_shapes(name, reads):
  made, (params, batch) = model(name, reads), problem(name, reads)
  assert {"cell", "readout"} <= params.keys()
  outputs = made.apply(params, batch.us, batch.lengths)
  assert outputs.shape == batch.targets.shape
  states = jax.tree.leaves(made.cell.initial_state(params["cell"], BATCH))
  assert {x.shape for x in states} == {(BATCH, UNITS)}


@every_model
@either_readout
def test_steps_beyond_a_length_change_nothing(name, reads):
  made, (params, batch) = model(name, reads), problem(name, reads)
  outputs = made.apply(params, batch.us, batch.lengths)
  for b, length in enumerate(LENGTHS):
    if length:
      alone = made.apply(params, batch.us[:length, b : b + 1])[..., 0, :]
      got = outputs[b] if reads == "last" else outputs[:length, b]
      np.testing.assert_allclose(got, alone, **SAME)


@every_model
@either_readout
def test_explicit_gradients_are_those_of_autodiff(name, reads):
  made, (params, batch) = model(name, reads), problem(name, reads)

  def loss_of(params):
    outputs = made.apply(params, batch.us, batch.lengths)
    return squared_error(outputs, batch)

  explicit = jax.jit(adjoints(made, squared_error))(params, batch)[:2]
  wanted = jax.jit(jax.value_and_grad(loss_of))(params)
  chex.assert_trees_all_close(explicit, wanted, **SAME)


@every_model
def test_vmap_over_seeds_equals_a_loop(name):
  made, batch = model(name, "last"), problem(name, "last")[1]
  run = jax.jit(lambda key: made.apply(made.init(key), batch.us))
  keys = jax.random.split(KEY, 3)
  got = jax.jit(jax.vmap(run))(keys)
  np.testing.assert_allclose(got, jnp.stack([run(k) for k in keys]), **SAME)
  assert not np.allclose(got[0], got[1])


SMALL = TaskConfig(
  length=10, hidden_size=UNITS, batch_size=2, check_size=2, test_size=2
)


@every_model
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_it(name, algorithm):
  """One program makes updates that move every leaf to finite numbers."""
  if name in WITHOUT_OMEGA and algorithm == "msgd_cr":
    with pytest.raises(ValueError, match=f"algorithm must be .*{name}"):
      TaskConfig(model=name, hidden_size=UNITS)
    return
  config = dataclasses.replace(SMALL, model=name, algorithm=algorithm)
  exp, traces = training.experiment(config), []

  @jax.jit
  def update(state):
    traces.append(1)
    return training.update(exp, Data(), KEY, state)

  state = start = training.init(exp, KEY)
  for _ in range(2):
    state, info = update(state)
  assert len(traces) == 1
  assert ("omega" in info) == (algorithm == "msgd_cr")
  assert all(np.isfinite(value) for value in info.values())
  chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
  for before, after in zip(
    jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True
  ):
    assert np.isfinite(after).all() and (before != after).any()


@every_model
def test_weight_decay_is_of_all_but_the_eigenvalues(name):
  """Without a gradient parameters shrink by rate times decay."""
  config = dataclasses.replace(
    SMALL, model=name, algorithm="msgd_c", optimizer="adamw", weight_decay=0.5
  )
  exp = training.experiment(config)
  tx, params = exp.chain(None), exp.init(KEY)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zeros, tx.init(params), params, trajectory=None)
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    wanted = params
    for key in path:
      wanted = wanted[getattr(key, "key", getattr(key, "idx", None))]
    spared = name == "lru" and path[-1].key in ("nu", "theta", "gamma")
    decay = 0.0 if spared else config.learning_rate * 0.5
    np.testing.assert_allclose(update, -decay * wanted, rtol=1e-5)


@every_model
@pytest.mark.parametrize("kind", [TaskConfig, CorpusConfig])
def test_every_kind_of_run_names_it(name, kind):
  config = kind(model=name, hidden_size=UNITS, algorithm="msgd_c")
  made = training.model_of(config, INPUTS, OUTPUTS, "every")
  us = problem(name, "every")[1].us
  outputs = jax.eval_shape(lambda key: made.apply(made.init(key), us), KEY)
  assert outputs.shape == (STEPS, BATCH, OUTPUTS)
