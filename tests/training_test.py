"""Training: a pure function of a key, whatever the number of seeds."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import losses, training
from steadygrad.runs import placement
from steadygrad.training import Data, Status, TaskConfig, evaluation, stopping
from tests.nightly import nightly

# Small enough to be quick; hard enough that nothing is solved by chance.
SMALL = TaskConfig(
  length=12,
  hidden_size=8,
  batch_size=4,
  seeds=3,
  max_updates=25,
  check_every=10,
  check_size=50,
  test_size=100,
)
# A whole run of it is little more than its compilation.
TINY = dataclasses.replace(
  SMALL, hidden_size=3, max_updates=4, check_every=2, check_size=2, test_size=4
)
# float32 sums in another order, over a few updates.
SAME_TO_ROUNDING = 1e-5


@pytest.fixture(scope="module")
def exp():
  return training.experiment(SMALL)


@pytest.fixture(scope="module")
def keys():
  return jax.vmap(jax.random.key)(jnp.arange(SMALL.seeds))


def built(**changes):
  return training.experiment(dataclasses.replace(SMALL, **changes))


def judge(exp, key, state):
  return exp.stopping.judge(Data(), key, state)


def update(exp, key, state):
  return training.update(exp, Data(), key, state)


def chunk_of(exp, key):
  """`training.chunk` of a seed, compiled: (state, updates) -> ..."""
  return jax.jit(lambda s, n: training.chunk(exp, Data(), key, s, n))


@pytest.fixture(scope="module")
def chunk(exp, keys):
  return chunk_of(exp, keys[0])


def assert_same(a, b, compare=np.testing.assert_array_equal):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    compare(x, y)


def close(a, b):
  np.testing.assert_allclose(a, b, rtol=SAME_TO_ROUNDING, atol=1e-6)


@pytest.mark.usefixtures("quickly")
def test_run_is_the_chunks_one_after_the_other(keys):
  exp = training.experiment(dataclasses.replace(TINY, max_updates=5))
  state, info = jax.jit(lambda key: training.run(exp, key))(keys[0])
  by_hand, chunk = training.init(exp, keys[0]), chunk_of(exp, keys[0])
  for n in (2, 2, 1):
    by_hand, told = chunk(by_hand, n)
  assert info["step"].tolist() == [2, 4, 5]
  np.testing.assert_allclose(info["loss"][-1], told["loss"], SAME_TO_ROUNDING)
  assert_same(state, by_hand, close)


@pytest.mark.usefixtures("quickly")
def test_vmap_over_keys_equals_one_by_one(keys):
  exp = training.experiment(TINY)
  many, _ = jax.jit(jax.vmap(lambda key: training.run(exp, key)))(keys)
  one, chunk = training.init(exp, keys[2]), chunk_of(exp, keys[2])
  for _ in range(2):
    one, _ = chunk(one, 2)
  assert_same(jax.tree.map(lambda x: x[2], many.params), one.params, close)


@pytest.mark.usefixtures("quickly")
def test_algorithms_share_initialisation_and_data(exp, keys):
  other = training.experiment(dataclasses.replace(SMALL, algorithm="msgd"))
  a, b = training.init(exp, keys[1]), training.init(other, keys[1])
  assert_same(a.params, b.params)
  losses = [
    jax.jit(lambda s, e=e: update(e, keys[1], s))(s)[1]["loss"]
    for e, s in ((exp, a), (other, b))
  ]
  np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_seed_has_the_same_bits_whatever_its_siblings(keys):
  exp, devices = training.experiment(TINY), jax.devices()
  mapped, _ = placement.map_seeds(
    lambda key, state: training.chunk(exp, Data(), key, state, 5), devices
  )
  mapped = jax.jit(mapped)
  start = jax.jit(lambda key: training.init(exp, key))

  def first_of(seeds):
    seats = placement.seats(seeds, len(devices))
    keys = [jax.random.key(seed) for seed in seats.order]
    states = jax.tree.map(lambda *x: jnp.stack(x), *map(start, keys))
    states, _ = mapped(seats.counts, jnp.stack(keys), states)
    return jax.tree.map(lambda x: x[seats.of_item[0]], states)

  one = first_of(1)
  for seeds in (2, 5):
    assert_same(first_of(seeds), one)


def test_parts_of_a_chunk_have_its_bits(exp, keys, chunk):
  """As a fleet makes them, by two programs."""
  advance = jax.jit(lambda s, n: training.advance(exp, Data(), keys[0], s, n))
  judge = jax.jit(lambda s: training.judge(exp, Data(), keys[0], s))
  whole = parts = training.init(exp, keys[0])
  for cut in ((1, 4, 5), (7, 3), (10, 0)):
    whole, info = chunk(whole, 10)
    for n in cut:
      parts = advance(parts, n)
    parts, same = judge(parts)
    assert np.isfinite(info["loss"]) and int(parts.sums["updates"]) == 0
    assert_same((whole, info), (parts, same))


def test_a_solved_seed_rests(keys):
  easy = built(solved_below=1.1)
  chunk = chunk_of(easy, keys[0])
  state, info = chunk(training.init(easy, keys[0]), 10)
  assert int(state.verdict.status) == Status.SOLVED
  assert int(state.verdict.solved_at) == 10
  assert np.isfinite(info["error"])
  again, info = chunk(state, 10)
  assert int(again.step) == 10
  assert np.isnan(info["error"])
  assert_same(state, again)


def test_the_rule_of_success_is_the_configurations(keys):
  """Chance is under 1.1 and over the task's own .01."""
  for below, status in ((1.1, Status.SOLVED), (None, Status.RUNNING)):
    exp = built(solved_below=below)
    state = training.init(exp, keys[0])
    state = jax.jit(lambda s, e=exp: judge(e, keys[0], s)[0])(state)
    assert int(state.verdict.status) == status


@pytest.mark.parametrize("readout_rate", [None, 0.3])
def test_rates_fall_by_half_in_a_half_life(keys, readout_rate):
  """Of constant gradients each update is 2^(-1/5) of the one before it."""
  config = dataclasses.replace(
    SMALL,
    algorithm="msgd",
    learning_rate_half_life=5,
    readout_learning_rate=readout_rate,
  )
  exp = training.experiment(config)
  state = training.init(exp, keys[0])
  grads = jax.tree.map(jnp.ones_like, state.params)
  chain = exp.chain(state.verdict)
  moved, opt_state, update = [], state.opt_state, jax.jit(chain.update)
  for _ in range(11):
    updates, opt_state = update(grads, opt_state, state.params)
    biases = updates["cell"]["b"], updates["readout"]["b_out"]
    moved.append([np.asarray(b)[0] for b in biases])
  rates = np.array([config.learning_rate, readout_rate or config.learning_rate])
  wanted = -rates * 2 ** (-np.arange(11)[:, None] / 5)
  np.testing.assert_allclose(moved, wanted, rtol=1e-6)


def test_one_program_serves_many_falling_rates(keys):
  config = dataclasses.replace(
    SMALL, algorithm="msgd", learning_rate_half_life=1
  )

  @jax.jit
  @jax.vmap
  def second_move(rate):
    traced = training.hyper(config)._replace(learning_rate=rate, max_norm=1.0)
    exp = training.experiment(config, traced)
    state = training.init(exp, keys[0])
    grads = jax.tree.map(jnp.ones_like, state.params)
    chain = exp.chain(state.verdict)
    _, opt_state = chain.update(grads, state.opt_state, state.params)
    moved, _ = chain.update(grads, opt_state, state.params)
    return moved["readout"]["b_out"][0]

  rates = jnp.array([0.5, 0.2])
  np.testing.assert_allclose(second_move(rates), -rates / 2, rtol=1e-6)


@pytest.mark.usefixtures("quickly")
def test_smoothed_labels_are_in_the_loss_that_is_trained_on(exp, keys):
  config = dataclasses.replace(SMALL, label_smoothing=0.4)
  smooth = training.experiment(config)
  state = training.init(smooth, keys[0])
  batch = smooth.task.sample(keys[1], 6)
  outputs = smooth.model.apply(state.params, batch.us)
  wanted = losses.cross_entropy(outputs, batch, 0.4)
  assert float(smooth.loss(outputs, batch)[0]) == float(wanted)
  assert float(exp.loss(outputs, batch)[0]) != float(wanted)


def test_going_on_counts_relapses(exp, keys):
  state = training.init(exp, keys[0])
  solved = state.verdict._replace(
    status=jnp.int32(Status.SOLVED), solved_at=jnp.int32(5)
  )
  going = chunk_of(built(go_on=True), keys[0])
  state, _ = going(state._replace(verdict=solved), 10)
  assert int(state.step) == 10
  assert int(state.verdict.solved_at) == 5
  assert int(state.verdict.relapses) == 1
  assert int(state.verdict.status) == Status.SOLVED


def test_divergence_is_an_outcome(exp, keys, chunk):
  state = training.init(exp, keys[0])
  w_rec = state.params["cell"]["w_rec"]
  state.params["cell"]["w_rec"] = w_rec.at[0, 0].set(jnp.nan)
  state, info = chunk(state, 10)
  assert int(state.verdict.status) == Status.DIVERGED
  assert float(info["error"]) == 1.0
  assert int(chunk(state, 10)[0].step) == 10


def test_passing_the_screen_is_not_enough(exp, keys):
  """An error under the threshold on the small sample is measured again."""
  words = {}
  for stream in (training.Stream.CHECK, training.Stream.CONFIRM):
    key = jax.random.fold_in(jax.random.fold_in(keys[0], stream), 0)
    words[stream] = [
      int(jax.random.key_data(jax.random.fold_in(key, i))[0]) for i in range(2)
    ]

  def sample(key, batch_size):
    batch = exp.task.sample(key, batch_size)
    word = jax.random.key_data(key)[0]
    return batch._replace(targets=jnp.full(batch_size, word))

  @jax.jit
  def check(state, bad):
    def wrong(outputs, batch):
      return jnp.isin(batch.targets, bad)

    task = exp.task._replace(sample=sample, wrong=wrong)
    rule = stopping.until_solved(task, exp.model, 50, 100, go_on=False)
    return rule.judge(Data(), keys[0], state)

  def checked(*bad):
    bad = np.resize(np.array(bad, np.uint32), 2)  # One program for all.
    state, info = check(training.init(exp, keys[0]), bad)
    return int(state.verdict.status), float(info["error"])

  confirm = words[training.Stream.CONFIRM]
  assert checked(0) == (Status.SOLVED, 0)
  assert checked(confirm[0]) == (Status.RUNNING, 0.5)
  assert checked(*confirm) == (Status.RUNNING, 1)
  # Where the screen fails, the other sample is not looked at.
  screen = words[training.Stream.CHECK]
  assert checked(screen[0]) == (Status.RUNNING, 1)


def test_streams_of_random_numbers_differ(keys):
  data = [
    tuple(jax.random.key_data(jax.random.fold_in(keys[0], s)).tolist())
    for s in training.Stream
  ]
  assert len(set(data)) == len(training.Stream)


@pytest.mark.usefixtures("quickly")
def test_error_is_the_share_of_wrong_sequences(exp, keys):
  params = exp.model.init(keys[0])
  key = jax.random.key(5)
  error = evaluation.error(exp.task, exp.model, params, key, 500)
  wrong, apply = 0, jax.jit(exp.model.apply)
  for i in range(2):
    batch = exp.task.sample(jax.random.fold_in(key, i), 250)
    outputs = np.asarray(apply(params, batch.us))
    wrong += int((outputs.argmax(-1) != np.asarray(batch.targets)).sum())
  assert float(error) == pytest.approx(wrong / 500, abs=1e-7)
  assert 0.5 < float(error) < 0.95  # Untrained: about chance, .75.


def test_error_refuses_a_size_it_cannot_split(exp, keys):
  with pytest.raises(ValueError, match="num_sequences.*300"):
    evaluation.error(exp.task, exp.model, {}, keys[0], 300)


@pytest.mark.usefixtures("quickly")
def test_an_easy_task_is_learnt():
  """Ten steps, 4 classes: MSGD-CR leaves chance within 800 updates."""
  exp = training.experiment(
    TaskConfig(
      length=10,
      hidden_size=10,
      learning_rate=0.1,
      max_updates=800,
      check_every=800,
      check_size=50,
      test_size=250,
    )
  )
  _, info = jax.jit(lambda key: training.run(exp, key))(jax.random.key(0))
  assert float(info["test_error"]) < 0.5 * exp.task.chance_error


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
  "model, every",
  [
    ("elman", 3),
    ("lstm", "sqrt"),
    ("transformer", 3),
    *nightly(("elman", "sqrt"), ("lstm", 3), ("transformer", "sqrt")),
  ],
)
def test_checkpointing_changes_memory_and_not_the_run(model, every):
  layers = {"layers": 2} if model == "transformer" else {}
  plain = TaskConfig(
    model=model, length=12, hidden_size=8, algorithm="msgd_c", **layers
  )
  some = dataclasses.replace(plain, checkpoint_every=every)
  assert some.checkpoint_every == str(every)
  assert some.digest() != plain.digest()
  key = jax.random.key(0)

  def updated(config):
    exp = training.experiment(config)
    state = training.init(exp, key)
    step = jax.jit(lambda s: training.update(exp, training.Data(), key, s)[0])
    program = str(jax.make_jaxpr(step)(state))
    return step(step(state)).params, program

  (kept, _), (again, program) = updated(plain), updated(some)
  chex.assert_trees_all_close(again, kept, rtol=1e-5, atol=1e-6)
  assert program != updated(plain)[1]
