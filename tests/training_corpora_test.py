"""Passes over music and text: what is seen, carried, scored and decided."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import training
from steadygrad.data import corpus, music, streams
from steadygrad.training import (
  CorpusConfig,
  Data,
  Hyper,
  Status,
  evaluation,
  stopping,
)
from steadygrad.training.algorithm import omega_weight
from tests import corpora_cases, oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SMALL = CorpusConfig(
  data="jsb",
  hidden_size=5,
  chunk_length=6,
  batch_size=2,
  learning_rate=0.5,
  max_norm=2.0,
  init="basic_tanh",
  algorithm="msgd_c",
  patience=2,
)
LENGTHS = 11, 26, 7  # Nine chunks for two lanes: one lane ends early.
# float32 sums over tens of steps of 88 notes each.
FLOAT32 = 2e-5


def corpus_of(stream, num_symbols=music.NUM_NOTES):
  """The stream is trained on, validated on and tested on."""
  parts = dict.fromkeys(corpus.SPLITS, stream)
  unit = "nats per step"
  return corpus.Corpus(stream, parts, num_symbols, None, unit, 1.0, {}, {})


STREAM = streams.pieces_stream(corpora_cases.small_pieces(0, LENGTHS))
CORPUS = corpus_of(STREAM)
KEY = jax.random.key(0)


def experiment(traced=None, **changes):
  config = dataclasses.replace(SMALL, **changes)
  return training.experiment(config, traced, corpus=CORPUS)


def data_of(exp, seed=0, number=0):
  return Data(exp.data, exp.batches.plan(seed, number))


def started(exp, seed=0):
  return training.init(exp, jax.random.key(seed))


@functools.cache
def trainer(exp_changes):
  """(experiment, function (data, state, updates) -> state)."""
  exp = experiment(**dict(exp_changes))

  def run(data, state, num_updates):
    return training.advance(exp, data, KEY, state, num_updates)

  return exp, jax.jit(run)


def train(*parts, **changes):
  """The state after a pass made in parts of so many updates, and the rest."""
  exp, run = trainer(tuple(changes.items()))
  data, state = data_of(exp), started(exp)
  for n in (*parts, exp.batches.period - sum(parts)):
    state = run(data, state, n)
  return exp, state


def test_evaluation_goes_through_whole_pieces():
  exp = experiment()
  params = started(exp).params
  totals = evaluation.piece_losses(
    exp.model,
    training.encoding("jsb", music.NUM_NOTES),
    STREAM.rows,
    STREAM.ahead,
    6,
    streams.deal(STREAM, 3, 6),
    params,
    len(LENGTHS),
  )
  cell, readout = (oracles.to_numpy(params[k]) for k in ("cell", "readout"))
  step = oracles.elman_step("h", "sigmoid")
  for piece, total in zip(
    corpora_cases.small_pieces(0, LENGTHS), totals, strict=True
  ):
    h, u, expected = np.zeros((1, 5)), np.zeros((1, 88)), 0
    for v in piece:
      h = step(cell, h, u)
      p = 1 / (1 + np.exp(-(h @ readout["w_out"] + readout["b_out"])[0]))
      expected -= np.sum(np.where(v, np.log(p), np.log(1 - p)))
      u = v[None].astype(float)
    np.testing.assert_allclose(total, expected, rtol=FLOAT32)


@pytest.mark.parametrize(
  # The sum without clipping, which would hide its scale.
  "cost, rate, max_norm",
  [("mean", 0.5, 2.0), ("sum", 0.001, 1e6)],
)
def test_a_pass_is_what_a_plain_loop_does(cost, rate, max_norm):
  """Each piece's state carried in a dict, autodiff, clipping, SGD."""
  exp, state = train(cost=cost, learning_rate=rate, max_norm=max_norm)
  plan, params = data_of(exp).plan, started(exp).params
  carried, steps, total = {}, 0, 0.0

  @jax.jit
  def one(params, h, us, targets):
    hs = []
    for u in us:
      cell = params["cell"]
      pre = h @ cell["w_rec"] + u @ cell["w_in"] + cell["b"]
      hs.append(h := jax.nn.sigmoid(pre))
    readout = params["readout"]
    p = jnp.stack(hs) @ readout["w_out"] + readout["b_out"][None]
    terms = jnp.logaddexp(0, p) - targets * p
    return jnp.sum(terms), h

  def cost_of(params, chunks):
    sums = [one(params, *chunk) for chunk in chunks]
    losses = sum(s[0] for s in sums)
    count = sum(len(c[1]) for c in chunks) if cost == "mean" else len(chunks)
    return losses / count, (losses, [s[1] for s in sums])

  for u in range(len(plan.begins)):
    chunks, owners = [], []
    for b in range(plan.begins.shape[1]):
      if n := int(plan.lengths[u, b]):
        first, piece = int(plan.begins[u, b]), int(plan.pieces[u, b])
        rows = STREAM.rows[first : first + n + 1].astype(np.float32)
        h = jnp.zeros(5) if plan.fresh[u, b] else carried[piece]
        chunks.append((h, rows[:-1], rows[1:]))
        owners.append(piece)
        steps += n
    grads, (losses, last) = jax.grad(cost_of, has_aux=True)(params, chunks)
    total += float(losses)
    carried |= dict(zip(owners, last, strict=True))
    leaves, treedef = jax.tree.flatten(grads)
    grads = treedef.unflatten(oracles.clip(leaves, max_norm))
    params = jax.tree.map(
      lambda p, g: p - rate * jnp.asarray(g, p.dtype),
      params,
      grads,
    )
  chex.assert_trees_all_close(state.params, params, rtol=1e-3, atol=FLOAT32)
  assert float(state.sums["steps"]) == steps == sum(LENGTHS)
  np.testing.assert_allclose(state.sums["loss"], total, rtol=FLOAT32)


def test_parts_of_a_pass_change_no_bit():
  _, whole = train(algorithm="msgd_cr")
  _, parts = train(1, 2, 1, algorithm="msgd_cr")
  chex.assert_trees_all_equal(whole, parts)


def test_a_pass_ends_with_what_is_known_of_it():
  """Means over steps, the validation error of whole pieces, a blank start."""
  exp, before = train()
  data, state = data_of(exp), started(exp)
  n = exp.batches.period
  chunk = jax.jit(lambda s: training.chunk(exp, data, KEY, s, n))
  state, info = chunk(state)
  chex.assert_trees_all_equal(state.params, before.params)
  loss = float(before.sums["loss"]) / sum(LENGTHS)
  np.testing.assert_allclose(info["loss"], loss, rtol=FLOAT32)
  tested = exp.stopping.test(data, KEY, state)
  assert tested.keys() == {f"{split}_losses" for split in corpus.SPLITS}
  valid = float(jnp.sum(tested["valid_losses"])) / sum(LENGTHS)
  np.testing.assert_allclose(info["valid"], valid, rtol=FLOAT32)
  assert int(info["step"]) == n and float(info["rate"]) == 0.5
  assert int(state.verdict.epoch) == int(state.verdict.best_epoch) == 1
  chex.assert_trees_all_equal(state.verdict.best_params, state.params)
  assert not any(float(value) for value in state.sums.values())


def test_pieces_come_in_another_order_in_each_pass_and_seed():
  plan = experiment().batches.plan
  again = plan(0, 1).pieces
  np.testing.assert_array_equal(plan(0, 1).pieces, again)
  others = [plan(0, 0), plan(0, 2), plan(1, 1), plan(2, 0)]
  assert any((p.pieces != again).any() for p in others)
  stream = streams.text_stream(np.arange(50, dtype=np.uint8) % 6, 5, 2)
  config = dataclasses.replace(SMALL, data="ptb5")
  text = training.experiment(config, corpus=corpus_of(stream, 6))
  chex.assert_trees_all_equal(text.batches.plan(0, 0), text.batches.plan(3, 1))


# What is decided after a pass, where the validation error is a plain function
# of the parameters: of all zeros it is 1.
RATE, VALID = 0.5, 1.0


def parameters(value=0.0):
  return {"cell": {"w_rec": jnp.full((2, 2), value)}}


def error_of(data, split, params):
  """Of one piece of one step: 1 + the `value` of `parameters`."""
  return 1 + params["cell"]["w_rec"][:1, 0]


def ended(params=None, average=None, rule=None, **verdict):
  """(state, info) after the end of a pass."""
  rule = stopping.Halving(patience=2, max_halvings=6, **(rule or {}))
  judged = stopping.by_patience(
    rule,
    RATE,
    error_of,
    lambda data, split: jnp.ones([], jnp.int32),
    lambda params, verdict: {"momentum": jnp.zeros([])},
  )
  params = parameters() if params is None else params
  first = judged.init(params)
  found = jax.tree.map(
    lambda x, like: jnp.asarray(x, like.dtype), first._replace(**verdict), first
  )
  before = training.TrainState(
    params=params,
    average=average,
    opt_state={"momentum": jnp.ones([])},
    carry=(),
    step=jnp.int32(9),
    sums={},
    verdict=found,
  )
  return judged.judge(Data(), KEY, before)


def test_the_first_pass_is_the_best_so_far():
  state, info = ended()
  found = state.verdict
  assert int(found.epoch) == int(found.best_epoch) == 1
  assert float(found.best_valid) == float(found.last_valid) == VALID
  assert float(info["valid"]) == VALID
  assert float(found.rate) == float(info["rate"]) == RATE
  assert int(found.status) == Status.RUNNING


@pytest.mark.parametrize("change, rate", [(-0.01, 0.25), (0.01, 0.5)])
def test_the_rate_is_halved_where_the_error_rises(change, rate):
  state, info = ended(last_valid=VALID + change)
  assert float(state.verdict.rate) == rate
  assert float(info["rate"]) == RATE  # That of the pass that has ended.


@pytest.mark.parametrize("last, rate", [(1.02, 0.5), (1.005, 0.25)])
def test_the_rate_is_halved_where_the_error_falls_too_little(last, rate):
  rule = dict(min_gain=0.01)
  state, _ = ended(rule=rule, last_valid=last * VALID)
  assert float(state.verdict.rate) == rate
  assert float(ended(rule=rule)[0].verdict.rate) == RATE


@pytest.mark.parametrize(
  "waited, best, rate, waits",
  [(0, -1, 0.5, 1), (2, -1, 0.25, 0), (2, 1, 0.5, 0)],
)
def test_the_rate_may_wait_for_a_new_best(waited, best, rate, waits):
  state, _ = ended(
    rule=dict(halve_after=3),
    best_valid=VALID + best,
    last_valid=VALID - 1,
    waited=waited,
  )
  assert float(state.verdict.rate) == rate
  assert int(state.verdict.waited) == waits


@pytest.mark.parametrize("go_back", [False, True])
def test_the_best_parameters_are_kept_and_gone_back_to(go_back):
  best = parameters(-0.5)
  state, _ = ended(
    rule=dict(go_back=go_back),
    best_params=best,
    best_valid=VALID - 0.5,
    best_epoch=3,
    epoch=3,
    last_valid=VALID - 0.5,
  )
  found = state.verdict
  chex.assert_trees_all_equal(found.best_params, best)
  chex.assert_trees_all_equal(state.params, best if go_back else parameters())
  # The chain of a network that went back knows nothing of the other's path.
  assert float(state.opt_state["momentum"]) == (0 if go_back else 1)
  assert int(found.best_epoch) == 3 and int(found.status) == Status.RUNNING


@pytest.mark.parametrize("epoch, status", [(3, "RUNNING"), (4, "STOPPED")])
def test_patience_ends_a_seed(epoch, status):
  state, _ = ended(best_valid=VALID - 1, best_epoch=3, epoch=epoch)
  assert int(state.verdict.status) == Status[status]


@pytest.mark.parametrize(
  "rate, status", [(2**-6, "RUNNING"), (2**-7, "STOPPED")]
)
def test_a_rate_halved_too_often_ends_a_seed(rate, status):
  state, _ = ended(rate=rate, last_valid=VALID - 1)
  assert int(state.verdict.status) == Status[status]
  assert float(state.verdict.rate) == rate / 2


def test_the_average_follows_the_parameters_and_does_not_steer():
  exp, run = trainer((("average", 0.25),))
  data, state = data_of(exp), started(exp)
  expected = oracles.to_numpy(state.params)
  for _ in range(exp.batches.period):
    state = run(data, state, 1)
    expected = jax.tree.map(
      lambda a, p: 0.75 * a + 0.25 * np.asarray(p), expected, state.params
    )
  chex.assert_trees_all_close(state.average, expected, rtol=1e-5, atol=1e-7)
  chex.assert_trees_all_equal(state.params, train()[1].params)


@pytest.mark.parametrize("go_back", [False, True])
def test_the_average_is_validated_and_kept(go_back):
  rule, average, params = dict(go_back=go_back), parameters(-0.5), parameters()
  state, info = ended(rule=rule, average=average)
  assert float(info["valid"]) == float(state.verdict.best_valid) == VALID - 0.5
  chex.assert_trees_all_equal(state.verdict.best_params, average)
  chex.assert_trees_all_equal(state.params, params)
  chex.assert_trees_all_equal(state.average, average)
  worse = dict(best_params=average, best_valid=0.0, last_valid=0.0)
  state, _ = ended(rule=rule, average=params, best_epoch=1, **worse)
  chex.assert_trees_all_equal(state.params, average if go_back else params)
  chex.assert_trees_all_equal(state.average, average if go_back else params)


def test_a_seed_that_is_done_makes_no_update():
  exp, run = trainer(())
  state = started(exp)
  stopped = state.verdict._replace(status=jnp.int32(Status.STOPPED))
  state = state._replace(verdict=stopped)
  chex.assert_trees_all_equal(run(data_of(exp), state, 5), state)


@pytest.mark.parametrize(
  "go_back, halve_after", [(False, None), (True, None), (True, 3)]
)
def test_divergence_is_an_outcome(go_back, halve_after):
  best = parameters()
  state, info = ended(
    parameters(jnp.nan),
    rule=dict(go_back=go_back, halve_after=halve_after),
    best_params=best,
    best_valid=VALID,
    best_epoch=2,
    epoch=2,
  )
  found = state.verdict
  assert float(info["valid"]) == np.inf
  chex.assert_trees_all_equal(found.best_params, best)
  wanted = Status.RUNNING if go_back else Status.DIVERGED
  assert int(found.status) == wanted
  if go_back:
    chex.assert_trees_all_equal(state.params, best)
    assert float(found.last_valid) == VALID
    assert float(found.rate) == RATE / 2


def test_a_first_pass_that_diverges_has_nothing_to_go_back_to():
  state, _ = ended(parameters(jnp.nan), rule=dict(go_back=True))
  assert int(state.verdict.status) == Status.DIVERGED
  assert int(state.verdict.best_epoch) == 0


@pytest.mark.parametrize("decay, weight", [("constant", 0.4), ("epoch", 0.1)])
def test_weight_of_omega_in_the_fourth_pass(decay, weight):
  config = dataclasses.replace(SMALL, omega_decay=decay)
  got = omega_weight(config, 0.4, jnp.int32(3))
  np.testing.assert_allclose(got, weight, rtol=1e-6)


def test_halving_and_decay_need_no_new_program():
  traces = []

  @jax.jit
  def run(numbers, state):
    traces.append(1)
    exp = experiment(Hyper(*numbers), algorithm="msgd_cr")
    return training.update(exp, data_of(exp), KEY, state)[0]

  exp = experiment(algorithm="msgd_cr")
  numbers = [np.float32(x) for x in training.hyper(exp.config)]
  state = run(numbers, started(exp))
  found = state.verdict
  halved = found._replace(rate=found.rate / 2, epoch=found.epoch + 1)
  run([n / 2 for n in numbers], state._replace(verdict=halved))
  assert len(traces) == 1


def test_the_chain_follows_the_verdict():
  """The learning rate and Ω's weight are those of the pass."""
  exp = experiment(algorithm="msgd")
  state = started(exp)
  grads = jax.tree.map(jnp.ones_like, state.params)
  for rate in (0.5, 0.125):
    chain = exp.chain(state.verdict._replace(rate=jnp.float32(rate)))
    moved, _ = chain.update(grads, chain.init(state.params), state.params)
    wanted = jax.tree.map(lambda g, rate=rate: -rate * g, grads)
    chex.assert_trees_all_close(moved, wanted)


@pytest.mark.parametrize(
  "changes",
  [
    {"model": "lstm", "algorithm": "msgd_cr"},
    {"optimizer": "adam", "learning_rate": 0.01, "algorithm": "msgd_cr"},
    {"optimizer": "nesterov", "form": "x", "use_bias": False},
  ],
)
def test_every_kind_of_network_and_optimiser_learns(changes):
  exp, run = trainer(tuple(changes.items()))
  data, state = data_of(exp), started(exp)
  losses = []
  for _ in range(4):
    zeros = jax.tree.map(jnp.zeros_like, state.sums)
    state = run(data, state._replace(sums=zeros), exp.batches.period)
    losses.append(float(state.sums["loss"]))
  assert losses[-1] < 0.7 * losses[0]


def test_a_text_with_a_period_is_learnt():
  """Six symbols in turn: a network that sees them knows the third ahead."""
  text = np.tile(np.arange(6, dtype=np.uint8), 200)
  stream = streams.text_stream(text, 3, 4)
  config = dataclasses.replace(
    SMALL, data="ptb5", cost="sum", learning_rate=0.1, batch_size=4
  )
  exp = training.experiment(config, corpus=corpus_of(stream, 6))
  data, n = data_of(exp), exp.batches.period
  chunk = jax.jit(lambda s: training.chunk(exp, data, KEY, s, n))
  state = started(exp)
  for _ in range(8):
    state, info = chunk(state)
  assert float(info["valid"]) < 0.3 * np.log(6)
  assert int(info["step"]) == 8 * n


def test_what_a_corpus_needs_and_has_not():
  with pytest.raises(ValueError, match="corpus must be given for jsb, got N"):
    training.experiment(SMALL)
  exp = experiment()
  with pytest.raises(ValueError, match="run must be of a task, got jsb"):
    training.run(exp, KEY)
  with pytest.raises(ValueError, match="data must be jsb, .*got piano"):
    exp._replace(batches=exp.batches._replace(name="piano"))
  with pytest.raises(ValueError, match="data must be piano, .*got jsb"):
    exp._replace(config=dataclasses.replace(SMALL, data="piano"))
  assert exp._replace(model=None).batches is exp.batches


@pytest.mark.parametrize(
  "changes, said",
  [
    ({"data": "bach"}, "data must be one of piano.*'bach'"),
    ({"chunk_length": 0}, "chunk_length must be at least 1, got 0"),
    ({"learning_rate": float("nan")}, "learning_rate.*nan"),
    ({"model": "lstm", "use_bias": False}, "use_bias must be true"),
    ({"seeds": 10**6}, "seeds must be at most"),
    ({"average": 0.0}, "average must be greater than 0, got 0"),
    ({"average": 1.5}, "average must be at most 1, got 1.5"),
  ],
)
def test_a_wrong_configuration_is_named(changes, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(SMALL, **changes)


def test_names_of_runs_before_there_were_averages_stay():
  assert CorpusConfig().digest() == "320cc2fc"
  assert CorpusConfig(average=0.1).digest() != CorpusConfig().digest()
