"""Parameters in mappings of any type, and leaves without a derivative."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

from steadygrad import adjoints
from steadygrad.analysis import (
  omega_derivatives,
  omega_total,
  recording,
  temporal_contributions,
)
from steadygrad.cells import elman, linen
from steadygrad.losses import cross_entropy
from steadygrad.models import linear_readout, recurrent
from steadygrad.transforms import (
  add_omega_gradient,
  clip_by_global_norm,
  msgd_c,
  msgd_cr,
  omega_gradient,
  omega_terms,
  readout_apart,
  shrink_if_nonfinite,
  telemetry,
)
from steadygrad.trees import named_leaves
from steadygrad.types import Batch, Cell
from tests.nightly import nightly
from tests.trees_test import converted, every_mapping

# Its cells of one's own mix integers and floats, as a user's may.
pytestmark = pytest.mark.usefixtures("promotion", "quickly_compiled")

# float32: rounding over 5 steps of 2 units, in another order; order 1.
ROUNDING = 1e-6

CELLS = {
  "elman": lambda: elman(2, 4),
  "elman_h_no_bias": lambda: elman(2, 4, form="h", use_bias=False),
  "unfused": lambda: elman(2, 4)._replace(fused=None),
  "gru": lambda: linen(nn.GRUCell(4), 2),
}
BATCH = Batch(
  jax.random.normal(jax.random.key(9), (5, 2, 2)),
  jnp.array([0, 1]),
  jnp.array([5, 2]),
)


@functools.cache
def problem(name):
  """(model, params as dicts)."""
  model = recurrent(CELLS[name](), linear_readout(4, 3))
  return model, model.init(jax.random.key(0))


@functools.cache
def gradients(name):
  """(grads, trajectory) for the parameters as dicts."""
  model, params = problem(name)
  return jax.jit(adjoints(model, cross_entropy))(params, BATCH)[1:]


def around(where, mapping, params):
  """The parameters with the mapping at the top, around the cell, or all."""
  if where == "top":
    return converted(mapping, params, 1)
  if where == "cell":
    return params | {"cell": converted(mapping, params["cell"])}
  return converted(mapping, params)


def as_named(tree):
  return dict(named_leaves(tree))


@every_mapping
@pytest.mark.parametrize("where", [*nightly("top", "cell"), "all"])
@pytest.mark.parametrize("name", sorted(CELLS))
def test_gradients_have_the_parameters_own_structure(name, where, mapping):
  model, params = problem(name)
  params = around(where, mapping, params)
  for every in (None, 2):
    run = adjoints(model, cross_entropy, checkpoint_every=every)
    _, grads, _ = jax.eval_shape(run, params, BATCH)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)


@pytest.mark.parametrize("name", ["elman", "gru"])
def test_the_trajectory_holds_the_cells_gradient(name):
  grads, trajectory = gradients(name)
  chex.assert_trees_all_equal(trajectory.grads, grads["cell"])


@pytest.mark.parametrize("name", ["elman", "gru"])
def test_each_gradient_is_at_its_name(name):
  """In a mapping of another order than a dict's."""
  model, params = problem(name)
  params = converted("record", params)
  assert list(params) == ["readout", "cell"]
  _, grads, _ = jax.jit(adjoints(model, cross_entropy))(params, BATCH)
  chex.assert_trees_all_close(
    as_named(grads), as_named(gradients(name)[0]), rtol=ROUNDING, atol=ROUNDING
  )


def test_variables_of_flax_nnx():
  """Their parameters are no arrays but trees with one leaf."""
  model, params = problem("elman")
  state = nnx.State(jax.tree.map(nnx.Param, params))
  tx = readout_apart(msgd_cr(model.cell, 0.1, 1.0, 2.0), 0.1, 1.0)

  @jax.jit
  def update(params):
    _, grads, trajectory = adjoints(model, cross_entropy)(params, BATCH)
    updates, _ = tx.update(
      grads, tx.init(params), params, trajectory=trajectory
    )
    return grads, updates

  expected, got = update(params), update(state)
  for tree, wanted in zip(got, expected, strict=True):
    assert jax.tree.structure(tree) == jax.tree.structure(state)
    chex.assert_trees_all_close(
      nnx.to_pure_dict(tree), wanted, rtol=ROUNDING, atol=ROUNDING
    )


def test_parameters_beside_cell_and_readout_have_gradient_zero():
  model, params = problem("elman")
  params = params | {"another": jnp.ones(3)}
  _, grads, _ = jax.jit(adjoints(model, cross_entropy))(params, BATCH)
  np.testing.assert_array_equal(grads["another"], np.zeros(3))


@every_mapping
@pytest.mark.parametrize("name", ["elman", "unfused"])
def test_omega_is_added_in_any_mapping(name, mapping):
  """What is added equals what is added to dicts."""
  model, params = problem(name)
  grads, trajectory = gradients(name)
  tx = add_omega_gradient(model.cell, 2.0)
  update = jax.jit(tx.update)
  expected, _ = update(grads, tx.init(params), trajectory=trajectory)

  theta = converted(mapping, trajectory.params)
  trajectory = trajectory._replace(params=theta)
  gradient = jax.eval_shape(
    lambda tr: omega_gradient(model.cell, tr, omega_terms(tr).cotangents),
    trajectory,
  )
  assert jax.tree.structure(
    gradient, is_leaf=lambda x: x is None
  ) == jax.tree.structure(theta)

  given = converted(mapping, grads)
  got, _ = update(given, tx.init(given), trajectory=trajectory)
  assert jax.tree.structure(got) == jax.tree.structure(given)
  chex.assert_trees_all_close(
    as_named(got), as_named(expected), rtol=ROUNDING, atol=ROUNDING
  )
  change = got["cell"]["w_rec"] - grads["cell"]["w_rec"]
  assert np.max(np.abs(change)) > 1e-3


@every_mapping
@pytest.mark.parametrize(
  "make",
  [
    lambda: readout_apart(msgd_c(0.1, 0.1), 1.0, 0.1),
    lambda: shrink_if_nonfinite(0.02, max_norm=0.0),
    lambda: clip_by_global_norm(0.1),
  ],
)
def test_links_take_any_mapping(make, mapping):
  _, params = problem("elman")
  grads, _ = gradients("elman")
  tx = make()
  update = jax.jit(tx.update)
  expected, _ = update(grads, tx.init(params), params)
  grads, params = converted(mapping, grads), converted(mapping, params)
  got, _ = update(grads, tx.init(params), params)
  assert jax.tree.structure(got) == jax.tree.structure(params)
  # The joint norm is a sum over leaves in the order of the mapping.
  chex.assert_trees_all_close(
    as_named(got), as_named(expected), rtol=ROUNDING, atol=ROUNDING
  )


def counting(exact: bool) -> Cell:
  """A clock and a connectivity mask, as integers or, its twin, as floats.

  The twin's clock and mask are constant under differentiation.
  """
  whole, truth = (jnp.int32, bool) if exact else (jnp.float32, jnp.float32)

  def init(key):
    keys = jax.random.split(key)
    return {
      "w": jax.random.normal(keys[0], (2, 2)),
      "start": jax.random.normal(keys[1], (2,)),
      "mask": jnp.array([[1, 0], [1, 1]], truth),
      "period": jnp.array(3, whole),
    }

  def initial_state(params, batch):
    x = jnp.broadcast_to(jnp.sin(params["start"]), (batch, 2))
    return {"x": x, "t": jnp.zeros(batch, whole), "on": jnp.zeros(batch, truth)}

  def step(params, x_tm1, u_t):
    still = jax.lax.stop_gradient
    period, mask = still(params["period"]), still(params["mask"])
    t, on = (still(x_tm1[k]).astype(jnp.float32) for k in ("t", "on"))
    wave = jnp.sin(t * period) + on
    x = jnp.tanh(x_tm1["x"] @ (params["w"] * mask) + u_t + wave[:, None])
    t = still(x_tm1["t"]) + 1
    return {"x": x, "t": t, "on": (t % still(period) == 0).astype(truth)}

  return Cell(init, initial_state, step, lambda x: x["x"])


@functools.cache
def counted(exact, reads, every=None):
  """(model, params, batch, what `adjoints` gives)."""
  model = recurrent(counting(exact), linear_readout(2, 3, reads=reads))
  params = model.init(jax.random.key(0))
  targets = BATCH.targets if reads == "last" else jnp.array([[0, 1]] * 5)
  batch = BATCH._replace(targets=targets)
  run = jax.jit(adjoints(model, cross_entropy, checkpoint_every=every))
  return model, params, batch, run(params, batch)


@pytest.mark.parametrize(
  "reads, every", [("last", None), ("last", 2), ("every", 2)]
)
def test_integers_and_booleans_have_gradients_of_zero(reads, every):
  """The other gradients are those of `jax.grad`."""
  model, params, batch, found = counted(True, reads, every)
  loss, grads, trajectory = found

  @functools.partial(jax.value_and_grad, allow_int=True)
  def reference(params):
    outputs = model.apply(params, batch.us, batch.lengths)
    return cross_entropy(outputs, batch)

  expected_loss, expected = reference(params)
  np.testing.assert_allclose(loss, expected_loss, rtol=ROUNDING)
  for name in ("mask", "period"):
    zero = jnp.zeros_like(params["cell"][name])
    chex.assert_trees_all_equal_dtypes(grads["cell"][name], zero)
    np.testing.assert_array_equal(grads["cell"][name], zero)
    expected["cell"][name] = zero
  chex.assert_trees_all_close(grads, expected, rtol=ROUNDING, atol=ROUNDING)
  assert np.abs(grads["cell"]["start"]).min() > 1e-3
  for sequence in (trajectory.deltas, trajectory.products):
    chex.assert_trees_all_equal_shapes_and_dtypes(sequence, trajectory.xs)
    assert not np.any(sequence["t"]) and not np.any(sequence["on"])


def test_the_gradient_of_the_counter_in_numbers():
  """Worked out with a counter in floating point."""

  def step(params, x_tm1, u_t):
    h, t = x_tm1
    wave = jnp.sin(t.astype(jnp.float32))[:, None]
    return jnp.tanh(h @ params["w"] + u_t + wave), t + 1

  cell = Cell(
    lambda key: {"w": 0.5 * jnp.eye(2)},
    lambda p, batch: (jnp.zeros((batch, 2)), jnp.zeros(batch, jnp.int32)),
    step,
    lambda x: x[0],
  )
  model = recurrent(cell, linear_readout(2, 3))
  params = model.init(jax.random.key(0))
  batch = Batch(jnp.ones((5, 2, 2)), jnp.array([0, 1]))
  _, grads, _ = jax.jit(adjoints(model, cross_entropy))(params, batch)
  np.testing.assert_allclose(
    grads["cell"]["w"], [[0.50490, -0.14098]] * 2, atol=1e-5
  )


@pytest.mark.parametrize("ratio", ["squared", "norm"])
def test_omega_beside_integers_is_that_of_the_twin(ratio):
  found = []
  for exact in (True, False):
    model, params, _, (_, grads, trajectory) = counted(exact, "every")
    tx = add_omega_gradient(model.cell, 3.0, ratio=ratio)
    state = tx.init(params)
    found.append(jax.jit(tx.update)(grads, state, trajectory=trajectory))
  (got, state), (wanted, twin) = found
  chex.assert_trees_all_close(state, twin, rtol=ROUNDING)
  chex.assert_trees_all_equal_dtypes(got, counted(True, "every")[1])
  for name in ("w", "start"):
    np.testing.assert_allclose(
      got["cell"][name], wanted["cell"][name], rtol=1e-5, atol=ROUNDING
    )
  assert got["cell"]["mask"].dtype == bool
  assert not np.any(got["cell"]["mask"]) and got["cell"]["period"] == 0


def test_contributions_beside_integers_add_up_to_the_gradient():
  model, params, batch, (_, grads, _) = counted(True, "every")
  split = jax.jit(temporal_contributions(model, cross_entropy))
  _, found = split(params, batch)
  total = jax.tree.map(lambda x: jnp.sum(x, 0, x.dtype), found.totals)
  chex.assert_trees_all_close(
    total, grads["cell"], rtol=10 * ROUNDING, atol=10 * ROUNDING
  )
  assert total["mask"].dtype == bool and total["period"].dtype == jnp.int32


def test_both_derivatives_of_omega_beside_integers():
  found = []
  for exact in (True, False):
    model, params, batch, _ = counted(exact, "every")
    found.append(
      jax.jit(omega_derivatives(model, cross_entropy))(params, batch)
    )
  got, wanted = found
  assert got.total["mask"].dtype == bool and not np.any(got.total["mask"])
  for name in ("w", "start"):
    np.testing.assert_allclose(
      got.total[name], wanted.total[name], rtol=1e-4, atol=1e-5
    )
  np.testing.assert_allclose(got.cosine, wanted.cosine, rtol=1e-5)


@every_mapping
def test_total_derivatives_have_the_parameters_own_structure(mapping):
  model, params = problem("unfused")
  params = converted(mapping, params)
  total = omega_total(model, cross_entropy)
  _, grads = jax.eval_shape(total, params, BATCH)
  chex.assert_trees_all_equal_shapes_and_dtypes(grads, params["cell"])


@every_mapping
def test_a_recorder_finds_w_rec_in_any_mapping(mapping):
  """Not the Jacobian at the first state, which is something else."""
  _, params = problem("elman")
  theta = converted(mapping, params["cell"])
  found = recording._recurrent_matrix(None, theta, None, None)
  np.testing.assert_array_equal(found, params["cell"]["w_rec"])


def big(params):
  """Integers that float32 does not hold."""
  number = jnp.array(2**24 + 1, jnp.int32)
  return params | {"readout": params["readout"] | {"seen": number}}


@pytest.mark.parametrize("apart", [False, True])
def test_training_leaves_integers_as_they_are(apart):
  """Three updates of MSGD-CR in a scan, which minds types."""
  model, params, batch, _ = counted(True, "every")
  params = big(params)
  tx = msgd_cr(model.cell, 0.1, 1.0, 2.0)
  tx = readout_apart(tx, 0.1, 1.0) if apart else tx

  def update(carry, _):
    params, opt_state = carry
    _, grads, trajectory = adjoints(model, cross_entropy)(params, batch)
    updates, opt_state = tx.update(
      grads, opt_state, params, trajectory=trajectory
    )
    return (optax.apply_updates(params, updates), opt_state), telemetry(
      opt_state
    )

  (after, _), info = jax.jit(
    lambda p: jax.lax.scan(update, (p, tx.init(p)), length=3)
  )(params)
  for name in ("mask", "period"):
    chex.assert_trees_all_equal(after["cell"][name], params["cell"][name])
  chex.assert_trees_all_equal(
    after["readout"]["seen"], params["readout"]["seen"]
  )
  chex.assert_trees_all_equal_dtypes(after, params)
  assert np.any(after["cell"]["w"] != params["cell"]["w"])
  chex.assert_tree_all_finite(info)


def test_other_optimisers_in_a_mask_leave_integers_as_they_are():
  """As the docstring of `adjoints` says."""
  _, params, _, (_, grads, _) = counted(True, "every")
  tx = optax.masked(
    optax.adamw(0.1),
    lambda tree: jax.tree.map(
      lambda p: bool(jnp.issubdtype(p.dtype, jnp.inexact)), tree
    ),
  )
  params, grads = (
    big(params),
    jax.tree.map(jnp.zeros_like, big(grads)) | {"cell": grads["cell"]},
  )
  updates, _ = tx.update(grads, tx.init(params), params)
  after = optax.apply_updates(params, updates)
  chex.assert_trees_all_equal(
    after["readout"]["seen"], params["readout"]["seen"]
  )
  chex.assert_trees_all_equal(after["cell"]["mask"], params["cell"]["mask"])
  assert np.any(after["cell"]["w"] != params["cell"]["w"])


def with_key(where):
  """A model with a PRNG key in its state or its parameters."""
  cell, key = counting(True), jax.random.key(1)
  if where == "state":
    return cell._replace(
      initial_state=lambda p, b: (cell.initial_state(p, b), [key]),
      step=lambda p, x, u: (cell.step(p, x[0], u), x[1]),
      output=lambda x: cell.output(x[0]),
    )
  return cell._replace(init=lambda k: cell.init(k) | {"noise": key})


@pytest.mark.parametrize(
  "where, path", [("state", r"x_0\[1\]\[0\]"), ("params", r"\['noise'\]")]
)
@pytest.mark.parametrize("every", [None, 2])
def test_prng_keys_are_refused_by_name(where, path, every):
  model = recurrent(with_key(where), linear_readout(2, 3))
  params = model.init(jax.random.key(0))
  run = adjoints(model, cross_entropy, checkpoint_every=every)
  with pytest.raises(ValueError, match=f"PRNG keys.*{path}"):
    jax.eval_shape(run, params, BATCH)
