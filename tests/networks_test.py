"""What every model that a configuration can name promises.

A new name in `MODELS` needs a line in `PARAMETERS`; all else looks there.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, training
from steadygrad.training import MODELS, CorpusConfig, Data, TaskConfig
from steadygrad.types import Batch, Model
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

INPUTS, OUTPUTS, UNITS, STEPS, BATCH = 3, 2, 4, 6, 3
LENGTHS = (6, 0, 3)
EVERY_LENGTHS = {"none": None, "scalar": 4, "nothing": 0, "ragged": LENGTHS}
# float32 sums in another order, of numbers of order 1.
SAME = dict(rtol=1e-5, atol=1e-6)
# Central differences in float64: of a normalisation the third derivative, which
# h² meets, is large.
STEP = 1e-5
DIFFERENCES = dict(rtol=1e-5, atol=1e-8)
KEY = jax.random.key(0)

# Ω is of error signals that go from state to state.
WITHOUT_OMEGA = {"transformer"}
FLAX = {"lstm", "gru"}

M, N, O = INPUTS, UNITS, OUTPUTS
ELMAN, READ = N * N + M * N + N, N * O + O
# Of a block: w_in, b_in, scale, offset, w_gate, b_gate.
BLOCK = M * N + N + 2 * N + N * N + N
PARAMETERS = {
  "elman": ELMAN + READ,
  "leaky": ELMAN + READ,
  "residual": ELMAN + READ,
  "irnn": ELMAN + READ,
  "highway": 2 * ELMAN + READ,
  "layer_norm": ELMAN + N + READ,
  "lstm": 4 * ELMAN + READ,
  # Flax's has a bias in each gate, and one behind the reset.
  "gru": 3 * ELMAN + N + READ,
  # w_z, b_z, w_h, w_out, d; the second block reads N numbers, not M.
  "mingru": 2 * (BLOCK + 3 * N * N + 2 * N) + (N - M) * N + READ,
  # ν, θ, γ, d, and two real matrices each for B and C.
  "lru": BLOCK + 4 * N + 4 * N * N + READ,
  # w_query, w_key, v, and a readout of two vectors.
  "attention": ELMAN + 2 * N * N + N + 2 * N * O + O,
  # The embedding; two norms, four of N², and N to 4 N and back; a norm.
  "transformer": M * N + N + 2 * 2 * N + 12 * N * N + 5 * N + 2 * N + READ,
}

every_model = pytest.mark.parametrize("name", MODELS)
# The others have the readout of the Elman network behind their cell.
OWN_READOUT = ("elman", "attention", "transformer")
every_readout = pytest.mark.parametrize(
  "name,reads",
  [(m, "every") for m in MODELS] + [(m, "last") for m in OWN_READOUT],
)


@functools.cache
def model(name, reads):
  config = TaskConfig(model=name, hidden_size=UNITS, algorithm="msgd_c")
  made = training.model_of(config, INPUTS, OUTPUTS, reads)
  assert isinstance(made, Model)
  return made


def model_of_now(name, reads):
  """The model as made in this mode, of float32 or of float64."""
  with jax.numpy_dtype_promotion("standard"):  # A transformer asks its task.
    return model.__wrapped__(name, reads)


@functools.cache
def problem(name, reads, seed=0):
  """(params, batch), the weights of order 1."""
  keys = jax.random.split(jax.random.key(seed), 3)
  params = jax.tree.map(lambda p: 2 * p, model(name, reads).init(keys[0]))
  shape = (BATCH, OUTPUTS) if reads == "last" else (STEPS, BATCH, OUTPUTS)
  us = jax.random.normal(keys[1], (STEPS, BATCH, INPUTS))
  targets = jax.random.normal(keys[2], shape)
  return params, Batch(us, targets, jnp.array(LENGTHS))


def squared_error(outputs, batch):
  return jnp.mean(jnp.square(outputs - batch.targets))


@every_readout
def test_shapes(name, reads):
  made, (params, batch) = model(name, reads), problem(name, reads)
  assert {"cell", "readout"} <= params.keys()
  outputs = made.apply(params, batch.us, batch.lengths)
  assert outputs.shape == batch.targets.shape
  states = jax.tree.leaves(made.cell.initial_state(params["cell"], BATCH))
  assert {x.shape for x in states} == {(BATCH, UNITS)}


def test_every_model_has_its_number_of_parameters():
  """By hand. A name that is missing here has no contract."""
  found = {}
  for name in MODELS:
    shapes = jax.eval_shape(model(name, "last").init, KEY)
    found[name] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert found == PARAMETERS


@every_readout
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", *nightly("float64")])
def test_a_dtype_is_kept(name, reads, dtype):
  """Nothing is computed: dtypes are those of shapes."""
  if name in FLAX and dtype == "bfloat16":
    return  # Flax's initial states are in the dtype that a cell is made with.
  with jax.enable_x64(dtype == "float64"):
    made, batch = model_of_now(name, reads), problem(name, reads)[1]

    def cast(tree):
      return jax.tree.map(lambda x: x.astype(dtype), tree)

    def run(key):
      params, own = cast(made.init(key)), cast(batch[:2])
      given = Batch(*own, batch.lengths)
      outputs = made.apply(params, given.us, given.lengths)
      _, grads, seen = adjoints(made, squared_error)(params, given)
      # Error signals may be wider: kernels accumulate in float32.
      return outputs, params, grads, seen.xs

    leaves = jax.tree.leaves(jax.eval_shape(run, KEY))
  assert {str(leaf.dtype) for leaf in leaves} == {dtype}


@every_readout
def test_steps_beyond_a_length_change_nothing(name, reads):
  """Padded equals exact, whatever the kind of lengths."""
  made, (params, batch) = model(name, reads), problem(name, reads)
  exact = [
    [made.apply(params, batch.us[:n, b : b + 1])[..., 0, :] if n else None
     for n in range(STEPS + 1)]
    for b in range(BATCH)
  ]  # fmt: skip
  for lengths in EVERY_LENGTHS.values():
    given = None if lengths is None else jnp.array(lengths)
    outputs = made.apply(params, batch.us, given)
    assert np.isfinite(outputs).all()
    each = np.broadcast_to(STEPS if lengths is None else lengths, BATCH)
    for b, length in enumerate(each):
      if length:
        got = outputs[b] if reads == "last" else outputs[:length, b]
        np.testing.assert_allclose(got, exact[b][length], **SAME)


@every_readout
def test_gradients_are_finite_differences(x64, name, reads):
  """In float64, along one direction in each leaf; lengths are ragged."""
  made = model_of_now(name, reads)
  with jax.enable_x64(False):  # Whoever asks for it first.
    params, batch = problem(name, reads)
  wide = jax.tree.map(lambda x: x.astype("float64"), (params, batch[:2]))
  params, batch = wide[0], Batch(*wide[1], batch.lengths)
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  along = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]

  def moved(i, by):
    changed = [
      p + by * d if i == j else p
      for j, (p, d) in enumerate(zip(leaves, along, strict=True))
    ]
    return structure.unflatten(changed)  # fmt: skip

  @jax.jit
  def all_of(params, ends):
    loss = lambda p: squared_error(  # noqa: E731
      made.apply(p, batch.us, batch.lengths), batch
    )
    return adjoints(made, squared_error)(params, batch)[:2], jax.lax.map(
      loss, ends
    )

  ends = [moved(i, by) for i in range(len(leaves)) for by in (STEP, -STEP)]
  (loss, grads), losses = all_of(
    params, jax.tree.map(lambda *x: jnp.stack(x), *ends)
  )
  plain = squared_error(made.apply(params, batch.us, batch.lengths), batch)
  np.testing.assert_allclose(loss, plain, rtol=1e-12)
  slopes = (losses[::2] - losses[1::2]) / (2 * STEP)
  wanted = [
    jnp.sum(g * d) for g, d in zip(jax.tree.leaves(grads), along, strict=True)
  ]
  np.testing.assert_allclose(wanted, slopes, **DIFFERENCES)


@every_model
def test_vmap_over_seeds_equals_a_loop(name):
  made, batch = model(name, "last"), problem(name, "last")[1]
  run = jax.jit(lambda key: made.apply(made.init(key), batch.us))
  keys = jax.random.split(KEY, 3)
  got = jax.jit(jax.vmap(run))(keys)
  np.testing.assert_allclose(got, jnp.stack([run(k) for k in keys]), **SAME)
  assert not np.allclose(got[0], got[1])


SMALL = TaskConfig(
  length=10, hidden_size=UNITS, batch_size=2, check_size=2, test_size=2
)


@pytest.mark.parametrize(
  "name,algorithm",
  [
    ("elman", "msgd"),
    *((m, "msgd_cr") for m in MODELS),
    *((m, "msgd_c") for m in WITHOUT_OMEGA),
    # MSGD-CR clips as well.
    *nightly(*((m, "msgd_c") for m in MODELS if m not in WITHOUT_OMEGA)),
  ],
)
def test_every_algorithm_trains_it(name, algorithm):
  """One program makes updates that move every leaf to finite numbers."""
  if name in WITHOUT_OMEGA and algorithm == "msgd_cr":
    with pytest.raises(ValueError, match=f"algorithm must be .*{name}"):
      TaskConfig(model=name, hidden_size=UNITS)
    return
  config = dataclasses.replace(SMALL, model=name, algorithm=algorithm)
  exp, traces = training.experiment(config), []

  @jax.jit
  def update(state):
    traces.append(1)
    return training.update(exp, Data(), KEY, state)

  start = training.init(exp, KEY)
  half, _ = update(start)
  state, info = update(half)
  assert len(traces) == 1
  # A run that was kept as NumPy arrays goes on with the same bits.
  kept = jax.tree.map(jnp.asarray, jax.device_get(half))
  chex.assert_trees_all_equal(update(kept), (state, info))
  assert ("omega" in info) == (algorithm == "msgd_cr")
  assert all(np.isfinite(value) for value in info.values())
  chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
  for before, after in zip(
    jax.tree.leaves(start.params), jax.tree.leaves(state.params), strict=True
  ):
    assert np.isfinite(after).all() and (before != after).any()


@pytest.mark.parametrize("name", ["elman", "lru", "transformer"])
def test_weight_decay_is_of_all_but_the_eigenvalues(name):
  """Without a gradient parameters shrink by rate times decay."""
  config = dataclasses.replace(
    SMALL, model=name, algorithm="msgd_c", optimizer="adamw", weight_decay=0.5
  )
  exp = training.experiment(config)
  tx, params = exp.chain(None), exp.init(KEY)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zeros, tx.init(params), params, trajectory=None)
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    wanted = params
    for key in path:
      wanted = wanted[getattr(key, "key", getattr(key, "idx", None))]
    spared = name == "lru" and path[-1].key in ("nu", "theta", "gamma")
    decay = 0.0 if spared else config.learning_rate * 0.5
    np.testing.assert_allclose(update, -decay * wanted, rtol=1e-5)


@every_model
@pytest.mark.parametrize("kind", [TaskConfig, CorpusConfig])
def test_every_kind_of_run_names_it(name, kind):
  config = kind(model=name, hidden_size=UNITS, algorithm="msgd_c")
  made = training.model_of(config, INPUTS, OUTPUTS, "every")
  us = problem(name, "every")[1].us
  outputs = jax.eval_shape(lambda key: made.apply(made.init(key), us), KEY)
  assert outputs.shape == (STEPS, BATCH, OUTPUTS)
