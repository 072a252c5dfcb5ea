"""Batches times stopping: what no configuration has, and what each now has."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from steadygrad import runs, training, transforms
from steadygrad.data import corpus, streams
from steadygrad.training import CorpusConfig, Data, Status, TaskConfig, stopping

pytestmark = pytest.mark.usefixtures("quickly_compiled")

KEY = jax.random.key(0)
EASY = TaskConfig(
  length=10,
  hidden_size=10,
  optimizer="adam",
  learning_rate=0.03,
  check_size=50,
  test_size=250,
)


def test_an_lstm_learns_temporal_order():
  config = dataclasses.replace(
    EASY, model="lstm", max_updates=300, check_every=300
  )
  exp = training.experiment(config)
  state, info = jax.jit(lambda key: training.run(exp, key))(KEY)
  assert "w_rec" not in state.params["cell"]
  assert "spectral_radius" not in info and np.isfinite(info["omega"])
  assert float(info["test_error"]) < 0.5 * exp.task.chance_error


def patient(exp, held_out):
  """The experiment on a task with `by_patience` on sequences held out."""

  def chain(verdict):
    return optax.named_chain(
      ("clip", transforms.clip_by_global_norm(1.0)),
      ("adam", transforms.adam(verdict.rate)),
    )

  def evaluate(data, split, params):
    batch = data.shared[split]
    outputs = exp.model.apply(params, batch.us, batch.lengths)
    return exp.task.loss(outputs, batch)[None] * len(batch.targets)

  rule = stopping.by_patience(
    stopping.Halving(patience=9, max_halvings=2, min_gain=0.4, go_back=True),
    exp.config.learning_rate,
    evaluate,
    lambda data, split: jnp.int32(len(data.shared[split].targets)),
    lambda params, verdict: chain(verdict).init(params),
  )
  return exp._replace(stopping=rule, chain=chain, data=held_out)


def test_a_task_stops_early_on_sequences_held_out():
  config = dataclasses.replace(EASY, max_updates=1000, check_every=50)
  exp = training.experiment(config)
  sample = jax.jit(lambda key: exp.task.sample(key, 100))
  keys = jax.random.split(jax.random.key(9), 3)
  held_out = dict(zip(corpus.SPLITS, map(sample, keys), strict=True))
  exp = patient(exp, held_out)
  state, info = jax.jit(lambda key: training.run(exp, key))(KEY)
  found, valid = state.verdict, np.asarray(info["valid"])
  assert int(found.status) == Status.STOPPED
  judged = int(found.epoch)
  assert int(state.step) == 50 * judged < 1000
  # After it had stopped nothing was measured, and nothing moved.
  assert np.isfinite(valid[:judged]).all() and np.isnan(valid[judged:]).all()
  best = int(np.nanargmin(valid))
  assert float(found.best_valid) == valid[best]
  assert int(found.best_epoch) == best + 1
  assert float(found.best_valid) < 0.5 * np.log(4)
  rates = np.asarray(info["rate"])[:judged]
  assert rates[0] == np.float32(0.03) and rates[-1] == rates[0] / 4
  # The test is of the best parameters.
  batch = held_out["test"]
  outputs = exp.model.apply(found.best_params, batch.us)
  wanted = 100 * exp.task.loss(outputs, batch)
  np.testing.assert_allclose(info["test_losses"], [wanted], rtol=1e-5)


def text_of(num_symbols=6):
  """A period of symbols, trained on and validated on."""
  text = np.tile(np.arange(num_symbols, dtype=np.uint8), 100)
  stream = streams.text_stream(text, 1, 4)
  parts = dict.fromkeys(corpus.SPLITS, stream)
  unit = "bits per character"
  return corpus.Corpus(stream, parts, num_symbols, None, unit, 1.0, {}, {})


def test_the_rate_falls_within_a_pass_over_text():
  """By half in a half-life, from the rate of the verdict."""
  config = CorpusConfig(
    data="ptb",
    hidden_size=5,
    chunk_length=10,
    learning_rate=0.5,
    learning_rate_half_life=5,
    algorithm="msgd_c",
    init="basic_tanh",
    activation="tanh",
  )
  exp = training.experiment(config, corpus=text_of())
  state, n = training.init(exp, KEY), exp.batches.period
  grads = jax.tree.map(jnp.ones_like, state.params)
  start, halved = state.params, state.verdict._replace(rate=jnp.float32(0.25))
  opt_state, moved = state.opt_state, []
  chain = exp.chain(halved)
  for _ in range(6):
    updates, opt_state = chain.update(grads, opt_state, state.params)
    moved.append(optax.tree.norm(updates))
  norm = optax.tree.norm(grads)
  wanted = 0.25 * 2 ** (-np.arange(6) / 5) * min(1, config.max_norm / norm)
  np.testing.assert_allclose(moved, wanted * norm, rtol=1e-5)

  data = Data(exp.data, exp.batches.plan(0, 0))
  chunk = jax.jit(lambda s: training.chunk(exp, data, KEY, s, n))
  first, told = chunk(state)
  for _ in range(3):
    before = state.params
    state, info = chunk(state)
  assert float(info["loss"]) < float(told["loss"])
  # The count goes on from pass to pass: little is left after so many updates.
  assert distance(state.params, before) < 0.1 * distance(first.params, start)


def distance(a, b):
  return optax.tree.norm(jax.tree.map(jnp.subtract, a, b))


def test_an_average_on_addition_is_what_is_checked():
  config = TaskConfig(
    task="addition",
    length=10,
    hidden_size=5,
    average=0.25,
    check_every=4,
    check_size=50,
    test_size=50,
  )
  exp = training.experiment(config)
  state = training.init(exp, KEY)
  chex.assert_trees_all_equal(state.average, state.params)
  update = jax.jit(lambda s: training.update(exp, Data(), KEY, s)[0])
  expected = jax.tree.map(np.asarray, state.params)
  for _ in range(4):
    state = update(state)
    expected = jax.tree.map(
      lambda a, p: 0.75 * a + 0.25 * np.asarray(p), expected, state.params
    )
  chex.assert_trees_all_close(state.average, expected, rtol=1e-5, atol=1e-7)
  # It does not steer.
  plain = training.experiment(dataclasses.replace(config, average=None))
  step = jax.jit(lambda s: training.update(plain, Data(), KEY, s)[0])
  alone = training.init(plain, KEY)
  for _ in range(4):
    alone = step(alone)
  assert alone.average is None
  chex.assert_trees_all_close(alone.params, state.params, rtol=1e-5, atol=1e-6)

  @jax.jit
  def shown(state):
    _, info = exp.stopping.judge(Data(), KEY, state)
    return info["error"], exp.stopping.test(Data(), KEY, state)["test_error"]

  # A readout of nothing but a bias gives one answer to every sequence.
  nothing = jax.tree.map(jnp.zeros_like, state.params)
  nothing["readout"]["b_out"] += 9
  errors = shown(state._replace(params=nothing))
  assert errors == shown(state)
  assert shown(state._replace(average=nothing)) == (1, 1) != errors


def test_an_average_on_a_task_is_what_is_kept(tmp_path):
  config = TaskConfig(
    task="addition",
    length=10,
    hidden_size=5,
    average=0.25,
    seeds=1,
    max_updates=4,
    check_every=4,
    check_size=50,
    test_size=50,
  )
  record = runs.train(config, tmp_path, progress=False)
  run = runs.load(tmp_path)
  exp = training.experiment(config)

  @jax.jit
  def trained(key):
    return training.run(exp, key)

  state, info = trained(jax.random.key(0))
  kept = jax.tree.map(lambda x: x[0], run.params)
  chex.assert_trees_all_close(kept, state.average, rtol=1e-5, atol=1e-6)
  wanted = pytest.approx(float(info["test_error"]))
  assert record["results"]["test_error"] == [wanted]
