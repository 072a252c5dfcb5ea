"""`trajectory`: what Omega reads, from a loop's own error signals."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.cells import elman
from steadygrad.trajectories import trajectory
from steadygrad.transforms import omega_gradient, omega_terms
from tests import adjoints_test, cases

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 6 steps of 4 units, numbers of order 1.
ROUNDING = 1e-12
# float32, the same; fused passes add up in another order.
SINGLE = 1e-6

GENERIC = ("gru", "lstm", "own", "elman_x_tanh_generic")
LENGTHS = sorted(cases.LENGTHS)


def batch_of(lengths):
  return adjoints_test.make_batch("every", cases.LENGTHS[lengths])


def wanted(name, lengths):
  """(params, batch, trajectory) of `adjoints`."""
  params, batch = cases.draw_params(name, "every"), batch_of(lengths)
  run = cases.compiled_adjoints(name, "every")
  return params, batch, run(params, batch)[2]


@functools.cache
def output_gradient(name):
  """(params, xs, batch) -> gradient of the loss in the outputs."""
  model = cases.model(name, "every")

  def loss_of(ys, params, batch):
    outputs = model.readout.apply(params["readout"], ys)
    return cases.squared_error(outputs, batch)

  return jax.jit(
    lambda params, xs, batch: jax.grad(loss_of)(
      model.cell.output(xs), params, batch
    )
  )


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(trajectory, cases.case(name).cell))


def given(name, lengths, what):
  """(params, keyword arguments) of `trajectory`, and what is expected."""
  params, batch, expected = wanted(name, lengths)
  arguments = {"us": batch.us, "lengths": batch.lengths}
  if what == "deltas":
    return params["cell"], arguments | {"deltas": expected.deltas}, expected
  dys = output_gradient(name)(params, expected.xs, batch)
  return params["cell"], arguments | {"dys": dys}, expected


@pytest.mark.parametrize("what", ["deltas", "dys"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", cases.NAMES)
def test_equals_the_trajectory_of_adjoints(x64, name, lengths, what):
  params, arguments, expected = given(name, lengths, what)
  got = compiled(name)(params, **arguments)
  assert got.grads is None if what == "deltas" else got.grads is not None
  expected = expected._replace(grads=expected.grads if got.grads else None)
  chex.assert_trees_all_close(got, expected, rtol=ROUNDING, atol=ROUNDING)
  if what == "dys" and name in GENERIC:
    # The recursion is the same, operation by operation.
    chex.assert_trees_all_equal(got.deltas, expected.deltas)
    chex.assert_trees_all_equal(got.products, expected.products)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", ["elman_x_tanh", "lstm"])
def test_states_that_are_given_are_taken(x64, name, lengths):
  """Beyond a length they may be anything; what comes is held there."""
  params, arguments, expected = given(name, lengths, "dys")
  xs = expected.xs
  if expected.mask is not None:
    xs = jax.tree.map(
      lambda x: jnp.where(expected.mask[..., None], x, jnp.nan), xs
    )
  got = compiled(name)(params, **arguments, xs=xs)
  chex.assert_trees_all_close(got, expected, rtol=ROUNDING, atol=ROUNDING)
  signals = expected.deltas
  if expected.mask is not None:
    signals = jax.tree.map(
      lambda x: jnp.where(expected.mask[..., None], x, jnp.nan), signals
    )
  del arguments["dys"]
  got = compiled(name)(params, **arguments, xs=xs, deltas=signals)
  expected = expected._replace(grads=None)
  chex.assert_trees_all_close(got, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("what", ["deltas", "dys"])
@pytest.mark.parametrize("name", ["elman_x_tanh", "elman_h_tanh", "lstm"])
def test_omega_of_it_is_omega_of_adjoints(x64, name, what):
  params, arguments, expected = given(name, "ragged", what)
  cell = cases.case(name).cell

  @jax.jit
  def omega(seen):
    terms = omega_terms(seen)
    return terms.omega, omega_gradient(cell, seen, terms.cotangents)

  got = omega(compiled(name)(params, **arguments))
  chex.assert_trees_all_close(
    got, omega(expected), rtol=ROUNDING, atol=ROUNDING
  )


@pytest.mark.parametrize("what", ["deltas", "dys"])
@pytest.mark.parametrize("name", ["elman_x_tanh", "gru"])
def test_vmap_over_seeds_equals_a_loop(x64, name, what):
  params, arguments, _ = given(name, "ragged", what)
  both = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
  got = jax.vmap(lambda p: compiled(name)(p, **arguments))(both)
  for i in range(2):
    one = jax.tree.map(lambda x, i=i: x[i], both)
    chex.assert_trees_all_close(
      jax.tree.map(lambda x, i=i: x[i], got),
      compiled(name)(one, **arguments),
      rtol=ROUNDING,
      atol=ROUNDING,
    )


def test_error_signals_of_a_carried_state(x64):
  """From x_0 on; nothing goes into where it came from."""
  name = "elman_x_tanh"
  params, batch = cases.draw_params(name, "every"), batch_of("none")
  x_0 = jnp.full((cases.BATCH, cases.UNITS), 0.3)
  run = jax.jit(adjoints_test.adjoints(cases.model(name, "every"), loss))
  expected = run(params, batch, x_0)[2]
  dys = output_gradient(name)(params, expected.xs, batch)
  got = compiled(name)(params["cell"], batch.us, x_0=x_0, dys=dys)
  chex.assert_trees_all_close(got, expected, rtol=ROUNDING, atol=ROUNDING)


loss = cases.squared_error


def test_single_precision():
  """Within rounding of the fused passes, eagerly too."""
  cell = elman(3, 4)
  params = cell.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (6, 3, 3))
  dys = jax.random.normal(jax.random.key(2), (6, 3, 4))
  fused = trajectory(cell, params, us, dys=dys)
  generic = trajectory(cell._replace(fused=None), params, us, dys=dys)
  chex.assert_trees_all_close(fused, generic, rtol=SINGLE, atol=SINGLE)
  products = trajectory(cell, params, us, deltas=fused.deltas).products
  chex.assert_trees_all_close(products, fused.products, rtol=SINGLE, atol=1e-7)


def test_lists_numpy_and_states_without_a_derivative():
  """A counter among the states; its error signals are zeros of its dtype."""
  cell = elman(2, 3)._replace(fused=None)

  def step(params, x_tm1, u_t):
    return {
      "x": cell.step(params, x_tm1["x"], u_t),
      "count": x_tm1["count"] + 1,
    }

  def initial_state(params, batch_size):
    x_0 = cell.initial_state(params, batch_size)
    return {"x": x_0, "count": jnp.zeros(batch_size, jnp.int32)}

  counted = cell._replace(
    step=step,
    initial_state=initial_state,
    output=lambda x: cell.output(x["x"]),
  )
  params = cell.init(jax.random.key(0))
  us, dys = np.ones((4, 2, 2), "float32"), np.ones((4, 2, 3), "float32")
  got = trajectory(counted, params, us, dys=dys, lengths=[4, 2])
  plain = trajectory(cell, params, us, dys=dys, lengths=[4, 2])
  chex.assert_trees_all_close(got.deltas["x"], plain.deltas, rtol=SINGLE)
  assert got.deltas["count"].dtype == jnp.int32
  deltas = {
    "x": np.asarray(plain.deltas),
    "count": np.zeros((4, 2), jax.dtypes.float0),
  }
  again = trajectory(counted, params, us, deltas=deltas, lengths=[4, 2])
  chex.assert_trees_all_close(
    again.products["x"], plain.products, rtol=SINGLE, atol=SINGLE
  )
  np.testing.assert_array_equal(again.products["count"], 0)


CELL = elman(2, 3)
US, XS = jnp.ones((5, 4, 2)), jnp.zeros((5, 4, 3))


@pytest.mark.parametrize(
  "arguments, said",
  [
    ({}, ["exactly one of deltas and dys", "neither"]),
    ({"deltas": XS, "dys": XS}, ["exactly one of deltas and dys", "both"]),
    ({"deltas": XS[:4]}, ["deltas", r"\(5, 4, 3\)", r"\(4, 4, 3\)"]),
    ({"dys": XS[-1:]}, ["dys", r"\(5, 4, 3\)", r"\(1, 4, 3\)"]),
    ({"dys": XS.swapaxes(0, 1)}, ["dys", r"\(4, 5, 3\)", "time comes first"]),
    ({"dys": XS, "xs": XS.swapaxes(0, 1)}, ["xs", "time comes first"]),
    ({"dys": XS, "xs": (XS,)}, ["xs", r"\(5, 4, 3\)"]),
    ({"dys": XS, "us": US[0]}, ["us", r"\[T, B, M\]"]),
    ({"dys": XS, "us": US[..., :1]}, ["us", "cell's M"]),
    ({"dys": XS, "lengths": [5, 6]}, ["lengths", r"\(4,\)"]),
    ({"dys": XS, "lengths": [5, 6, 0, 0]}, ["lengths", r"0\.\.5"]),
    ({"dys": XS, "x_0": XS[0, :, :2]}, ["x_0", r"\(4, 3\)"]),
    ({"dys": XS, "cell": "elman"}, ["cell must be a steadygrad Cell"]),
  ],
)
def test_mistakes_are_named(arguments, said):
  params = CELL.init(jax.random.key(0))
  arguments = {"cell": CELL, "us": US} | arguments
  for words in said:
    with pytest.raises(ValueError, match=words):
      trajectory(params=params, **arguments)
