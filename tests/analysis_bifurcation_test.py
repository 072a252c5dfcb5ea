"""Fig. 3's branches and saddle-nodes; Figs. 4 and 5 as derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.analysis import (
  autonomous,
  bifurcation_diagram,
  follow_branch,
  orbit_sensitivity,
  saddle_node,
)
from tests.analysis_models import cell_of, params_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

PAPER = 1e-6  # What the issue asks of the saddle-nodes.
ROOT = 1e-10  # Newton in float64 at a regular solution.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def unit(x, b):
  """Fig. 3: x' = 5 σ(x) + b."""
  return 5 * jax.nn.sigmoid(x) + b


def _exact_folds():
  """5 σ′(x) = 1 at σ = (1 ± √.2) / 2."""
  s = (1 + np.array([1, -1]) * np.sqrt(0.2)) / 2
  x = np.log(s / (1 - s))
  return x, x - 5 * s


def test_saddle_nodes_of_fig_3(float64):
  xs, bs = _exact_folds()
  np.testing.assert_allclose(bs, [-2.655610, -2.344390], atol=PAPER)
  find = jax.jit(lambda x, b: saddle_node(unit, x, b))
  for x, b in zip(xs, bs, strict=True):
    found = find(jnp.array([x + 0.2]), jnp.asarray(b - 0.1))
    assert found.converged
    np.testing.assert_allclose(found.parameter, b, atol=ROOT)
    # The point itself is where a parabola turns: √ of the residual.
    np.testing.assert_allclose(found.point, [x], atol=1e-7)


def test_branch_is_followed_through_both_folds(float64):
  """On the branch b = x - 5 σ(x); stable where 5 σ′(x) < 1."""
  branch = jax.jit(
    lambda: follow_branch(
      unit, jnp.array([-3.5]), jnp.array(-3.5), num_points=180
    )
  )()
  x, b = np.asarray(branch.points[:, 0]), np.asarray(branch.parameters)
  s = 1 / (1 + np.exp(-x))
  assert branch.converged.all() and x[-1] > 4
  np.testing.assert_allclose(b, x - 5 * s, atol=ROOT)
  np.testing.assert_array_equal(branch.stable, 5 * s * (1 - s) < 1)
  changes = branch.stable[1:] != branch.stable[:-1]
  np.testing.assert_array_equal(branch.folds[1:], changes)
  folds = b[np.asarray(branch.folds)]
  # An arc step of .05 over a fold's curvature of about .9.
  np.testing.assert_allclose(folds, [-2.344390, -2.655610], atol=2e-3)


def test_branch_begins_the_other_way(float64):
  branch = jax.jit(
    lambda: follow_branch(
      unit, jnp.array([4.0]), jnp.array(-1.0), arc_step=-0.05, num_points=20
    )
  )()
  assert (np.diff(branch.parameters) < 0).all() and branch.stable.all()


def test_diagram_has_one_three_and_one_points(float64):
  bs = jnp.array([-3.0, -2.5, -2.0])
  starts = jnp.linspace(-5, 5, 30)[:, None]
  found = jax.jit(lambda: bifurcation_diagram(unit, bs, starts))()
  np.testing.assert_array_equal(found.count, [1, 3, 1])
  middle = np.sort(found.points[1][found.distinct[1]][:, 0])
  np.testing.assert_allclose(middle[1], 0, atol=ROOT)
  np.testing.assert_allclose(middle[0], -middle[2], atol=ROOT)


def test_where_there_is_no_fold_the_search_says_so(float64):
  """A contraction x' = tanh(x) / 2 + b has none."""
  found = jax.jit(
    lambda: saddle_node(
      lambda x, b: jnp.tanh(x) / 2 + b, jnp.array([0.1]), jnp.array(0.0)
    )
  )()
  assert not found.converged and np.isnan(found.parameter)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_families_of_cells_by_an_input(float64, kind):
  """Any parameter of any cell: here the first input."""
  cell = cell_of(kind, hidden=2)
  params = params_of(cell, scale=0.4)
  size = 4 if kind == "lstm" else 2

  def family(x, b):
    return autonomous(cell, params, jnp.stack([b, jnp.zeros_like(b)]))(x)

  branch = jax.jit(
    lambda: follow_branch(
      family, jnp.zeros(size), jnp.array(-0.5), arc_step=0.1, num_points=8
    )
  )()
  assert branch.converged.all()
  moved = jax.vmap(family)(branch.points, branch.parameters)
  np.testing.assert_allclose(moved, branch.points, atol=ROOT)


def test_sensitivities_are_those_of_plain_reverse_mode(float64):
  us = jnp.asarray(np.random.default_rng(0).normal(size=(9, 1)))

  def driven(x, b, u):
    return unit(x, b) + 0.3 * u

  def last(x, b):
    return jax.lax.scan(lambda x, u: (driven(x, b, u), None), x, us)[0]

  x_0, b = jnp.array([0.4]), jnp.asarray(-2.4)

  @jax.jit
  def both(x_0, b):
    found = orbit_sensitivity(driven, x_0, b, us=us)
    return found, last(x_0, b), jax.jacrev(last, argnums=(0, 1))(x_0, b)

  found, end, (in_start, in_b) = both(x_0, b)
  np.testing.assert_allclose(found.xs[-1], end, atol=ROOT)
  np.testing.assert_allclose(found.in_start[-1], in_start, rtol=ROOT)
  np.testing.assert_allclose(found.in_parameter[-1], in_b, rtol=ROOT)
  assert found.finite and found.xs.shape == (10, 1)


def test_a_basin_boundary_explodes_and_a_bifurcation_alone_does_not(float64):
  """b = -2.5, boundary x = 0 with slope 5/4; 50 steps.

  On the boundary |∂x_50/∂x_0| = 1.25^50; inside a basin it vanishes. An orbit
  on the lower branch crosses b = -2.655610, where the upper branch ends,
  without a trace; one on the upper branch meets it.
  """
  run = jax.jit(
    lambda x_0, b: orbit_sensitivity(unit, x_0[None], b, num_steps=50)
  )
  on = run(jnp.asarray(0.0), -2.5)
  np.testing.assert_allclose(on.in_start[-1, 0, 0], 1.25**50, rtol=1e-9)
  for x_0 in (-1.0, 1.0):
    assert abs(run(jnp.asarray(x_0), -2.5).in_start[-1, 0, 0]) < 1e-3
  fold = _exact_folds()[1][0]
  bs = np.linspace(fold - 0.05, fold + 0.05, 21)

  def end(x_0, b):
    found = orbit_sensitivity(unit, x_0[None], b, num_steps=50)
    return found.in_parameter[-1, 0], found.xs[-1, 0]

  many = jax.jit(jax.vmap(end, (None, 0)))
  below, x_50 = many(jnp.asarray(-3.0), bs)
  above, _ = many(jnp.asarray(3.0), bs)
  # What a stable point that nothing happens to moves by: 1 / (1 - f′).
  s = 1 / (1 + np.exp(-x_50))
  np.testing.assert_allclose(below, 1 / (1 - 5 * s * (1 - s)), rtol=1e-5)
  assert np.max(below) < 2.1 and np.max(above) > 40


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match="shapes"):
    follow_branch(unit, jnp.zeros((1, 1)), jnp.array(0.0))
  with pytest.raises(ValueError, match="not finite"):
    saddle_node(unit, np.array([np.nan]), jnp.array(0.0))
  with pytest.raises(ValueError, match="parameters must be"):
    bifurcation_diagram(unit, jnp.array(0.0), jnp.zeros((1, 1)))
  with pytest.raises(ValueError, match="num_steps or us"):
    orbit_sensitivity(unit, jnp.zeros(1), jnp.array(0.0))
