"""Singular Jacobians: what is a fold, what a fixed point, and what is neither.

Where a Jacobian is singular at the answer, a small residual proves nothing. All
maps here have answers that are known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.analysis import (
  cycles,
  fixed_points,
  follow_branch,
  saddle_node,
)
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# How near the numbers of a fold come in float32, whose point is good to √eps.
NEAR = 2e-3

# f(x, b) - x as {(i, j): c} for c x^i b^j; where Newton starts; whether it
# is a fold.
FORMS = {
  "monotone cubic": ({(0, 1): 1, (3, 0): -1}, 0.1, 0.01, False),
  "cubic, nearly there": ({(0, 1): 1, (3, 0): -1}, 1e-4, 0.0, False),
  "cubic, exactly there": ({(0, 1): 1, (3, 0): -1}, 0.0, 0.0, False),
  "monotone quintic": ({(0, 1): 1, (5, 0): -1}, 0.2, 0.01, False),
  "quartic": ({(0, 1): 1, (4, 0): -1}, 0.1, 0.01, False),
  "cusp": ({(0, 1): 1, (1, 1): 1, (3, 0): -1}, 0.1, 0.01, False),
  "logistic": ({(1, 1): 1, (2, 1): -1, (1, 0): -1}, 0.05, 1.1, False),
  "logistic at 0": ({(1, 1): 1, (2, 1): -1, (1, 0): -1}, 0.0, 1.1, False),
  "transcritical": ({(1, 1): 1, (2, 0): -1}, 0.05, 0.1, False),
  "pitchfork": ({(1, 1): 1, (3, 0): -1}, 0.3, 0.2, False),
  "subcritical": ({(1, 1): 1, (3, 0): 1}, 0.2, -0.1, False),
  "isola": ({(0, 2): 1, (2, 0): 1}, 0.1, 0.05, False),
  "crossing": ({(0, 2): 1, (2, 0): -1}, 0.1, 0.05, False),
  "steep": ({(0, 1): 1, (3, 0): -1, (1, 0): -1e-6}, 0.1, 0.05, False),
  "line": ({(0, 1): 1}, 0.1, 0.05, False),
  "identity": ({(0, 0): 0}, 0.1, 0.05, False),
  "fold": ({(0, 1): 1, (2, 0): -1}, 0.1, 0.05, True),
  "fold of a cubic": ({(0, 1): 1, (2, 0): -1, (3, 0): -1}, 0.1, 0.05, True),
  "fold, exactly": ({(0, 1): 1, (2, 0): -1}, 0.0, 0.0, True),
  "little curved": ({(0, 1): 1, (2, 0): -3e-3, (3, 0): -1}, 5e-4, 1e-7, True),
  "no crossing": ({(0, 2): 1, (0, 0): -1e-4, (2, 0): -1}, 2e-3, 0.011, True),
  "leaning": ({(0, 1): 1, (2, 0): -1, (1, 1): 0.5}, 0.05, 0.02, True),
}  # fmt: skip
WEAK = {(0, 1): 1, (2, 0): -1e-7, (3, 0): -1}  # A fold in float64 alone.


@pytest.fixture(params=[*nightly("float32"), "float64"])
def dtype(request):
  with jax.enable_x64(request.param == "float64"):
    yield request.param


@pytest.fixture(params=["float32, 4 units", "float64, 1 unit"])
def size(request):
  """As `dtype`, for what is slow to compile."""
  with jax.enable_x64("float64" in request.param):
    yield int(request.param.split()[1])


def _coefficients(form):
  table = np.zeros((6, 3))
  for place, value in form.items():
    table[place] = value
  return table


def _polynomial(c, x, b):
  powers = jnp.stack([x**0, x, x**2, x**3, x**4, x**5])
  return powers @ c @ jnp.stack([b**0, b, b**2])


def _family(c, s, x, b):
  """The form along the first axis of the basis s, contractions along others."""
  y = jnp.linalg.solve(s, x)
  others = -0.6 * y[1:] + 0.1 * y[0] * y[1:] + 0.1 * y[0] ** 2
  return x + s @ jnp.append(_polynomial(c, y[0], b), others)


@jax.jit
def _search(tables, starts, bs, s, unit):
  """`saddle_node` of every form in the coordinates s and the unit of b."""

  def one(c, start, b):
    family = lambda x, b: _family(c, s, x, b / unit)  # noqa: E731
    x_0 = s @ jnp.append(start, jnp.full(len(s) - 1, 0.01))
    return saddle_node(family, x_0, b * unit)

  return jax.vmap(one)(tables, starts, bs)


@jax.jit
def _follow(c, s, start, b, arc_step):
  x_0 = s @ jnp.append(start, jnp.full(len(s) - 1, start**2 / 6))
  return follow_branch(
    lambda x, b: _family(c, s, x, b),
    x_0,
    b,
    arc_step=arc_step,
    num_points=60,
  )


def _all_forms(forms, s, unit):
  tables = jnp.stack([jnp.asarray(_coefficients(f)) for f, *_ in forms])
  starts, bs = (jnp.asarray([float(f[i]) for f in forms]) for i in (1, 2))
  return _search(tables, starts, bs, jnp.asarray(s), jnp.asarray(unit))


def _basis(size, scale, kind, seed=0):
  draw = np.random.default_rng(seed).normal(size=(size, size))
  if kind == "rotated":
    return scale * np.linalg.qr(draw)[0]
  return scale * (np.eye(size) + 0.5 * draw / np.sqrt(size))


@pytest.mark.parametrize(
  "size, scale, kind, unit",
  [
    (1, 1.0, "rotated", 1.0),
    (1, 1e4, "rotated", 1e-3),
    (4, 1.0, "sheared", 1.0),
    (4, 1e-3, "rotated", 1e3),
    (4, 1e3, "sheared", 1e-3),
  ],
)
def test_folds_and_nothing_else_are_saddle_nodes(
  dtype, size, scale, kind, unit
):
  """In any coordinates and units; the weak ones too."""
  found = _all_forms(list(FORMS.values()), _basis(size, scale, kind), unit)
  expected = [form[3] for form in FORMS.values()]
  wrong = np.flatnonzero(np.asarray(found.converged) != expected)
  assert not len(wrong), [list(FORMS)[i] for i in wrong]
  np.testing.assert_array_equal(np.isnan(found.parameter), ~found.converged)


def test_how_weak_a_fold_may_be():
  forms = [(WEAK, 1e-8, 0.0, True)] * len(FORMS)
  assert not _all_forms(forms, np.eye(1), 1.0).converged.any()
  with jax.enable_x64(True):
    found = _all_forms(forms, np.eye(1), 1.0)
  assert found.converged.all()
  np.testing.assert_allclose(found.curvature, -2e-7, rtol=0.2)


def test_a_pitchfork_is_no_fold(dtype):
  find = jax.jit(lambda x, w: saddle_node(lambda x, w: jnp.tanh(w * x), x, w))
  found = find(jnp.array([0.3]), jnp.asarray(1.2))
  assert not found.converged and np.isnan(found.point).all()


def test_two_folds_at_one_place_are_no_saddle_node():
  """Four branches meet where two units fold at the same parameter."""
  found = jax.jit(lambda x: saddle_node(lambda x, b: x + b - x**2, x, 0.01))(
    jnp.array([0.1, 0.07])
  )
  assert not found.converged


def test_numbers_of_a_fold(dtype):
  """b - ξ² + .5 b ξ in sheared coordinates: 1 and -2 with w · v = 1."""
  s = _basis(4, 1.5, "sheared", seed=3)
  found = _all_forms(list(FORMS.values()), s, 1.0)
  found = jax.tree.map(lambda x: x[list(FORMS).index("leaning")], found)
  # v is s e_1 made a unit vector, so that a step of ξ is |s e_1| long.
  length = np.linalg.norm(s[:, 0])
  v = np.asarray(found.null_vector)
  np.testing.assert_allclose(np.abs(v), np.abs(s[:, 0]) / length, atol=NEAR)
  # The signs of both follow that of v: ξ may point either way.
  assert v[np.argmax(np.abs(v))] > 0
  sign = np.sign(v @ s[:, 0])
  expected = [sign * length, -2 * sign / length]
  got = [found.transversality, found.curvature]
  np.testing.assert_allclose(got, expected, rtol=NEAR)


def test_numbers_of_fig_3(dtype):
  """5 σ(x) + b: ∂f/∂b = 1 and 5 σ″ = 5 s (1 - s) (1 - 2 s) = (1 - 2 s)."""
  unit = lambda x, b: 5 * jax.nn.sigmoid(x) + b  # noqa: E731
  find = jax.jit(lambda x, b: saddle_node(unit, x, b))
  for side, start in ((1, 1.2), (-1, -1.2)):
    found = find(jnp.array([start]), jnp.asarray(-2.5 - 0.2 * side))
    assert found.converged
    np.testing.assert_allclose(found.null_vector, [1], rtol=1e-5)
    np.testing.assert_allclose(found.transversality, 1, rtol=1e-5)
    np.testing.assert_allclose(found.curvature, -side * 0.2**0.5, rtol=NEAR)


def test_folds_of_a_random_network_are_all_confirmed():
  """x' = tanh(x w + b d) with gain 2.5, an odd map: four folds and their
  images."""
  rng = np.random.default_rng(8)
  w = jnp.asarray(2.5 * rng.normal(size=(6, 6)) / np.sqrt(6))
  d = jnp.asarray(rng.normal(size=6))
  family = lambda x, b: jnp.tanh(x @ w + b * d)  # noqa: E731
  branch = jax.jit(
    lambda b: follow_branch(family, jnp.tanh(b * d), b, num_points=300)
  )(jnp.asarray(-1.5))
  at = jnp.flatnonzero(branch.folds)
  assert len(at) == 8 and branch.converged.all()
  find = jax.jit(jax.vmap(lambda x, b: saddle_node(family, x, b)))
  found = find(branch.points[at], branch.parameters[at])
  assert found.converged.all()
  np.testing.assert_allclose(found.parameter, -found.parameter[::-1], atol=1e-5)
  # An arc step of .05 over the curvature of the branch.
  np.testing.assert_allclose(found.parameter, branch.parameters[at], atol=1e-2)


@pytest.mark.parametrize(
  "form, start, b, arc_step, folds",
  [
    ("monotone cubic", -1.0, -1.0, 0.05, 0),
    ("transcritical", 0.0, -0.5, 0.05, 0),
    ("transcritical", -0.4, -0.4, 0.03, 0),
    ("pitchfork", 0.0, -0.5, 0.05, 0),
    ("pitchfork", 0.7, 0.49, -0.05, 0),
    ("fold", 1.0, 1.0, -0.05, 1),
  ],
)
def test_branches_turn_at_folds_alone(size, form, start, b, arc_step, folds):
  """A branch goes on behind a crossing, where its parameter may turn round."""
  c = jnp.asarray(_coefficients(FORMS[form][0]))
  s = jnp.asarray(_basis(size, 1.0, "rotated"))
  branch = _follow(c, s, *(jnp.asarray(v) for v in (start, b, arc_step)))
  assert branch.converged.all()
  assert jnp.sum(branch.folds) == folds
  ends = jnp.append(branch.points, branch.parameters[:, None], 1)[
    jnp.array([0, -1])
  ]
  assert jnp.linalg.norm(ends[1] - ends[0]) > 1


def test_no_branch_of_a_map_without_fixed_points():
  found = jax.jit(
    lambda: follow_branch(
      lambda x, b: x + 1e-6 + 0 * b, jnp.zeros(1), 0.0, num_points=3
    )
  )()
  assert not found.converged.any() and not found.stable.any()


def _find(f, starts, **options):
  run = jax.jit(lambda s: fixed_points(f, s, **options))
  return run(jnp.asarray(starts))


@pytest.mark.parametrize(
  "f",
  [
    lambda x: x + 1e-6,
    lambda x: x + 1e-7 * (1 + x**2),
    lambda x: x * 1.0,
    lambda x: x @ jnp.full((1, 1), 1.0) - 1e-7,
  ],
)
def test_the_identity_and_its_neighbours_have_no_fixed_points(f):
  """Also where f(x) - x rounds to 0, as for 1e-6 at 40 in float32."""
  found = _find(f, [[0.0], [0.5], [1.0], [-3.0], [40.0]])
  assert found.count == 0 and found.num_failed == 5
  assert not np.isfinite(np.where(found.errors > 0.02, np.inf, 0)).any()
  assert np.isnan(found.points).all()


def test_a_line_of_fixed_points_has_none_that_is_isolated(dtype):
  starts = np.random.default_rng(0).normal(size=(5, 2))
  found = _find(lambda x: x @ jnp.full((2, 2), 0.5), starts)
  assert found.count == 0 and not found.stable.any()


@pytest.mark.parametrize(
  "f, root",
  [
    (jnp.tanh, 0.0),
    (lambda x: x + x**2, 0.0),
    (lambda x: x * (1 - x), 0.0),
    (lambda x: x - (x - 0.5) ** 3, 0.5),
    (lambda x: x * (1 - 1e-4) + 1e-6, 0.01),
  ],
)
def test_isolated_multiple_roots_are_found_once(dtype, f, root):
  """Started at the root itself too; all within `merge_within` of it."""
  within = 0.02 if dtype == "float32" else 1.3e-4
  found = _find(f, [[root], [root + 0.4], [root - 0.2], [root + 1e-5]])
  assert found.converged.all() and found.count == 1
  distances = np.abs(found.points[:, 0] - root)
  assert distances.max() < within
  # At a root of multiplicity m the distance is m times the last step.
  assert (distances <= 3.1 * np.asarray(found.errors)).all()


def test_errors_are_distances_where_the_root_is_simple(dtype):
  """A loose tolerance ends the search before it is there."""
  f = lambda x: 0.5 * x + 0.1 * x**2  # noqa: E731
  found = _find(f, [[0.02], [4.9]], tolerance=0.05, merge_within=1.0)
  distances = np.abs(found.points[:, 0] - jnp.array([0.0, 5.0]))
  np.testing.assert_allclose(found.errors, distances, rtol=0.05)


def test_a_large_point_is_judged_by_its_size():
  found = _find(lambda x: x / 2 + 5e4, [[0.0], [3e5]])
  assert found.converged.all() and found.count == 1


def test_what_merges_bounds_the_error():
  near_one = lambda x: x * (1 - 1e-3) + 1e-3  # noqa: E731
  starts = np.array([[0.0], [3.0]], np.float32)
  wide = _find(near_one, starts)
  close = _find(near_one, starts, merge_within=1e-5)
  assert wide.converged.all()
  assert (np.asarray(close.errors) > 1e-5).all() and not close.converged.any()


def test_rotations_have_no_isolated_cycles(dtype):
  turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
  found = jax.jit(lambda s: cycles(lambda x: x @ turn, s, 4))(
    jnp.array([[1.0, 0.0], [0.3, 0.2]])
  )
  assert found.count == 0 and not found.stable.any()
  assert np.isnan(found.spectral_radius).all()
  assert np.isnan(found.eigenvalues).all()
