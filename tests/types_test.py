"""Batches from arrays whose first axis is the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints
from steadygrad.cells import elman
from steadygrad.losses import cross_entropy, squared_error
from steadygrad.models import linear_readout, recurrent
from steadygrad.types import Batch

T, B, M, O = 5, 3, 2, 4


def draw(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_time_comes_first(kind):
  us, targets = draw(B, T, M), draw(B, T, O)
  batch = Batch.from_batch_major(kind(us), kind(targets), [5, 0, 2])
  assert isinstance(batch, Batch) and batch.lengths == [5, 0, 2]
  for t in range(T):
    for b in range(B):
      np.testing.assert_array_equal(batch.us[t, b], us[b, t])
      np.testing.assert_array_equal(batch.targets[t, b], targets[b, t])


def test_targets_of_the_last_step_stay_as_they_are():
  us, targets = draw(B, T, M), draw(B, O)
  batch = Batch.from_batch_major(us, targets)
  np.testing.assert_array_equal(batch.targets, targets)
  # As many outputs as steps: only the caller knows.
  targets = draw(B, T)
  stay = Batch.from_batch_major(us, targets, reads="last").targets
  np.testing.assert_array_equal(stay, targets)
  for reads in (None, "every"):
    turned = Batch.from_batch_major(us, targets, reads=reads).targets
    np.testing.assert_array_equal(turned, targets.T)


def test_targets_may_be_a_tree():
  targets = {"classes": draw(B, T), "weights": draw(B), "none": None}
  batch = Batch.from_batch_major(draw(B, T, M), targets)
  assert batch.targets["classes"].shape == (T, B)
  assert batch.targets["weights"].shape == (B,)
  assert batch.targets["none"] is None


@pytest.mark.parametrize("reads", ["last", "every"])
def test_the_loss_is_that_of_each_sequence(reads):
  """Also where B = T, where the shapes of a mistake would be right."""
  model = recurrent(elman(M, 3), linear_readout(3, O, reads=reads))
  params = model.init(jax.random.key(0))
  us = draw(T, T, M)
  targets = draw(T, T, O) if reads == "every" else draw(T, O)
  run = adjoints(model, squared_error)
  loss = run(params, Batch.from_batch_major(us, targets))[0]
  each = [
    run(params, Batch.from_batch_major(us[i : i + 1], targets[i : i + 1]))[0]
    for i in range(T)
  ]
  np.testing.assert_allclose(loss, np.mean(each), rtol=1e-5)


def test_batch_major_arrays_are_refused_where_shapes_tell():
  model = recurrent(elman(M, 3), linear_readout(3, O))
  params = model.init(jax.random.key(0))
  us, classes = draw(64, 30, M), np.zeros(64, int)
  run = adjoints(model, cross_entropy)
  said = r"us are \[T, B, M\] with T = 64, B = 30.*64.*batch-major"
  with pytest.raises(ValueError, match=said):
    run(params, Batch(us, classes))
  assert np.isfinite(run(params, Batch.from_batch_major(us, classes))[0])


def test_targets_of_a_loss_of_ones_own_are_not_restricted():
  """Only an axis of T where one of B is due is a mistake for certain."""
  model = recurrent(elman(M, 3), linear_readout(3, O))
  params = model.init(jax.random.key(0))
  us = draw(T, B, M)

  def nearest(outputs, batch):
    prototypes = batch.targets
    distances = jnp.sum((outputs[:, None] - prototypes[None]) ** 2, -1)
    return jnp.mean(jnp.min(distances, 1))

  for count in (1, 2, B, 7):
    loss = adjoints(model, nearest)(params, Batch(us, draw(count, O)))[0]
    assert np.isfinite(loss)
