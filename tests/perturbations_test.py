"""Kicks, and a learning rate that falls: what an update then is."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from starts_test import TINY

from steadygrad import perturbations, training
from steadygrad.adjoints import adjoints
from steadygrad.types import Batch


def changed(config=TINY, **changes):
  return training.experiment(dataclasses.replace(config, **changes))


@pytest.mark.parametrize("lengths", [None, 7, "each"])
def test_a_kick_is_at_one_step_of_each_sequence(lengths):
  num_steps, batch_size, key = 9, 6000, jax.random.key(0)
  own = np.full(batch_size, lengths or num_steps)
  if lengths == "each":
    own = 3 + np.arange(batch_size) % 3
    lengths = jnp.array(own)
  lengths = None if lengths is None else jnp.asarray(lengths)
  us = jax.random.normal(key, (num_steps, batch_size, 4))
  batch = Batch(us, jnp.arange(batch_size), lengths)
  kicked = perturbations.kick(batch, 0.5, jax.random.key(1))
  assert kicked.targets is batch.targets and kicked.lengths is lengths
  moved = np.asarray(kicked.us - us)
  where = np.any(moved != 0, axis=-1)
  np.testing.assert_array_equal(where.sum(0), 1)
  steps = where.argmax(0)
  for length in set(own.tolist()):
    counts = np.bincount(steps[own == length], minlength=num_steps)
    assert not counts[length:].any()
    expected = np.sum(own == length) / length
    np.testing.assert_allclose(
      counts[:length], expected, atol=5 * expected**0.5
    )
  kicks = moved[where]  # 24000 numbers.
  np.testing.assert_allclose(kicks.mean(), 0, atol=0.017)
  np.testing.assert_allclose(kicks.std(), 0.5, atol=0.012)


def test_an_update_sees_the_kicks_and_checks_do_not():
  key = jax.random.key(1)
  exp, plain = changed(kick_scale=2.0), changed()
  state = training.init(exp, key)
  _, info = training.train_step(exp, key, state)
  data_key = jax.random.fold_in(key, training.Stream.DATA)
  batch = exp.task.sample(jax.random.fold_in(data_key, 0), 4)
  kicked, x_0 = training._perturbed(exp, key, state, batch)
  own_key = jax.random.fold_in(key, training.Stream.KICK)  # Not the data's.
  own_key = jax.random.fold_in(own_key, 0)
  expected = perturbations.kick(batch, 2.0, own_key)
  np.testing.assert_array_equal(kicked.us, expected.us)
  assert x_0 is None and np.any(kicked.us != batch.us)
  loss, _, _ = adjoints(exp.model, exp.task.loss)(state.params, kicked)
  np.testing.assert_allclose(info["loss"], loss, rtol=1e-6)
  assert info["loss"] != training.train_step(plain, key, state)[1]["loss"]
  later, _ = training._perturbed(exp, key, state._replace(step=1), batch)
  assert np.any(later.us != kicked.us)
  checks = [training.check(e, key, state)[1]["error"] for e in (exp, plain)]
  assert checks[0] == checks[1]
  errors = [training.test_error(e, key, state) for e in (exp, plain)]
  assert errors[0] == errors[1]


@pytest.mark.parametrize("algorithm", ["msgd", "msgd_c", "msgd_cr"])
def test_the_rate_falls_to_zero(algorithm):
  key = jax.random.key(2)
  exp = changed(algorithm=algorithm, anneal_over=4)
  constant = changed(algorithm=algorithm)
  state, plain = training.init(exp, key), training.init(constant, key)
  for share in (1, 0.75, 0.5, 0.25, 0, 0):
    plain = plain._replace(params=state.params, step=state.step)
    before = state.params
    state, _ = training.train_step(exp, key, state)
    full = training.train_step(constant, key, plain)[0].params
    expected = optax.incremental_update(full, before, share)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-5, atol=1e-6)
    assert share or all(
      np.array_equal(a, b)
      for a, b in zip(
        *map(jax.tree.leaves, (state.params, before)), strict=True
      )
    )


def test_a_traced_rate_falls_too():
  config = dataclasses.replace(TINY, anneal_over=4)
  key = jax.random.key(3)

  @jax.jit
  def twice(rate):
    numbers = training.hyper(config)._replace(learning_rate=rate)
    exp = training.experiment(config, numbers)
    state = training.init(exp, key)
    for _ in range(2):
      state, _ = training.train_step(exp, key, state)
    return state.params

  exp = training.experiment(config)
  state = training.init(exp, key)
  for _ in range(2):
    state, _ = training.train_step(exp, key, state)
  chex.assert_trees_all_close(twice(0.1), state.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  "field, value, said",
  [
    ("kick_scale", 0.0, "kick_scale must be greater than 0, got 0.0"),
    ("kick_scale", float("inf"), "kick_scale must be finite"),
    ("anneal_over", 0, "anneal_over must be at least 1, got 0"),
  ],
)
def test_wrong_values_are_named(field, value, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(TINY, **{field: value})
