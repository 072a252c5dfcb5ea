"""The contract of every public transformation; the table is in `contracts`."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from steadygrad import transforms
from steadygrad.transforms import clipping
from tests import contracts
from tests.contracts import (
  FACTORIES,
  LINKS,
  abstract,
  build,
  check_outcome,
  compiled,
  expected,
  once,
  problem,
  stack,
)
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float32, the same operations compiled in another company: fused multiply-adds
# and sums in another order. A few roundings of 6e-8 of numbers of order 1.
SAME = dict(rtol=1e-5, atol=1e-6)

every_link = pytest.mark.parametrize("name", FACTORIES)


def assert_close(got, wanted):
  chex.assert_trees_all_close(got, wanted, **SAME)


@pytest.mark.parametrize("name", transforms.__all__)
def test_every_public_name_has_its_place(name):
  value = getattr(transforms, name)
  if inspect.isclass(value):
    assert issubclass(value, tuple), f"{name} is no NamedTuple"
  elif isinstance(value, dict):  # Of links that have a public name.
    rules = {rule.__name__ for rule in value.values()}
    assert rules <= {*FACTORIES, *contracts.RULES}
  elif name in contracts.RULES:
    assert contracts.is_factory(name)
  elif contracts.is_factory(name):
    assert name in LINKS, f"give {name} an entry in LINKS of tests/contracts.py"
  else:
    assert name in contracts.FUNCTIONS, (
      f"{name} returns no Optax transformation by its annotation: annotate it,"
      " or put it into FUNCTIONS of tests/contracts.py"
    )


def test_the_table_names_public_names_only():
  assert set(LINKS) == set(FACTORIES)
  assert contracts.FUNCTIONS <= set(transforms.__all__)
  assert len(FACTORIES) >= 8


@every_link
def test_without_jit_and_with_unknown_extra_arguments(name):
  """Gives what it gives under jit without them."""
  tx = build(name)
  assert isinstance(tx, optax.GradientTransformationExtraArgs)
  state = tx.init(problem().params)
  got = contracts.update(tx, state, problem(), nonsense=3)
  assert_close(got, expected(name))


@every_link
@pytest.mark.parametrize("wrap", ["chain", "named_chain"])
def test_in_chains(name, wrap):
  if wrap == "chain":
    tx = optax.chain(optax.identity(), build(name), optax.scale(-2.0))
  else:
    tx = optax.named_chain(("ours", build(name)), ("scale", optax.scale(-2.0)))
  updates, _ = once(tx, problem())
  assert_close(updates, jax.tree.map(lambda u: -2 * u, expected(name)[0]))


@every_link
def test_masked_and_partition(name):
  """The cell's leaves to the link, the readout's to none or to another."""
  given, zeros = problem(), optax.tree.zeros_like(problem().params)
  whole = optax.masked(build(name), {"cell": True, "readout": True})
  assert_close(once(whole, given)[0], expected(name)[0])

  part = optax.masked(build(name), {"cell": True, "readout": False})
  masked, _ = once(part, given)
  chex.assert_trees_all_equal(masked["readout"], given.grads["readout"])
  chex.assert_trees_all_equal_shapes_and_dtypes(masked, given.params)

  tx = optax.partition(
    {"ours": build(name), "none": optax.set_to_zero()},
    {"cell": "ours", "readout": "none"},
  )
  updates, _ = once(tx, given)
  assert_close(updates["cell"], masked["cell"])
  chex.assert_trees_all_equal(updates["readout"], zeros["readout"])


@every_link
def test_inject_hyperparams(name):
  factory = optax.inject_hyperparams(getattr(transforms, name))
  tx = factory(**LINKS[name].arguments)
  updates, state = once(tx, problem())
  assert_close(updates, expected(name)[0])
  numbers = {
    k for k, v in LINKS[name].arguments.items() if isinstance(v, float)
  }
  assert numbers <= set(state.hyperparams)
  assert "cell" not in state.hyperparams | state.hyperparams_states


@pytest.mark.usefixtures("promotion")
@every_link
def test_multi_steps(name):
  """Two equal micro-batches; Ω and what has it stand outside."""
  if LINKS[name].outside_multi_steps:
    inner = optax.MultiSteps(optax.identity(), 2)
    tx = optax.chain(build(name), inner.gradient_transformation())
  else:
    tx = optax.MultiSteps(build(name), 2).gradient_transformation()
  given = problem()
  step = jax.jit(lambda state: contracts.update(tx, state, given))
  first, state = step(tx.init(given.params))
  chex.assert_trees_all_equal(first, optax.tree.zeros_like(given.params))
  assert_close(step(state)[0], expected(name)[0])


class Network(nnx.Module):
  """Holds the parameters of a problem."""

  def __init__(self, params):
    for part, leaves in params.items():
      leaves = {k: nnx.Param(v) for k, v in leaves.items()}
      setattr(self, part, nnx.Dict(leaves))


@every_link
def test_nnx_optimizer(name):
  given = problem()
  network, grads = Network(given.params), Network(given.grads)
  optimizer = nnx.Optimizer(network, build(name), wrt=nnx.Param)
  optimizer.update(
    network, nnx.state(grads, nnx.Param), trajectory=given.trajectory
  )
  wanted = optax.apply_updates(given.params, expected(name)[0])
  got = nnx.to_pure_dict(nnx.state(network, nnx.Param))
  assert_close(got, wanted)


@functools.cache
def run_steps(name):
  """(params, state, traces) of a Python loop of three updates."""
  tx, traces = build(name), []

  @jax.jit
  def step(state, given):
    traces.append(1)
    return contracts.update(tx, state, given)

  params, state = problem().params, tx.init(problem().params)
  for seed in range(3):
    updates, state = step(state, problem(seed)._replace(params=params))
    params = optax.apply_updates(params, updates)
  return params, state, len(traces)


@every_link
def test_no_second_compilation(name):
  assert run_steps(name)[2] == 1


@every_link
def test_the_state_keeps_structure_shape_and_dtype(name):
  start = build(name).init(problem().params)
  assert abstract(run_steps(name)[1]) == abstract(start)


@every_link
def test_a_loop_around_train_state(name):
  """Under `lax.scan`, which refuses a state that changes its types; since
  `apply_gradients` passes no extra arguments on, the loop itself updates."""
  given, tx = stack([problem(seed) for seed in range(3)]), build(name)
  start = TrainState.create(apply_fn=None, params=problem().params, tx=tx)

  def step(state, given):
    updates, opt_state = contracts.update(
      state.tx, state.opt_state, given._replace(params=state.params)
    )
    params = optax.apply_updates(state.params, updates)
    return state.replace(
      step=state.step + 1, params=params, opt_state=opt_state
    ), None

  end, _ = jax.jit(lambda s: jax.lax.scan(step, s, given))(start)
  assert end.step == 3
  assert_close((end.params, end.opt_state), run_steps(name)[:2])


@every_link
def test_vmap_over_seeds_equals_a_loop(name):
  run, seeds = compiled(build(name)), [problem(seed) for seed in range(3)]
  got = jax.vmap(run)(stack(seeds))
  assert_close(got, stack([run(p) for p in seeds]))


@every_link
def test_vmap_over_a_number_equals_a_loop(name):
  link = LINKS[name]
  if link.vary is None:
    assert not link.values and not link.arguments
    return
  given = problem()
  run = jax.jit(lambda v: once(build(name, **link.vary(v)), given))
  values = jnp.array(link.values)
  got = jax.vmap(run)(values)
  assert_close(got, stack([run(v) for v in values]))
  leaf = got[0]["cell"]["w_rec"]
  assert np.max(np.abs(leaf[0] - leaf[-1])) > 1e-3


def with_integers(tree, number):
  """The tree with an integer and a boolean leaf in either part."""
  more = {"count": jnp.array(number, jnp.int32), "on": jnp.array([True, False])}
  return {part: leaves | more for part, leaves in tree.items()}


@every_link
@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_leaves_without_a_derivative_pass_as_they_are(name, bad):
  """And change nothing about the others, not even their norm."""
  link, given = LINKS[name], problem()
  # Of links around others, one around a link of ours.
  tx = build(name, **(link.vary(link.values[-1]) if link.vary else {}))
  given.grads["cell"]["w_in"] += bad
  expected, expected_state = once(tx, given)
  wide = given._replace(
    grads=with_integers(given.grads, 7), params=with_integers(given.params, 3)
  )
  updates, state = once(tx, wide)
  for part, leaves in updates.items():
    chex.assert_trees_all_equal(
      {k: leaves.pop(k) for k in ("count", "on")},
      {k: wide.grads[part][k] for k in ("count", "on")},
    )
    chex.assert_trees_all_equal_dtypes(leaves, given.params[part])
  assert_close(updates, expected)
  # Of the others a momentum has no leaf.
  assert_close(jax.tree.leaves(state), jax.tree.leaves(expected_state))


@pytest.mark.parametrize("name", clipping.BOUNDED)
def test_a_rule_with_a_threshold_is_called_with_it(name):
  """As `training.chain` calls it, with a number that may be traced."""

  @jax.jit
  def clipped(max_norm, given):
    tx = optax.named_chain(("clip", transforms.CLIPS[name](max_norm)))
    updates, state = contracts.update(tx, tx.init(given.params), given)
    return updates, transforms.telemetry(state)

  given = problem()
  loose, told = clipped(jnp.inf, given)
  assert_close(loose, given.grads)
  assert_close(told["gradient_norm"], optax.tree.norm(given.grads))
  tight, told = clipped(0.01, given)
  assert_close(told["gradient_norm"], optax.tree.norm(given.grads))
  assert optax.tree.norm(tight) < 0.1 * optax.tree.norm(given.grads)


DTYPES = (*nightly("float16"), "bfloat16", "float32", *nightly("float64"))


@every_link
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_the_ends_of_their_range(request, name, dtype):
  if dtype == "float64":
    request.getfixturevalue("x64")
  tx, given = build(name), problem(dtype=dtype)
  run, start = compiled(tx), tx.init(given.params)
  for label, value in contracts.special_values(dtype).items():
    # In NumPy, which compiles nothing.
    grads = jax.tree.map(np.zeros_like, jax.device_get(given.grads))
    grads["readout"]["w_out"][0, 0] = value
    updates, state = run(given._replace(grads=grads))
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, given.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
    check_outcome(name, label, value, updates)
