"""The state before the first input: carried from chunk to chunk."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints
from steadygrad.models import linear_readout
from steadygrad.types import Batch
from tests import cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 12 steps of 4 units, numbers of order 1.
ROUNDING = 1e-12
NAMES = ("elman_x_tanh", "elman_h_tanh", "elman_h_tanh_generic", "lstm", "own")


def long_batch(seed=3):
  """Two chunks of a long batch, [2, T, B, ...]."""
  rng = np.random.default_rng(seed)
  shape = (2, cases.STEPS, cases.BATCH)
  us = rng.normal(size=(*shape, cases.INPUTS))
  targets = rng.normal(size=(*shape, cases.OUTPUTS))
  return us, targets, rng.uniform(0.5, 2, size=shape)


def chunks(lengths):
  us, targets, weights = long_batch()
  lengths = [None, None] if lengths is None else jnp.asarray(lengths)
  return [
    Batch(jnp.asarray(us[i]), (targets[i], weights[i]), lengths[i])
    for i in range(2)
  ]


@pytest.mark.parametrize("name", NAMES)
def test_two_chunks_are_one_long_pass_with_truncated_gradients(x64, name):
  """Ragged: one sequence ends in the first chunk, one in the second."""
  params, case = cases.draw_params(name), cases.case(name)
  lengths = np.array([(6, 4, 6), (6, 0, 2)])
  first, second = chunks(lengths)
  run = jax.jit(adjoints(cases.model(name, "every"), cases.squared_error))
  before = run(params, first)[2]
  last = jax.tree.map(lambda x: x[-1], before.xs)
  loss, grads, trajectory = run(params, second, last)

  cell, readout = (oracles.to_numpy(params[k]) for k in ("cell", "readout"))
  us, targets, weights = long_batch()
  x_0 = case.initial(cell, cases.BATCH)
  # Both chunks at once: no sequence goes on after it has ended.
  whole = oracles.forward(
    case.step, cell, np.concatenate(us), x_0, lengths.sum(0)
  )
  for half, got in zip(np.split(whole, 2), (before, trajectory), strict=True):
    np.testing.assert_allclose(oracles.flat(got.xs), half, atol=ROUNDING)

  x_0, xs = whole[cases.STEPS - 1], whole[cases.STEPS :]
  expected_loss, d_readout, dxs = oracles.squared_error(
    case.output, readout, xs, targets[1], weights[1]
  )
  back = oracles.bptt(case.step, cell, us[1], x_0, xs, dxs, lengths[1])
  np.testing.assert_allclose(loss, expected_loss, rtol=ROUNDING)
  expected = {"cell": back.grads, "readout": d_readout}
  chex.assert_trees_all_close(grads, expected, rtol=ROUNDING, atol=ROUNDING)
  np.testing.assert_allclose(
    oracles.flat(trajectory.products), back.products, atol=ROUNDING
  )


def test_apply_begins_where_it_is_told(x64):
  name = "elman_h_tanh"
  params, model = cases.draw_params(name, "every"), cases.model(name, "every")
  first, second = chunks(None)
  whole = jnp.concatenate([first.us, second.us])
  trajectory = cases.compiled_adjoints(name, "every")(params, first)[2]
  outputs = model.apply(params, second.us, x_0=trajectory.xs[-1])
  expected = model.apply(params, whole)[cases.STEPS :]
  np.testing.assert_allclose(outputs, expected, atol=ROUNDING)


def test_a_state_of_another_shape_is_refused(x64):
  name = "elman_h_tanh"
  params = cases.draw_params(name)
  run = adjoints(cases.model(name, "every"), cases.squared_error)
  with pytest.raises(ValueError, match=r"x_0.*\(3, 4\).*\(3, 5\)"):
    run(params, chunks(None)[0], jnp.zeros((3, 5)))


def test_a_readout_without_bias_has_none():
  readout = linear_readout(3, 2, reads="every", use_bias=False)
  params = readout.init(jax.random.key(0))
  assert params.keys() == {"w_out"}
  assert not np.any(readout.apply(params, jnp.zeros((4, 1, 3))))
