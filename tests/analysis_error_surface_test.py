"""Fig. 6: the unit's surface, descent over it, curvature; slices of models."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import unroll
from steadygrad.analysis import (
  curvature_along_gradient,
  descend,
  hessian_vector_product,
  linear_sensitivities,
  single_unit_loss,
  slice_directions,
  surface,
)
from steadygrad.cells import elman
from tests.analysis_models import batch_of, model_of, params_of, squared_error

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROUNDING = 1e-12  # Some thousand units in the last place of float64.


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


def _numpy_loss(w, b):
  x = 0.5
  for _ in range(50):
    x = w / (1 + np.exp(-x)) + b
  return (1 / (1 + np.exp(-x)) - 0.7) ** 2


def _fig_6(params):
  return single_unit_loss(params["w"], params["b"])


def test_single_unit_is_a_loop_and_the_elman_cell(float64):
  cell = elman(1, 1, activation="sigmoid", dtype=jnp.float64)

  @jax.jit
  def both(w, b):
    params = {"w_rec": w[None, None], "w_in": jnp.zeros((1, 1)), "b": b[None]}
    x_0 = jnp.full((1, 1), 0.5)
    xs = unroll(cell, params, jnp.zeros((50, 1, 1)), x_0=x_0)
    by_cell = jnp.square(cell.output(xs)[-1, 0, 0] - 0.7)
    return single_unit_loss(w, b), by_cell

  for w, b in ((5.0, -2.4), (3.0, 0.5), (-2.0, 1.0)):
    value, by_cell = both(jnp.asarray(w), jnp.asarray(b))
    np.testing.assert_allclose(value, _numpy_loss(w, b), rtol=ROUNDING)
    np.testing.assert_allclose(by_cell, value, rtol=ROUNDING)


@pytest.mark.parametrize("t", [0, 1, 2, 7])
def test_linear_case_exactly(float64, t):
  """Integers: t w^(t-1) x_0 and t (t-1) w^(t-2) x_0 with no rounding."""
  cell = elman(1, 1, activation="linear", use_bias=False, dtype=jnp.float64)

  def x_t(w):
    params = {"w_rec": w[None, None], "w_in": jnp.zeros((1, 1))}
    x_0 = jnp.full((1, 1), 3.0)
    xs = unroll(cell, params, jnp.zeros((t, 1, 1)), x_0=x_0)
    return xs[-1, 0, 0] if t else 3.0 + 0 * w

  w = jnp.asarray(2.0)
  first, second = linear_sensitivities(w, 3.0, t)
  by_jax, by_jax_twice = jax.jit(
    lambda w: (jax.grad(x_t)(w), jax.grad(jax.grad(x_t))(w))
  )(w)
  assert first == by_jax == 3 * t * 2.0 ** (t - 1)
  assert second == by_jax_twice == 3 * t * (t - 1) * 2.0 ** (t - 2)


def test_surface_is_the_loss_on_a_grid(float64):
  rows, columns = jnp.linspace(-1, 1, 4), jnp.linspace(-0.5, 0.5, 3)
  center = {"w": jnp.asarray(4.0), "b": jnp.asarray(-2.0)}
  zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
  found = jax.jit(
    lambda: surface(
      _fig_6,
      center,
      ({"w": one, "b": zero}, {"w": zero, "b": one}),
      (columns, rows),
    )
  )()
  expected = [[_numpy_loss(4 + c, -2 + r) for c in columns] for r in rows]
  np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_wall_throws_the_plain_path_and_not_the_clipped_one(float64):
  """One step from the wall; the jump against Algorithm 1's threshold."""
  start = {"w": jnp.asarray(5.0), "b": jnp.asarray(-2.41)}

  @jax.jit
  def both():
    options = dict(learning_rate=0.1, num_steps=60)
    plain = descend(_fig_6, start, **options)
    return plain, descend(_fig_6, start, max_norm=0.5, **options)

  plain, clipped = both()

  def longest(path):
    steps = jnp.hypot(jnp.diff(path.params["w"]), jnp.diff(path.params["b"]))
    return float(jnp.max(steps))

  assert longest(clipped) <= 0.05 * (1 + 1e-9)
  assert longest(plain) > 20 * longest(clipped)
  assert clipped.losses[-1] < clipped.losses[0]
  assert plain.finite.all() and clipped.finite.all()


def test_descent_on_a_parabola_is_geometric(float64):
  path = jax.jit(
    lambda: descend(
      lambda x: 0.5 * x * x,
      jnp.asarray(8.0),
      learning_rate=0.5,
      num_steps=3,
      max_norm=2.0,
    )
  )()
  # Clipped to steps of 1 while |x| > 2.
  np.testing.assert_allclose(path.params, [8, 7, 6, 5])
  np.testing.assert_allclose(path.gradient_norms, [8, 7, 6, 5])
  assert path.losses.shape == (4,)


def test_curvature_by_the_dense_hessian(float64):
  model = model_of("gru", reads="last", hidden=2)
  params, batch = params_of(model), batch_of(size=2)

  def loss(params):
    return squared_error(model.apply(params, batch.us), batch)

  @jax.jit
  def both(params):
    flat, back = jax.flatten_util.ravel_pytree(params)
    h = jax.hessian(lambda v: loss(back(v)))(flat)
    g = jax.grad(lambda v: loss(back(v)))(flat)
    product = hessian_vector_product(loss, params, back(g))
    dense = back(h @ g), g @ h @ g / (g @ g), jnp.linalg.norm(g)
    return curvature_along_gradient(loss, params), product, dense

  found, product, (dense, curvature, norm) = both(params)
  chex.assert_trees_all_close(product, dense, rtol=1e-8, atol=1e-9)
  np.testing.assert_allclose(found.curvature, curvature, rtol=1e-8)
  np.testing.assert_allclose(found.gradient_norm, norm, rtol=1e-10)
  assert found.finite


def test_curvature_and_gradient_explode_together_in_the_linear_case(float64):
  """Along the only direction both are the closed forms; ratio (t-1) / w."""
  w, t = jnp.asarray(1.5, jnp.float64), 40
  found = jax.jit(
    lambda w: curvature_along_gradient(
      lambda w: jax.lax.scan(
        lambda x, _: (w * x, None), jnp.asarray(0.5), None, length=t
      )[0],
      w,
    )
  )(w)
  first, second = linear_sensitivities(w, 0.5, t)
  np.testing.assert_allclose(found.gradient_norm, first, rtol=ROUNDING)
  np.testing.assert_allclose(found.curvature, second, rtol=ROUNDING)


def test_slice_directions_of_an_lstm_are_orthonormal():
  model = model_of("lstm", reads="last")
  params, batch = params_of(model), batch_of()

  def loss(params):
    return squared_error(model.apply(params, batch.us), batch)

  @jax.jit
  def run(params):
    pair = slice_directions(loss, params, jax.random.key(0))
    offsets = jnp.array([0.0, 1e-2])
    dots = [
      sum(jax.tree.leaves(jax.tree.map(jnp.vdot, *two)))
      for two in ((pair[0],) * 2, (pair[1],) * 2, pair)
    ]
    return surface(loss, params, pair, (offsets, offsets)), jnp.stack(dots)

  grid, dots = run(params)
  np.testing.assert_allclose(dots, [1, 1, 0], atol=1e-5)
  slope = (grid[0, 1] - grid[0, 0]) / 1e-2
  norm = jax.jit(lambda p: curvature_along_gradient(loss, p))(params)
  # A one-sided difference: the curvature times half the step.
  np.testing.assert_allclose(slope, norm.gradient_norm, rtol=0.05)
  assert grid.shape == (2, 2)


def test_what_is_not_finite_says_so():
  path = jax.jit(
    lambda: descend(
      lambda x: x**4, jnp.asarray(10.0), learning_rate=1.0, num_steps=8
    )
  )()
  assert path.finite[0] and not path.finite[-1]
  flat = jax.jit(lambda: curvature_along_gradient(jnp.sum, jnp.zeros(0)))()
  assert flat.curvature == 0 and flat.finite


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match="t must be .* at least 0, got -1"):
    linear_sensitivities(1.0, 1.0, -1)
  with pytest.raises(ValueError, match="num_steps"):
    single_unit_loss(jnp.asarray(1.0), jnp.asarray(1.0), num_steps=0)
  with pytest.raises(ValueError, match="not finite"):
    descend(jnp.sum, np.array([np.nan]), learning_rate=1.0, num_steps=1)
  with pytest.raises(ValueError, match="offsets"):
    x = np.zeros(1)
    surface(jnp.sum, x, (x, x), (jnp.zeros(()), jnp.zeros(2)))
