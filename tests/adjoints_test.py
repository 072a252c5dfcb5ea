"""Error signals, products and gradients of the explicit backward pass."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, transforms
from steadygrad.types import Batch
from tests import cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 6 steps of 4 units, numbers of order 1. The issue asks
# for this figure; 1e-15 is typical.
ROUNDING = 1e-12

LENGTHS = sorted(cases.LENGTHS)


def make_batch(reads, lengths, *, weighted="every", seed=1):
  """Inputs, and targets with a weight for every (step, sequence) that is read.

  Steps beyond a length are read and weighted too: the state held there is the
  last one, and its gradient has to arrive at the last step that counts. Of the
  readout on "every" step the loss "last" weights the last one only.
  """
  rng = np.random.default_rng(seed)
  us = rng.normal(size=(cases.STEPS, cases.BATCH, cases.INPUTS))
  targets = rng.normal(size=(cases.STEPS, cases.BATCH, cases.OUTPUTS))
  weights = rng.uniform(0.5, 2, size=(cases.STEPS, cases.BATCH))
  if reads == "last":
    targets, weights = targets[-1], weights[-1]
  elif weighted == "last":
    weights[:-1] = 0
  lengths = None if lengths is None else jnp.asarray(lengths)
  return Batch(
    jnp.asarray(us), (jnp.asarray(targets), jnp.asarray(weights)), lengths
  )


def oracle(name, params, batch, reads):
  """Loss, gradients and Bptt of the oracle."""
  case = cases.case(name)
  cell, readout = (oracles.to_numpy(params[k]) for k in ("cell", "readout"))
  us = np.asarray(batch.us)
  targets, weights = (np.asarray(x) for x in batch.targets)
  if reads == "last":
    targets = np.tile(targets, (len(us), 1, 1))
    weights = np.concatenate([np.zeros((len(us) - 1, len(weights))), [weights]])
  lengths = np.broadcast_to(
    len(us) if batch.lengths is None else np.asarray(batch.lengths),
    us.shape[1],
  )
  x_0 = case.initial(cell, us.shape[1])
  xs = oracles.forward(case.step, cell, us, x_0, lengths)
  loss, d_readout, dxs = oracles.squared_error(
    case.output, readout, xs, targets, weights
  )
  back = oracles.bptt(case.step, cell, us, x_0, xs, dxs, lengths)
  start = oracles.pulled_back(
    lambda p: case.initial(p, us.shape[1]), cell, back.dx_0
  )
  grads = jax.tree.map(np.add, back.grads, start)
  return loss, {"cell": grads, "readout": d_readout}, back, xs


# Every program once: the readout on the last step with one kind of lengths, the
# one on every step with all of them and with both weightings.
PROGRAMS = [("last", "ragged", "every")] + [
  ("every", lengths, weighted)
  for lengths in LENGTHS
  for weighted in ("every", "last")
]


@pytest.mark.parametrize("reads, lengths, weighted", PROGRAMS)
@pytest.mark.parametrize("name", cases.NAMES)
def test_equals_numpy_bptt(x64, name, reads, lengths, weighted):
  params = cases.draw_params(name)
  batch = make_batch(reads, cases.LENGTHS[lengths], weighted=weighted)
  run = cases.compiled_adjoints(name, reads)
  loss, grads, trajectory = run(params, batch)
  expected_loss, expected, back, xs = oracle(name, params, batch, reads)

  np.testing.assert_allclose(loss, expected_loss, rtol=ROUNDING)
  chex.assert_trees_all_close(grads, expected, rtol=ROUNDING, atol=ROUNDING)
  for got, wanted in (
    (trajectory.xs, xs),
    (trajectory.deltas, back.deltas),
    (trajectory.products, back.products),
  ):
    np.testing.assert_allclose(
      oracles.flat(got), wanted, rtol=ROUNDING, atol=ROUNDING
    )
  chex.assert_trees_all_equal(trajectory.params, params["cell"])
  chex.assert_trees_all_equal(trajectory.us, batch.us)


@functools.cache
def compiled_tap_gradient(name):
  """Gradient of the loss at zeros added to each x_t: a scan of plain steps."""
  model = cases.model(name, "every")
  cell = model.cell

  def loss_of(taps, params, batch):
    def step(x_tm1, inputs):
      u_t, taps_t, t = inputs
      x_t = cell.step(params["cell"], x_tm1, u_t)
      x_t = jax.tree.map(jnp.add, x_t, taps_t)
      counts = (t < batch.lengths)[:, None]
      x_t = jax.tree.map(lambda x, o: jnp.where(counts, x, o), x_t, x_tm1)
      return x_t, x_t

    x_0 = cell.initial_state(params["cell"], cases.BATCH)
    inputs = (batch.us, taps, jnp.arange(cases.STEPS))
    xs = jax.lax.scan(step, x_0, inputs)[1]
    outputs = model.readout.apply(params["readout"], cell.output(xs))
    return cases.squared_error(outputs, batch)

  return jax.jit(jax.grad(loss_of))


@pytest.mark.parametrize("weighted", ["last", "every"])
@pytest.mark.parametrize("name", cases.NAMES)
def test_error_signals_equal_the_gradient_at_a_zero_tap(x64, name, weighted):
  params = cases.draw_params(name)
  for lengths in cases.LENGTHS.values():
    batch = make_batch("every", lengths, weighted=weighted)
    _, _, trajectory = cases.compiled_adjoints(name, "every")(params, batch)
    taps = jax.tree.map(jnp.zeros_like, trajectory.xs)
    lengths = jnp.broadcast_to(
      jnp.asarray(cases.STEPS if lengths is None else lengths), cases.BATCH
    )
    expected = compiled_tap_gradient(name)(
      taps, params, batch._replace(lengths=lengths)
    )
    chex.assert_trees_all_close(
      trajectory.deltas, expected, rtol=ROUNDING, atol=ROUNDING
    )


@pytest.mark.parametrize("name", cases.NAMES)
def test_error_signal_of_step_1_under_a_loss_on_the_last_step(x64, name):
  """It is the total derivative; the immediate one is zero there."""
  params = cases.draw_params(name)
  batch = make_batch("every", None, weighted="last")
  _, _, trajectory = cases.compiled_adjoints(name, "every")(params, batch)
  first = oracles.flat(trajectory.deltas)[0]
  # With weights of this size six steps shrink a signal of order 1 by far less.
  assert (np.linalg.norm(first, axis=-1) > 1e-6).all()


@pytest.mark.parametrize("name", cases.NAMES)
def test_gradients_equal_jax_grad_through_apply(x64, name):
  params = cases.draw_params(name)
  model = cases.model(name, "last")
  batch = make_batch("last", cases.LENGTHS["ragged"])

  @jax.jit
  @jax.value_and_grad
  def reference(params, batch):
    outputs = model.apply(params, batch.us, batch.lengths)
    return cases.squared_error(outputs, batch)

  loss, grads, _ = cases.compiled_adjoints(name, "last")(params, batch)
  expected_loss, expected = reference(params, batch)
  np.testing.assert_allclose(loss, expected_loss, rtol=ROUNDING)
  chex.assert_trees_all_close(grads, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["elman_x_tanh", "lstm"])
def test_what_lies_beyond_a_length_is_never_seen(x64, name):
  """Other inputs beyond the lengths change nothing, not even a bit."""
  params = cases.draw_params(name)
  batch = make_batch("last", cases.LENGTHS["ragged"])
  run = cases.compiled_adjoints(name, "last")
  beyond = np.arange(cases.STEPS)[:, None] >= np.asarray(batch.lengths)
  assert beyond.any()
  us = jnp.where(beyond[..., None], 7.0, batch.us)
  for got, wanted in zip(
    run(params, batch._replace(us=us))[:2], run(params, batch)[:2], strict=True
  ):
    chex.assert_trees_all_equal(got, wanted)


@pytest.mark.parametrize("every", [None, 4])
@pytest.mark.parametrize("name", ["elman_x_tanh", "elman_h_tanh", "lstm"])
def test_inputs_beyond_a_length_may_be_nan(x64, name, every):
  """Losses and gradients, ours and JAX's, are those of zeros in their place."""
  params, model = cases.draw_params(name), cases.model(name, "every")
  batch = make_batch("every", cases.LENGTHS["ragged"])
  beyond = np.arange(cases.STEPS)[:, None] >= np.asarray(batch.lengths)

  @jax.jit
  def run(us):
    given = batch._replace(us=us)

    def loss_of(params):
      outputs = model.apply(params, us, batch.lengths)
      return cases.squared_error(outputs, given)

    explicit = adjoints(model, cases.squared_error, checkpoint_every=every)
    loss, grads, trajectory = explicit(params, given)
    cell = model.cell
    omega = transforms.omega_terms(trajectory)
    d_omega = transforms.omega_gradient(cell, trajectory, omega.cotangents)
    return loss, grads, jax.grad(loss_of)(params), omega.omega, d_omega

  wanted = run(jnp.where(beyond[..., None], 0.0, batch.us))
  for value in (np.nan, np.inf):
    got = run(jnp.where(beyond[..., None], value, batch.us))
    chex.assert_trees_all_equal(got, wanted)


@pytest.mark.parametrize("kind", [list, tuple])
def test_lengths_that_are_no_array(x64, kind):
  name = "elman_x_tanh"
  params, batch = cases.draw_params(name), make_batch("last", (6, 0, 3))
  run, model = cases.compiled_adjoints(name, "last"), cases.model(name, "last")
  given = batch._replace(lengths=kind((6, 0, 3)))
  wanted = run(params, batch)[:2]
  eager = adjoints(model, cases.squared_error)
  for f in (run, eager):
    got = f(params, given)[:2]
    chex.assert_trees_all_close(got, wanted, rtol=ROUNDING, atol=ROUNDING)
  chex.assert_trees_all_equal(
    model.apply(params, batch.us, given.lengths),
    model.apply(params, batch.us, batch.lengths),
  )


@pytest.mark.parametrize("name", ["elman_h_tanh", "gru"])
def test_mask_and_zeros_beyond_a_length(x64, name):
  params = cases.draw_params(name)
  run = cases.compiled_adjoints(name, "every")
  for lengths in cases.LENGTHS.values():
    batch = make_batch("every", lengths)
    trajectory = run(params, batch)[2]
    if lengths is None:
      assert trajectory.mask is None
      continue
    steps = np.arange(cases.STEPS)[:, None]
    counts = np.broadcast_to(
      steps < np.asarray(lengths), (cases.STEPS, cases.BATCH)
    )
    np.testing.assert_array_equal(trajectory.mask, counts)
    for sequence in (trajectory.deltas, trajectory.products):
      assert (oracles.flat(sequence)[~counts] == 0).all()


def test_aux_comes_with_the_loss(x64):
  name = "elman_x_tanh"
  params, batch = cases.draw_params(name), make_batch("last", (6, 0, 3))

  def loss_fn(outputs, batch):
    return cases.squared_error(outputs, batch), {"outputs": outputs}

  run = jax.jit(adjoints(cases.model(name, "last"), loss_fn, has_aux=True))
  (loss, aux), grads, trajectory = run(params, batch)
  expected = cases.compiled_adjoints(name, "last")(params, batch)
  chex.assert_shape(aux["outputs"], (cases.BATCH, cases.OUTPUTS))
  chex.assert_trees_all_close(
    (loss, grads, trajectory), expected, rtol=ROUNDING, atol=ROUNDING
  )


def test_vmap_over_seeds_equals_a_loop(x64):
  name, run = "elman_x_tanh", cases.compiled_adjoints("elman_x_tanh", "last")
  batch = make_batch("last", (6, 0, 3))
  seeds = [cases.draw_params(name, seed=s) for s in range(2)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *seeds)
  got = jax.vmap(run, (0, None))(stacked, batch)
  for i, params in enumerate(seeds):
    chex.assert_trees_all_close(
      jax.tree.map(lambda x, i=i: x[i], got),
      run(params, batch),
      rtol=ROUNDING,
      atol=ROUNDING,
    )


@pytest.mark.parametrize(
  "us, lengths, said",
  [
    (np.zeros((6, 3)), None, [r"us", r"\[T, B, M\]", r"\(6, 3\)"]),
    (np.zeros((0, 3, 3)), None, ["us", "at least one", "0"]),
    (np.zeros((6, 3, 3)), np.array([1.0, 2, 3]), ["lengths", "integers"]),
    (np.zeros((6, 3, 3)), np.array([1, 2]), ["lengths", r"\(2,\)", r"\(3,\)"]),
    (np.zeros((6, 3, 3)), np.array([1, 2, 7]), ["lengths", r"0\.\.6", "7"]),
    (np.zeros((6, 3, 3)), np.array(-1), ["lengths", r"0\.\.6", "-1"]),
  ],
)
def test_bad_batches(x64, us, lengths, said):
  run = adjoints(cases.model("elman_x_tanh", "last"), cases.squared_error)
  params = cases.draw_params("elman_x_tanh")
  for words in said:
    with pytest.raises(ValueError, match=words):
      run(params, Batch(us, None, lengths))
