"""Fixed points, cycles, attractors, basins: maps whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.analysis import (
  attractors,
  autonomous,
  basin_labels,
  cycles,
  fixed_points,
  start_grid,
)
from tests.analysis_models import cell_of, params_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = 1e-9  # Newton's residual of 2e-14, over slopes of at least 1e-2.
GOLDEN = 5e-5  # The issue gives four digits.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _rolled(n):
  """x' = tanh(x w) with w[i] = -roll(linspace(-1, 1, n), -i)."""
  w = np.stack([-np.roll(np.linspace(-1, 1, n), -i) for i in range(n)])
  return lambda x: jnp.tanh(x @ w)


def _starts(number, size, spread=1.5, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.uniform(-spread, spread, (number, size)))


@pytest.mark.parametrize("n, count", [(2, 3), (3, 3), (4, 9)])
def test_number_of_fixed_points(float64, n, count):
  f = _rolled(n)
  found = jax.jit(lambda s: fixed_points(f, s))(_starts(150, n))
  assert found.count == count and found.num_failed == 0
  points = np.asarray(found.points[found.distinct])
  np.testing.assert_allclose(jax.vmap(f)(points), points, atol=ROOT)
  # The map is odd, and so is the set of its fixed points.
  for point in points:
    assert np.linalg.norm(points + point, axis=1).min() < ROOT


def test_points_stability_and_eigenvalues_for_two_units(float64):
  found = jax.jit(lambda s: fixed_points(_rolled(2), s))(_starts(30, 2))
  points = np.asarray(found.points[found.distinct])
  order = np.argsort(points[:, 0])
  np.testing.assert_allclose(
    points[order],
    [[-0.9575, 0.9575], [0, 0], [0.9575, -0.9575]],
    atol=GOLDEN,
  )
  stable = np.asarray(found.stable[found.distinct])[order]
  np.testing.assert_array_equal(stable, [True, False, True])
  # At zero the Jacobian is wᵀ = [[1, -1], [-1, 1]], with eigenvalues 0 and 2.
  middle = np.asarray(found.eigenvalues[found.distinct])[order[1]]
  np.testing.assert_allclose(np.sort(middle.real), [0, 2], atol=ROOT)


def test_a_start_that_fails_is_reported_and_not_returned(float64):
  """x + 1 + x² has no real fixed point; x² has 0 and 1."""
  none = jax.jit(lambda s: fixed_points(lambda x: x + 1 + x * x, s))(
    _starts(5, 1)
  )
  assert none.count == 0 and none.num_failed == 5
  assert np.isnan(none.points).all() and not none.stable.any()
  some = jax.jit(lambda s: fixed_points(lambda x: x * x, s))(_starts(9, 1, 3.0))
  assert some.count == 2 and some.num_failed == 0


def test_fixed_point_of_gru_and_lstm(float64):
  """The settled state of a long run is one of Newton's points."""
  for kind, size in (("gru", 2), ("lstm", 4)):
    cell = cell_of(kind, hidden=2)
    params = params_of(cell, scale=0.4)
    f = autonomous(cell, params, jnp.array([0.3, -0.2]))

    @jax.jit
    def both(starts, f=f):
      return fixed_points(f, starts), attractors(f, starts, max_period=2)

    newton, settled = both(_starts(6, size, 0.5))
    assert newton.converged.all() and settled.converged.all()
    end = settled.orbits[0, 0]
    near = np.linalg.norm(newton.points - end[None], axis=1).min()
    assert settled.count == 1 and settled.periods[0] == 1
    assert near < 1e-8  # The orbit is within 1000 eps per step of its end.


def test_cycles_of_the_logistic_map(float64):
  """r = 3.2: fixed points 0 and 11/16 are unstable, one stable 2-cycle."""
  r = 3.2
  f = lambda x: r * x * (1 - x)  # noqa: E731
  starts = jnp.linspace(0.01, 0.99, 40)[:, None]

  @jax.jit
  def all_of(starts):
    return (
      fixed_points(f, starts),
      cycles(f, starts, 2),
      attractors(f, starts, max_period=4),
    )

  ones, twos, found = all_of(starts)
  np.testing.assert_allclose(
    np.sort(ones.points[ones.distinct][:, 0]), [0, 1 - 1 / r], atol=ROOT
  )
  root = np.sqrt((r + 1) * (r - 3))
  expected = [(r + 1 - root) / (2 * r), (r + 1 + root) / (2 * r)]
  points = np.sort(twos.points[twos.distinct][:, 0])
  np.testing.assert_allclose(points, expected, atol=ROOT)
  assert not ones.stable.any() and twos.stable[twos.distinct].all()
  assert found.count == 1 and (found.periods == 2).all()
  orbit = np.sort(np.asarray(found.orbits[0, :2, 0]))
  np.testing.assert_allclose(orbit, expected, atol=1e-8)


def test_chaos_and_escape_did_not_settle(float64):
  starts = jnp.array([[0.1234], [0.4567], [2.0]])
  found = jax.jit(lambda s: attractors(lambda x: 4 * x * (1 - x), s))(starts)
  assert found.count == 0 and found.num_failed == 3
  assert (found.periods == 0).all()
  # Between +inf and -inf no difference is larger than the tolerance.
  swings = jax.jit(lambda s: attractors(lambda x: -4 * x, s))(starts)
  assert swings.count == 0 and swings.num_failed == 3


def test_basins_on_a_line_and_on_a_plane(float64):
  """x' = 5 σ(x) - 2.5: the boundary is 0; the two-unit map: the diagonal."""
  line = lambda x: 5 * jax.nn.sigmoid(x) - 2.5  # noqa: E731
  plane = _rolled(2)

  @jax.jit
  def labels():
    ends = attractors(line, jnp.array([[-1.0], [1.0]]))
    grid = start_grid([-4], [4], 80)
    one = basin_labels(line, ends, grid), grid
    ends = attractors(plane, jnp.array([[-1.0, 1.0], [1.0, -1.0]]))
    grid = start_grid([-2, -2], [2, 2], 20)
    return one, (basin_labels(plane, ends, grid), grid)

  (one, grid), (two, square) = labels()
  np.testing.assert_array_equal(one, np.asarray(grid[:, 0]) > 0)
  # On the diagonal itself orbits end at the unstable point, or where rounding
  # takes them.
  side = np.asarray(square[..., 0] - square[..., 1])
  off = np.abs(side) > 1e-9
  np.testing.assert_array_equal(np.asarray(two)[off], (side > 0)[off])


def test_labels_are_of_distinct_attractors_alone(float64):
  line = lambda x: 5 * jax.nn.sigmoid(x) - 2.5  # noqa: E731

  @jax.jit
  def labels():
    ends = attractors(line, jnp.array([[-1.0], [-3.0], [1.0]]))
    lower = ends._replace(distinct=jnp.array([False, True, False]))
    starts = jnp.array([[-2.0], [2.0]])
    return basin_labels(line, ends, starts), basin_labels(line, lower, starts)

  both, one = labels()
  np.testing.assert_array_equal(both, [0, 2])
  np.testing.assert_array_equal(one, [1, -1])


def test_vmaps_over_parameters(float64):
  count = jax.jit(
    jax.vmap(
      lambda gain: (
        fixed_points(lambda x: jnp.tanh(gain * x), _starts(20, 1)).count
      )
    )
  )(jnp.array([0.5, 2.0]))
  np.testing.assert_array_equal(count, [1, 3])


def test_float32_merges_and_counts():
  found = jax.jit(lambda s: fixed_points(_rolled(4), s))(
    _starts(150, 4).astype(jnp.float32)
  )
  assert found.count == 9 and found.num_failed == 0


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match="starts must be"):
    fixed_points(jnp.tanh, jnp.zeros(3))
  with pytest.raises(ValueError, match="not finite"):
    fixed_points(jnp.tanh, np.array([[np.inf]]))
  with pytest.raises(ValueError, match="to itself"):
    fixed_points(lambda x: x @ jnp.ones((2, 3)), jnp.zeros((1, 2)))
  with pytest.raises(ValueError, match="dimensions"):
    start_grid([0, 0, 0], [1, 1, 1], 4)
  with pytest.raises(ValueError, match="below"):
    start_grid([1], [0], 4)
  cell = cell_of("elman_x")
  bad = {k: np.full(v.shape, np.nan) for k, v in params_of(cell).items()}
  with pytest.raises(ValueError, match="not finite"):
    autonomous(cell, bad, jnp.zeros(2))
