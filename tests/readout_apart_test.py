"""The readout with a learning rate and a norm of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, training, transforms
from steadygrad.training import Data, TaskConfig
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

RATE, READOUT_RATE = 0.01, 3.0
# Both norms are over it at the start, so that both parts are clipped.
MAX_NORM = 1e-3
CONFIG = TaskConfig(
  task="memorization_5_bits",
  length=6,
  hidden_size=8,
  init="orthogonal_quiet",
  learning_rate=RATE,
  readout_learning_rate=READOUT_RATE,
  max_norm=MAX_NORM,
  check_size=50,
  test_size=250,
)


def norm(tree):
  return np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))


def one_update(config, key):
  """(parameters before, parameters after, info) of the first update."""
  exp = training.experiment(config)
  state = training.init(exp, key)
  after, info = jax.jit(lambda s: training.update(exp, Data(), key, s))(state)
  return state.params, after.params, info


def gradients(config, key, params):
  """Gradients of the first batch, with weight · dOmega for MSGD-CR."""
  exp = training.experiment(config)
  data_key = jax.random.fold_in(key, training.Stream.DATA)
  batch = exp.task.sample(jax.random.fold_in(data_key, 0), config.batch_size)
  _, grads, trajectory = adjoints(exp.model, exp.task.loss)(params, batch)
  if config.algorithm == "msgd_cr":
    link = transforms.add_omega_gradient(exp.model.cell, config.omega_weight)
    grads, _ = link.update(grads, link.init(params), trajectory=trajectory)
  return grads


@pytest.mark.parametrize("algorithm", [*nightly("msgd", "msgd_c"), "msgd_cr"])
def test_each_part_is_clipped_by_its_own_norm(algorithm):
  config = dataclasses.replace(CONFIG, algorithm=algorithm)
  key = jax.random.key(3)
  before, after, info = one_update(config, key)
  grads = gradients(config, key, before)
  rates = {"cell": RATE, "readout": READOUT_RATE}
  for part, name in (("cell", ""), ("readout", "_2")):
    length = norm(grads[part])
    assert length > MAX_NORM
    scale = 1 if algorithm == "msgd" else MAX_NORM / length
    np.testing.assert_allclose(info[f"gradient_norm{name}"], length, rtol=1e-5)
    assert bool(info[f"clipped{name}"]) == (algorithm != "msgd")
    for leaf, gradient in grads[part].items():
      wanted = before[part][leaf] - rates[part] * scale * gradient
      # A parameter is known to a rounding of its own.
      np.testing.assert_allclose(
        after[part][leaf], wanted, rtol=1e-6, atol=1e-8, err_msg=leaf
      )


def test_at_the_same_rate_and_unclipped_it_changes_nothing():
  config = dataclasses.replace(
    CONFIG, max_norm=np.inf, readout_learning_rate=RATE
  )
  joint = dataclasses.replace(config, readout_learning_rate=None)
  key = jax.random.key(4)
  apart, together = (one_update(c, key)[1] for c in (config, joint))
  for a, b in zip(
    jax.tree.leaves(apart), jax.tree.leaves(together), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_one_program_serves_many_thresholds():
  key = jax.random.key(5)

  @jax.jit
  def readout(max_norm):
    traced = training.hyper(CONFIG)._replace(max_norm=max_norm)
    exp = training.experiment(CONFIG, traced)
    state = training.init(exp, key)
    after, _ = training.update(exp, Data(), key, state)
    moved = jax.tree.map(jnp.subtract, after.params, state.params)
    return moved["readout"]

  moved = jax.vmap(readout)(jnp.array([1e-3, 5e-4]))
  for i, limit in enumerate((1e-3, 5e-4)):
    part = jax.tree.map(lambda x, i=i: x[i], moved)
    assert norm(part) == pytest.approx(READOUT_RATE * limit, rel=1e-4)


def test_it_learns_where_the_joint_norm_does_not_leave_chance():
  """Five bits over 20 blanks: the mechanism, at a size for a test."""
  errors = []
  for rate in (10.0, None):
    config = dataclasses.replace(
      CONFIG,
      length=20,
      hidden_size=40,
      max_norm=0.1,
      readout_learning_rate=rate,
      max_updates=600,
      check_every=600,
    )
    exp = training.experiment(config)
    run = jax.jit(lambda key, exp=exp: training.run(exp, key)[1]["test_error"])
    errors.append(float(run(jax.random.key(0))))
  assert errors[0] < 0.1 < 0.9 < errors[1]
