"""The paper's initialisations: moments, connections, spectral radius."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import initializers, unroll
from steadygrad.cells import elman
from steadygrad.tasks import temporal_order

pytestmark = pytest.mark.usefixtures("quickly_compiled")

UNITS = 50
# Means and deviations of 2500 draws: five standard errors.
ERRORS = 5 / np.sqrt(UNITS * UNITS)
# The radius is promised to 1e-5 in float32, well-conditioned eigenvalues given.
RADIUS = 1e-5
# float32: products of orthogonal 50 x 50 matrices.
ORTHOGONAL = 1e-5

WEIGHTS = ("w_rec", "w_in", "w_out")
SPARSE = {
  "target": initializers.smart_tanh,
  "source": initializers.smart_tanh_code,
}


def draw(weight, shape=(UNITS, UNITS), seed=0):
  return np.asarray(weight(jax.random.key(seed), shape, jnp.float32))


def draw_many(weight, shape=(UNITS, UNITS), number=5):
  """[number, *shape], one program for all keys."""
  keys = jax.random.split(jax.random.key(0), number)
  return np.asarray(jax.jit(jax.vmap(lambda key: weight(key, shape)))(keys))


@pytest.mark.parametrize(
  "made, names, deviation",
  [
    (initializers.sigmoid(), WEIGHTS, 0.01),
    (initializers.basic_tanh(), WEIGHTS, 0.1),
    (initializers.smart_tanh(), ("w_in", "w_out"), 0.01),
    (initializers.identity(), ("w_in", "w_out"), 0.001),
    (initializers.identity_quiet(), ("w_in",), 0.01),
    (initializers.identity_quiet(), ("w_out",), 1 / np.sqrt(UNITS)),
    (initializers.orthogonal(), ("w_in", "w_out"), 1 / np.sqrt(UNITS)),
    (initializers.orthogonal_sigmoid(), ("w_in",), 2 / np.sqrt(UNITS)),
    (initializers.orthogonal_sigmoid(), ("w_out",), 1 / np.sqrt(UNITS)),
  ],
)
def test_normal_weights(made, names, deviation):
  """s of N(0, s) is the standard deviation, not the variance."""
  for name in names:
    w = draw(getattr(made, name))
    assert abs(w.mean()) < ERRORS * deviation
    assert abs(w.std() / deviation - 1) < ERRORS


@pytest.mark.parametrize("units", [20, 50])
@pytest.mark.parametrize("per", ["target", "source"])
def test_fifteen_connections_a_unit_exactly(per, units):
  """w[i, j] is from i to j: 15 a column come in, 15 a row go out."""
  for w in draw_many(SPARSE[per]().w_rec, (units, units)):
    counts = np.count_nonzero(w, axis=0 if per == "target" else 1)
    other = np.count_nonzero(w, axis=1 if per == "target" else 0)
    np.testing.assert_array_equal(counts, 15)
    assert other.std() > 0


def test_fewer_units_than_connections_are_all_connected():
  assert np.count_nonzero(draw(initializers.smart_tanh().w_rec, (8, 8))) == 64


@pytest.mark.parametrize("per", ["target", "source"])
def test_the_places_are_uniform_and_the_values_normal(per):
  weight = initializers.sparse_spectral(per=per)
  w = draw_many(weight, (20, 20), 400)
  taken = (w != 0).mean(0)
  # 400 draws of a chance of 3/4: five standard errors.
  np.testing.assert_allclose(taken, 0.75, atol=5 * np.sqrt(0.1875 / 400))
  values = w[w != 0] / np.abs(w).max()
  third, fourth = (np.mean((values / values.std()) ** k) for k in (3, 4))
  # A normal's moments are 0 and 3; the common scale varies a little by draw.
  assert abs(third) < 0.05 and abs(fourth - 3) < 0.15


@pytest.mark.parametrize("radius", [0.95, 1.2])
@pytest.mark.parametrize("per", ["target", "source"])
def test_spectral_radius(per, radius):
  init = initializers.sparse_spectral(radius=radius, per=per)
  for w in draw_many(init):
    got = np.abs(np.linalg.eigvals(w.astype("float64"))).max()
    np.testing.assert_allclose(got, radius, rtol=RADIUS)


def test_one_connection_a_unit_still_has_a_radius():
  """From each unit one can go back for ever, so there always is a cycle."""
  init = initializers.sparse_spectral(connections=1)
  drawn = draw_many(init, (3, 3), 30)
  radii = np.abs(np.linalg.eigvals(np.asarray(drawn, "float64"))).max(-1)
  np.testing.assert_allclose(radii, 0.95, rtol=RADIUS)


@pytest.mark.parametrize("name", sorted(initializers.INITIALIZERS))
def test_vmap_over_keys_equals_a_loop(name):
  weight = initializers.INITIALIZERS[name]().w_rec
  keys = jax.random.split(jax.random.key(0), 3)
  run = jax.jit(lambda key: weight(key, (20, 20), jnp.float32))
  alone = jnp.stack([run(key) for key in keys])
  # Batched products and decompositions round in another order.
  np.testing.assert_allclose(jax.vmap(run)(keys), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(initializers.INITIALIZERS))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(name, dtype):
  made = initializers.INITIALIZERS[name]()
  cell = elman(3, 20, initializers=made, dtype=jnp.dtype(dtype))
  params = jax.jit(cell.init)(jax.random.key(0))
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == dtype and np.isfinite(leaf.astype("float32")).all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_orthogonal_and_identity(scale):
  w = draw(initializers.orthogonal(scale).w_rec)
  np.testing.assert_allclose(w @ w.T, scale**2 * np.eye(UNITS), atol=ORTHOGONAL)
  eye = draw(initializers.identity(scale).w_rec)
  np.testing.assert_array_equal(eye, scale * np.eye(UNITS, dtype="float32"))
  eye = draw(initializers.identity_quiet().w_rec)
  np.testing.assert_array_equal(eye, np.eye(UNITS, dtype="float32"))


def test_sigmoid_units_rest_at_a_half_and_send_errors_back_undiminished():
  """Without biases; by the step's own Jacobian, in row-vector form."""
  made = initializers.orthogonal_sigmoid()
  cell = elman(3, UNITS, form="h", activation="sigmoid", initializers=made)
  params = cell.init(jax.random.key(0))
  half, silence = jnp.full([1, UNITS], 0.5), jnp.zeros([1, 3])
  got = cell.step(params, half, silence)
  np.testing.assert_allclose(got, half, atol=ORTHOGONAL)

  def step(h):
    return cell.step(params, h[None], silence)[0]

  values = np.linalg.svd(jax.jacobian(step)(half[0]), compute_uv=False)
  # All are 1 but that of the direction in which all units move together.
  np.testing.assert_allclose(values[:-1], 1, atol=ORTHOGONAL)
  assert values[-1] < ORTHOGONAL


def shares_left(names, length):
  """|dE/dx_0| / |dE/dx_T| at the start on temporal order, [B] of each."""
  task = temporal_order(length)
  us = task.sample(jax.random.key(1), 20).us
  delta_T = jax.random.normal(jax.random.key(2), (20, UNITS))
  cell = elman(task.input_size, UNITS)

  @jax.jit
  def share(params):
    def last(x_0):
      return unroll(cell, params, us, x_0=x_0)[-1]

    _, back = jax.vjp(last, cell.initial_state(params, 20))
    (delta_0,) = back(delta_T)
    return jnp.linalg.norm(delta_0, axis=1) / jnp.linalg.norm(delta_T, axis=1)

  for name in names:
    made = initializers.INITIALIZERS[name]()
    begins = elman(task.input_size, UNITS, initializers=made)
    yield np.asarray(share(begins.init(jax.random.key(0))))


def test_small_inputs_keep_what_an_orthogonal_start_promises():
  names = ("orthogonal_quiet", "identity_quiet", "orthogonal")
  quiet, identity, loud = map(np.median, shares_left(names, 200))
  assert 0.2 < quiet < 0.8
  assert 0.1 < identity < 0.4
  assert loud < 1e-9


@pytest.mark.parametrize("name", ["basic_tanh", "smart_tanh", "orthogonal"])
def test_seeds_differ_and_repeat(name):
  weight = initializers.INITIALIZERS[name]().w_rec
  first, again, other = (draw(weight, (6, 6), seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != other).all()


@pytest.mark.parametrize(
  "arguments, said",
  [
    (dict(connections=0), ["connections", "at least 1", "0"]),
    (dict(radius=0.0), ["radius", "above 0", r"0\.0"]),
    (dict(radius=float("nan")), ["radius", "above 0", "nan"]),
    (dict(per="unit"), ["per", '"target" or "source"', "unit"]),
  ],
)
def test_bad_arguments(arguments, said):
  for words in said:
    for factory in (initializers.sparse_spectral, initializers.smart_tanh):
      with pytest.raises(ValueError, match=words):
        factory(**arguments)


def test_a_matrix_that_is_not_square():
  with pytest.raises(ValueError, match=r"square.*\(3, 4\)"):
    draw(initializers.smart_tanh().w_rec, (3, 4))
