"""Passes over music and text: what is seen, carried, scored and decided."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import natural, natural_experiment, streams
from steadygrad.natural import Status
from steadygrad.training.config import CorpusConfig
from steadygrad.data import music
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


def experiment(traced=None, **changes):
  config = dataclasses.replace(SMALL, **changes)
  return natural_experiment.experiment(config, music.NUM_NOTES, traced)


@pytest.fixture(scope="module")
def stream():
  return streams.pieces_stream(corpora_cases.small_pieces(0, LENGTHS))


def plan_of(exp, stream, seed=0):
  config = exp.config
  rng = np.random.default_rng(seed)
  return streams.deal(stream, config.batch_size, config.chunk_length, rng)


def started(exp, seed=0):
  return natural.init(exp, jax.random.key(seed))


@functools.cache
def trainer(exp_changes):
  exp = experiment(**dict(exp_changes))
  return exp, jax.jit(functools.partial(natural.train_updates, exp))


def train(stream, *stops, seed=0, **changes):
  """The state after a pass made in so many parts."""
  exp, run = trainer(tuple(changes.items()))
  plan, state = plan_of(exp, stream, seed), started(exp)
  for stop in (*stops, len(plan.begins)):
    state = run(stream.rows, stream.ahead, plan, state, stop)
  return exp, state


def test_evaluation_goes_through_whole_pieces(stream):
  exp = experiment()
  params = started(exp).params
  plan = streams.deal(stream, 3, 6)
  totals = natural.evaluate(exp, stream.rows, 1, plan, params, len(LENGTHS))
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
def test_a_pass_is_what_a_plain_loop_does(stream, cost, rate, max_norm):
  """Each piece's state carried in a dict, autodiff, clipping, SGD."""
  exp, state = train(stream, cost=cost, learning_rate=rate, max_norm=max_norm)
  plan, params = plan_of(exp, stream), started(exp).params
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
        rows = stream.rows[first : first + n + 1].astype(np.float32)
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


def test_parts_of_a_pass_change_no_bit(stream):
  _, whole = train(stream, algorithm="msgd_cr")
  _, parts = train(stream, 1, 3, 4, algorithm="msgd_cr")
  chex.assert_trees_all_equal(whole, parts)


@functools.cache
def pass_end(exp_changes):
  exp = experiment(**dict(exp_changes))
  run = functools.partial(natural.end_epoch, exp)
  return exp, jax.jit(run, static_argnums=(1, 3))


def ended(
  stream,
  params=None,
  go_back=False,
  halve_after=None,
  min_gain=0.0,
  share=None,
  **state,
):
  """(state, info) after the end of a pass without an update."""
  changes = {
    "go_back": go_back,
    "halve_after": halve_after,
    "min_gain": min_gain,
    "average": share,
  }
  exp, run = pass_end(tuple(changes.items()))
  before = started(exp)._replace(**state)
  before = before._replace(params=params or before.params)
  plan = streams.deal(stream, 3, 6)
  return run(stream.rows, 1, plan, len(LENGTHS), before)


@pytest.fixture(scope="module")
def valid(stream):
  """The validation error of the initial parameters."""
  return float(ended(stream)[1]["valid"])


def test_the_first_pass_is_the_best_so_far(stream, valid):
  state, info = ended(stream)
  assert int(state.epoch) == int(state.best_epoch) == 1
  assert float(state.best_valid) == float(state.last_valid) == valid
  assert float(state.rate) == float(info["rate"]) == 0.5
  assert int(state.update) == 0 and not float(state.sums["steps"])


@pytest.mark.parametrize("change, rate", [(-0.01, 0.25), (0.01, 0.5)])
def test_the_rate_is_halved_where_the_error_rises(stream, valid, change, rate):
  state, _ = ended(stream, last_valid=jnp.float32(valid + change))
  assert float(state.rate) == rate


@pytest.mark.parametrize("last, rate", [(1.02, 0.5), (1.005, 0.25)])
def test_the_rate_is_halved_where_the_error_falls_too_little(
  stream, valid, last, rate
):
  last_valid = jnp.float32(last * valid)
  state, _ = ended(stream, min_gain=0.01, last_valid=last_valid)
  assert float(state.rate) == rate
  assert float(ended(stream, min_gain=0.01)[0].rate) == 0.5


@pytest.mark.parametrize(
  "waited, best, rate, waits",
  [(0, -1, 0.5, 1), (2, -1, 0.25, 0), (2, 1, 0.5, 0)],
)
def test_the_rate_may_wait_for_a_new_best(
  stream, valid, waited, best, rate, waits
):
  state, _ = ended(
    stream,
    halve_after=3,
    best_valid=jnp.float32(valid + best),
    last_valid=jnp.float32(valid - 1),
    waited=jnp.int32(waited),
  )
  assert float(state.rate) == rate
  assert int(state.waited) == waits


@pytest.mark.parametrize("go_back", [False, True])
def test_the_best_parameters_are_kept_and_gone_back_to(stream, valid, go_back):
  exp = experiment()
  best = started(exp, seed=1).params
  params = started(exp).params
  state, _ = ended(
    stream,
    go_back=go_back,
    best_params=best,
    best_valid=jnp.float32(valid - 1),
    best_epoch=jnp.int32(3),
    epoch=jnp.int32(3),
    last_valid=jnp.float32(valid - 1),
  )
  chex.assert_trees_all_equal(state.best_params, best)
  chex.assert_trees_all_equal(state.params, best if go_back else params)
  assert int(state.best_epoch) == 3 and int(state.status) == Status.RUNNING


@pytest.mark.parametrize("epoch, status", [(3, "RUNNING"), (4, "STOPPED")])
def test_patience_ends_a_seed(stream, valid, epoch, status):
  state, _ = ended(
    stream,
    best_valid=jnp.float32(valid - 1),
    best_epoch=jnp.int32(3),
    epoch=jnp.int32(epoch),
  )
  assert int(state.status) == Status[status]


@pytest.mark.parametrize(
  "rate, status", [(2**-6, "RUNNING"), (2**-7, "STOPPED")]
)
def test_a_rate_halved_too_often_ends_a_seed(stream, valid, rate, status):
  last = jnp.float32(valid - 1)
  state, _ = ended(stream, rate=jnp.float32(rate), last_valid=last)
  assert int(state.status) == Status[status]
  assert float(state.rate) == rate / 2


def test_the_average_follows_the_parameters_and_does_not_steer(stream):
  exp, run = trainer((("average", 0.25),))
  plan, state = plan_of(exp, stream), started(exp)
  expected = oracles.to_numpy(state.params)
  for update in range(len(plan.begins)):
    state = run(stream.rows, stream.ahead, plan, state, update + 1)
    expected = jax.tree.map(
      lambda a, p: 0.75 * a + 0.25 * np.asarray(p), expected, state.params
    )
  chex.assert_trees_all_close(state.average, expected, rtol=1e-5, atol=1e-7)
  chex.assert_trees_all_equal(state.params, train(stream)[1].params)


@pytest.mark.parametrize("go_back", [False, True])
def test_the_average_is_validated_and_kept(stream, valid, go_back):
  exp = experiment()
  average = started(exp, seed=1).params
  state, info = ended(stream, average, go_back=go_back)
  expected = float(info["valid"])
  assert expected != valid
  state, info = ended(stream, go_back=go_back, share=0.1, average=average)
  assert float(info["valid"]) == float(state.best_valid) == expected
  chex.assert_trees_all_equal(state.best_params, average)
  chex.assert_trees_all_equal(state.params, started(exp).params)
  chex.assert_trees_all_equal(state.average, average)
  worse = dict(best_params=average, best_valid=jnp.float32(0))
  worse |= dict(last_valid=jnp.float32(0), best_epoch=jnp.int32(1))
  params = started(exp).params
  state, _ = ended(stream, go_back=go_back, share=0.1, average=params, **worse)
  chex.assert_trees_all_equal(state.params, average if go_back else params)
  chex.assert_trees_all_equal(state.average, average if go_back else params)


def test_a_seed_that_is_done_makes_no_update(stream):
  exp = experiment()
  state = started(exp)._replace(status=jnp.int32(Status.STOPPED))
  after = natural.train_updates(
    exp, stream.rows, 1, plan_of(exp, stream), state, 5
  )
  chex.assert_trees_all_equal(after, state)


@pytest.mark.parametrize(
  "go_back, halve_after", [(False, None), (True, None), (True, 3)]
)
def test_divergence_is_an_outcome(stream, valid, go_back, halve_after):
  exp = experiment()
  broken = jax.tree.map(lambda p: p * jnp.nan, started(exp).params)
  best = started(exp).params
  state, info = ended(
    stream,
    broken,
    go_back=go_back,
    halve_after=halve_after,
    best_params=best,
    best_valid=jnp.float32(valid),
    best_epoch=jnp.int32(2),
    epoch=jnp.int32(2),
  )
  assert float(info["valid"]) == np.inf
  chex.assert_trees_all_equal(state.best_params, best)
  wanted = Status.RUNNING if go_back else Status.DIVERGED
  assert int(state.status) == wanted
  if go_back:
    chex.assert_trees_all_equal(state.params, best)
    np.testing.assert_allclose(state.last_valid, valid)
    np.testing.assert_allclose(state.rate, exp.hyper.learning_rate / 2)


def test_a_first_pass_that_diverges_has_nothing_to_go_back_to(stream):
  exp = experiment()
  broken = jax.tree.map(lambda p: p * jnp.nan, started(exp).params)
  state, _ = ended(stream, broken, go_back=True)
  assert int(state.status) == Status.DIVERGED
  assert int(state.best_epoch) == 0


@pytest.mark.parametrize("decay, weight", [("constant", 0.4), ("epoch", 0.1)])
def test_weight_of_omega_in_the_fourth_pass(decay, weight):
  exp = experiment(omega_weight=0.4, omega_decay=decay)
  got = natural_experiment.omega_weight(exp, jnp.int32(3))
  np.testing.assert_allclose(got, weight, rtol=1e-6)


def test_halving_and_decay_need_no_new_program(stream):
  traces = []

  @jax.jit
  def run(numbers, state):
    traces.append(1)
    exp = experiment(natural_experiment.Hyper(*numbers), algorithm="msgd_cr")
    return natural.train_updates(
      exp, stream.rows, 1, plan_of(exp, stream), state, 1
    )

  exp = experiment(algorithm="msgd_cr")
  numbers = [np.float32(x) for x in natural_experiment.hyper(exp.config)]
  state = run(numbers, started(exp))
  halved = state._replace(rate=state.rate / 2, epoch=state.epoch + 1)
  run([n / 2 for n in numbers], halved)
  assert len(traces) == 1


@pytest.mark.parametrize(
  "changes",
  [
    {"cell": "lstm", "algorithm": "msgd_cr"},
    {"optimizer": "adam", "learning_rate": 0.01, "algorithm": "msgd_cr"},
    {"optimizer": "nesterov", "form": "x", "use_bias": False},
  ],
)
def test_every_kind_of_network_and_optimiser_learns(stream, changes):
  exp, run = trainer(tuple(changes.items()))
  plan, state = plan_of(exp, stream), started(exp)
  losses = []
  for _ in range(4):
    state = run(stream.rows, 1, plan, state, len(plan.begins))
    losses.append(float(state.sums["loss"]))
    zeros = jax.tree.map(jnp.zeros_like, state.sums)
    state = state._replace(sums=zeros, update=jnp.int32(0))
  assert losses[-1] < 0.7 * losses[0]


def test_a_text_with_a_period_is_learnt():
  """Six symbols in turn: a network that sees them knows the third ahead."""
  ahead = 3
  text = np.tile(np.arange(6, dtype=np.uint8), 200)
  stream = streams.text_stream(text, ahead, 4)
  config = dataclasses.replace(
    SMALL, data="ptb5", cost="sum", learning_rate=0.1, batch_size=4
  )
  exp = natural_experiment.experiment(config, 6)
  plan, state = streams.deal(stream, 4, 6), started(exp)
  run = jax.jit(functools.partial(natural.train_updates, exp))
  for _ in range(8):
    state = run(stream.rows, ahead, plan, state, len(plan.begins))
    state = state._replace(update=jnp.int32(0))
  totals = natural.evaluate(exp, stream.rows, ahead, plan, state.params, 4)
  assert float(totals.sum()) / stream.lengths.sum() < 0.3 * np.log(6)


@pytest.mark.parametrize(
  "changes, said",
  [
    ({"data": "bach"}, "data must be one of piano.*'bach'"),
    ({"chunk_length": 0}, "chunk_length must be at least 1, got 0"),
    ({"learning_rate": float("nan")}, "learning_rate.*nan"),
    ({"cell": "lstm", "use_bias": False}, "use_bias must be true"),
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
