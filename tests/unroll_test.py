"""The plain forward pass: states, lengths, derivatives of every mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from steadygrad import _unroll as unrolling
from steadygrad import unroll
from steadygrad.types import Cell
from tests import cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 6 steps of 4 units, numbers of order 1.
ROUNDING = 1e-12
# `check_grads` compares with central differences, whose error in float64 is
# about 1e-10 at first order and, nested, 1e-6 at second.
DIFFERENCES = 1e-5

LENGTHS = list(cases.LENGTHS.values())


def draw(name, seed=1):
  params = cases.draw_params(name)["cell"]
  us = np.random.default_rng(seed).normal(
    size=(cases.STEPS, cases.BATCH, cases.INPUTS)
  )
  return params, jnp.asarray(us)


@pytest.mark.parametrize("name", cases.NAMES)
def test_equals_a_numpy_loop_and_the_exact_lengths(x64, name):
  """Padded equals exact: the oracle runs each sequence over its own length."""
  case = cases.case(name)
  params, us = draw(name)
  x_0 = case.initial(oracles.to_numpy(params), cases.BATCH)
  run = jax.jit(
    lambda p, us, lengths: unroll(case.cell, p, us, lengths=lengths)
  )
  for lengths in LENGTHS[::3]:
    xs = run(params, us, None if lengths is None else jnp.asarray(lengths))
    each = np.broadcast_to(
      cases.STEPS if lengths is None else lengths, cases.BATCH
    )
    expected = oracles.forward(
      case.step, oracles.to_numpy(params), np.asarray(us), x_0, each
    )
    np.testing.assert_allclose(
      oracles.flat(xs), expected, rtol=ROUNDING, atol=ROUNDING
    )


@pytest.mark.parametrize("name", ["elman_x_tanh", "elman_h_tanh"])
@pytest.mark.parametrize("lengths", [4, (6, 0, 3)])
def test_the_fused_forward_equals_unroll(x64, name, lengths):
  cell = cases.case(name).cell
  params, us = draw(name)
  x_0 = cell.initial_state(params, cases.BATCH) + 0.3
  lengths = jnp.asarray(lengths)
  xs = unroll(cell, params, us, x_0=x_0, lengths=lengths)
  fused, ys = cell.fused.forward(params, us, x_0, lengths)
  np.testing.assert_allclose(fused, xs, rtol=ROUNDING, atol=ROUNDING)
  np.testing.assert_allclose(ys, cell.output(xs), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["elman_x_tanh", "elman_h_sigmoid", "gru"])
def test_derivatives_of_both_modes_to_second_order(x64, name):
  cell = cases.case(name).cell
  params, us = draw(name)
  x_0 = cell.initial_state(params, cases.BATCH) + 0.3
  lengths = jnp.array([3, 0, 2])

  @jax.jit
  def run(params, us, x_0, lengths):
    return cell.output(unroll(cell, params, us, x_0=x_0, lengths=lengths))

  check_grads(
    lambda *args: run(*args, lengths),
    (params, us[:3], x_0),
    order=2,
    modes=["fwd", "rev"],
    atol=DIFFERENCES,
    rtol=DIFFERENCES,
  )


def test_a_state_given_and_the_cells_own(x64):
  """x_0 defaults to `initial_state`, which may depend on the parameters."""
  cell = cases.case("own").cell
  params, us = draw("own")
  default = unroll(cell, params, us)
  given = unroll(cell, params, us, x_0=cell.initial_state(params, cases.BATCH))
  np.testing.assert_array_equal(oracles.flat(default), oracles.flat(given))


def test_no_steps():
  cell = Cell(None, lambda p, b: jnp.ones((b, 2)), lambda p, x, u: x, None)
  assert unroll(cell, None, jnp.zeros((0, 3, 1))).shape == (0, 3, 2)


def test_the_fused_pair_is_not_looked_at():
  def fail(*args):
    raise AssertionError("unroll used Cell.fused")

  cell = Cell(
    None,
    lambda p, b: jnp.ones((b, 2)),
    lambda p, x, u: x + u,
    lambda x: x,
    fail,
  )
  xs = unroll(cell, None, jnp.ones((2, 3, 2)))
  np.testing.assert_array_equal(xs[:, 0, 0], [2, 3])


def test_previous_states():
  x_0 = jnp.zeros((3, 2))
  xs = jnp.arange(24.0).reshape(4, 3, 2) + 1
  shifted = unrolling.previous_states(x_0, xs)
  np.testing.assert_array_equal(shifted[0], x_0)
  np.testing.assert_array_equal(shifted[1:], xs[:-1])


def test_step_mask():
  assert unrolling.step_mask(None, 3, 2) is None
  np.testing.assert_array_equal(
    unrolling.step_mask(jnp.array([2, 0]), 3, 2),
    [[True, False], [True, False], [False, False]],
  )
  np.testing.assert_array_equal(
    unrolling.step_mask(1, 2, 2), [[True, True], [False, False]]
  )


def test_lengths_that_a_jitted_function_closes_over():
  """They are concrete there, and looking at them must not leave a tracer."""
  cell = Cell(
    None, lambda p, b: jnp.zeros((b, 1)), lambda p, x, u: x + u, lambda x: x
  )
  lengths = jnp.array([2, 0, 1])
  xs = jax.jit(lambda us: unroll(cell, None, us, lengths=lengths))(
    jnp.ones((2, 3, 1))
  )
  np.testing.assert_array_equal(xs[-1, :, 0], [2, 0, 1])


@pytest.mark.parametrize(
  "shape, lengths, said",
  [
    ((6, 3), None, [r"us must be \[T, B, M\]", r"\(6, 3\)"]),
    ((6, 3, 3), np.ones(3), ["lengths must be integers", "float"]),
    ((6, 3, 3), np.ones((3, 1), int), ["lengths", r"\(3, 1\)", r"\(3,\)"]),
    ((6, 3, 3), np.array([0, 7, 0]), [r"lengths must lie in 0\.\.6", "7"]),
    ((6, 3, 3), 7, [r"lengths must lie in 0\.\.6", "7"]),
    ((6, 3, 3), np.array([0, -1, 0]), [r"lengths must lie in 0\.\.6", "-1"]),
  ],
)
def test_bad_input(x64, shape, lengths, said):
  cell = cases.case("elman_x_tanh").cell
  params, _ = draw("elman_x_tanh")
  for words in said:
    with pytest.raises(ValueError, match=words):
      unroll(cell, params, jnp.zeros(shape), lengths=lengths)
