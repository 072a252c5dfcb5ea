"""Losses and success rules against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import losses
from steadygrad.types import Batch

pytestmark = pytest.mark.usefixtures("quickly_compiled")

T, B, O = 7, 5, 3
# float32 sums of some tens of terms.
ROUNDING = 1e-6


def batch_of(targets, lengths):
  us = jnp.zeros((T, B, 1))
  lengths = None if lengths is None else jnp.asarray(lengths)
  return Batch(us, jnp.asarray(targets), lengths)


LENGTHS = [None, 4, [7, 1, 3, 5, 2]]


def counted(lengths):
  """(t, b) pairs that count."""
  each = np.broadcast_to(T if lengths is None else lengths, B)
  return [(t, b) for b in range(B) for t in range(each[b])]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_squared_error_at_every_step(rng, lengths):
  y, target = rng.normal(size=(2, T, B, O)).astype(np.float32)
  errors = [np.sum((y[p] - target[p]) ** 2) for p in counted(lengths)]
  found = losses.squared_error(jnp.asarray(y), batch_of(target, lengths))
  np.testing.assert_allclose(found, np.mean(errors), rtol=ROUNDING)


def test_squared_error_of_the_last_step_ignores_lengths(rng):
  y, target = rng.normal(size=(2, B, O)).astype(np.float32)
  expected = np.mean([np.sum((y[b] - target[b]) ** 2) for b in range(B)])
  for lengths in LENGTHS:
    found = losses.squared_error(jnp.asarray(y), batch_of(target, lengths))
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_cross_entropy_at_every_step(rng, lengths):
  logits = rng.normal(size=(T, B, O)).astype(np.float32)
  classes = rng.integers(O, size=(T, B))
  terms = []
  for p in counted(lengths):
    e = np.exp(logits[p].astype(np.float64))
    terms.append(-np.log(e[classes[p]] / e.sum()))
  found = losses.cross_entropy(jnp.asarray(logits), batch_of(classes, lengths))
  np.testing.assert_allclose(found, np.mean(terms), rtol=ROUNDING)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("rule", ["misclassified", "off_by_a_fifth"])
def test_a_sequence_is_wrong_if_a_step_that_counts_is(rng, lengths, rule):
  classes = rng.integers(O, size=(T, B))
  right = np.eye(O, dtype=np.float32)[classes]
  targets = classes if rule == "misclassified" else right
  batch = batch_of(targets, lengths)
  rule = getattr(losses, rule)
  assert not rule(jnp.asarray(right), batch).any()
  for t in range(T):
    for b in range(B):
      outputs = right.copy()
      outputs[t, b] = np.roll(outputs[t, b], 1)
      expected = np.zeros(B, bool)
      expected[b] = (t, b) in counted(lengths)
      np.testing.assert_array_equal(rule(jnp.asarray(outputs), batch), expected)
      outputs[t, b] = np.nan
      np.testing.assert_array_equal(rule(jnp.asarray(outputs), batch), expected)


def test_off_by_a_fifth_is_a_squared_error_above_004():
  errors = np.array([0.0, 0.19, 0.2001, -0.19, -0.2001, 0.04], np.float32)
  batch = Batch(jnp.zeros((1, 6, 1)), jnp.zeros((6, 1)))
  found = losses.off_by_a_fifth(jnp.asarray(errors[:, None]), batch)
  assert found.tolist() == [False, False, True, False, True, False]


def test_exactly_the_limit_is_right():
  batch = Batch(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1)))
  assert not losses.off_by_more(0.25, jnp.array([[0.5]]), batch).any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [-100, -1, O, O + 4])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("traced", [False, True])
def test_a_label_that_is_no_class(rng, smoothing, label, lengths, traced):
  """NaN where it counts, as is the gradient; nothing beyond a length."""
  logits = jnp.asarray(rng.normal(size=(T, B, O)), jnp.float32)
  classes = rng.integers(O, size=(T, B))

  def loss_of(logits, classes):
    batch = batch_of(classes, lengths)
    return losses.cross_entropy(logits, batch, smoothing)

  run = jax.value_and_grad(loss_of)
  run = jax.jit(run) if traced else run
  right = run(logits, jnp.asarray(classes))
  for place in ((0, 2), (T - 1, 1)):
    wrong = classes.copy()
    wrong[place] = label
    got = run(logits, jnp.asarray(wrong))
    if place in counted(lengths):
      assert np.isnan(got[0]) and np.isnan(got[1][place]).all()
    else:
      for a, b in zip(got, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_label_that_is_no_class_is_answered_wrongly():
  outputs = jnp.eye(O)
  for label in (-1, O, 255):
    batch = Batch(None, jnp.full(O, label))
    assert losses.misclassified(outputs, batch).all()
  batch = Batch(None, jnp.arange(O, dtype=jnp.uint8))
  assert not losses.misclassified(outputs, batch).any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_many_classes_in_a_small_dtype(smoothing):
  outputs = jnp.zeros((1, 300))
  for label in (0, 255):
    batch = Batch(None, jnp.array([label], jnp.uint8))
    found = losses.cross_entropy(outputs, batch, smoothing)
    np.testing.assert_allclose(found, np.log(300), rtol=ROUNDING)


@pytest.mark.parametrize("lengths", [0, [0] * B])
@pytest.mark.parametrize("name", ["cross_entropy", "squared_error"])
def test_where_nothing_counts_loss_and_gradient_are_zero(rng, name, lengths):
  outputs = jnp.asarray(rng.normal(size=(T, B, O)), jnp.float32)
  shape = (T, B) if name == "cross_entropy" else (T, B, O)
  batch = batch_of(np.zeros(shape, int), lengths)
  for run in (lambda f: f, jax.jit):
    found = run(jax.value_and_grad(getattr(losses, name)))(outputs, batch)
    assert found[0] == 0
    np.testing.assert_array_equal(found[1], np.zeros((T, B, O)))


def test_targets_beyond_a_length_may_be_nan(rng):
  outputs, targets = rng.normal(size=(2, T, B, O)).astype(np.float32)
  lengths = LENGTHS[-1]
  run = jax.value_and_grad(losses.squared_error)
  wanted = run(jnp.asarray(outputs), batch_of(targets, lengths))
  beyond = np.arange(T)[:, None] >= np.array(lengths)
  targets[beyond] = np.nan
  got = run(jnp.asarray(outputs), batch_of(targets, lengths))
  for a, b in zip(got, wanted, strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["squared_error", "off_by_a_fifth"])
def test_targets_of_another_shape_are_refused(name):
  batch = Batch(jnp.zeros((1, 4, 1)), jnp.zeros(4))
  with pytest.raises(ValueError, match=r"targets.*\(4, 1\).*\(4,\)"):
    getattr(losses, name)(jnp.zeros((4, 1)), batch)


@pytest.mark.parametrize("every_step", [False, True])
def test_smoothed_labels_against_the_sum_written_out(every_step):
  rng = np.random.default_rng(7)
  shape = (3, 5) if every_step else (5,)
  outputs = rng.normal(size=(*shape, 4)).astype(np.float32)
  targets = rng.integers(0, 4, shape)
  batch = Batch(None, jnp.asarray(targets))
  total = 0.0
  for place in np.ndindex(shape):
    logits = outputs[place].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum())
    wanted = np.full(4, 0.3 / 4)
    wanted[targets[place]] += 0.7
    total -= (wanted * log_p).sum()
  found = losses.cross_entropy(jnp.asarray(outputs), batch, smoothing=0.3)
  np.testing.assert_allclose(found, total / np.prod(shape), rtol=1e-5)


def test_smoothed_labels_ask_for_one_margin():
  """A right answer with a larger margin than the best has a gradient back."""
  batch = Batch(None, jnp.array([1]))
  best = np.log((0.9 + 0.1 / 4) / (0.1 / 4))

  def slope(margin):
    outputs = jnp.zeros((1, 4)).at[0, 1].set(margin)
    loss = jax.grad(losses.cross_entropy)
    return float(loss(outputs, batch, 0.1)[0, 1])

  assert slope(best - 1) < -1e-2 < 1e-2 < slope(best + 1)
  assert abs(slope(best)) < 1e-6
