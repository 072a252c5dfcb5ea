"""Times passes over long sequences in chunks: this project and its peers.

One network on one core (or one accelerator), updates of B chunks of T steps,
the state carried from chunk to chunk, back-propagation, clipping and SGD.
Everyone gets the same drawn data, with no padding, and tanh units, for
`torch.nn.RNN` has no sigmoid; its matrix products and threads are those of one
core. Runners go in turn, round after round, and a row is the median with its
range.
"""

import functools
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from steadygrad import training
from steadygrad.data import music, streams, text
from steadygrad.data.corpus import SPLITS, Corpus
from steadygrad.training import CorpusConfig, Data

PROBLEMS = {"music": 300, "text": 500}  # Units, where none are asked for.
RATE, MAX_NORM = 0.01, 8.0


class Case(NamedTuple):
  """Problem, N, B, T, and chunks of a pass: inputs and targets."""

  problem: str
  units: int
  batch: int
  length: int
  updates: int
  symbols: int
  stream: streams.Stream


def make_case(
  problem: str, units: int, batch: int, length: int, updates: int
) -> Case:
  """Drawn data: B pieces, each of `updates` whole chunks."""
  rng = np.random.default_rng(0)
  steps = updates * length
  if problem == "music":
    symbols = music.NUM_NOTES
    rolls = rng.random((batch, steps, symbols)) < 0.04
    stream = streams.pieces_stream(list(rolls.astype(np.uint8)))
  else:
    symbols = 50
    drawn = rng.integers(0, symbols, batch * steps + 1).astype(np.uint8)
    stream = streams.text_stream(drawn, 1, batch)
  return Case(problem, units, batch, length, updates, symbols, stream)


def steadygrad(case: Case, algorithm: str = "msgd_c"):
  """This project."""
  config = CorpusConfig(
    data="jsb" if case.problem == "music" else "ptb",
    hidden_size=case.units,
    batch_size=case.batch,
    chunk_length=case.length,
    activation="tanh",
    init="basic_tanh",
    algorithm=algorithm,
    learning_rate=RATE,
    max_norm=MAX_NORM,
  )
  parts = dict.fromkeys(SPLITS, case.stream)
  corpus = Corpus(
    case.stream, parts, case.symbols, None, "nats per step", 1.0, {}, {}
  )
  exp, key = training.experiment(config, corpus=corpus), jax.random.key(0)
  data = jax.device_put(Data(exp.data, exp.batches.plan(0, 0)))
  run = jax.jit(functools.partial(training.advance, exp))
  state = training.init(exp, key)

  def one_pass():
    jax.block_until_ready(run(data, key, state, case.updates))

  return one_pass


def _chunks(case: Case):
  """(inputs, targets) [U, T, B, ...] as the plan has them."""
  plan = streams.deal(case.stream, case.batch, case.length)
  index = plan.begins[:, None, :] + np.arange(case.length)[:, None]
  rows = case.stream.rows
  return rows[index], rows[index + 1]


def flax_rnn(case: Case):
  """`flax.linen.RNN`, autodiff and Optax in a scan over the pass."""
  rnn = nn.RNN(nn.SimpleCell(case.units), time_major=True, return_carry=True)
  readout = nn.Dense(case.symbols)
  tx = optax.chain(optax.clip_by_global_norm(MAX_NORM), optax.sgd(RATE))
  inputs, targets = (jnp.asarray(x) for x in _chunks(case))
  losses_of = (music if case.problem == "music" else text).step_losses

  def encode(rows):
    if case.problem == "music":
      return rows.astype(jnp.float32)
    return jax.nn.one_hot(rows, case.symbols)

  def loss(params, carry, us, targets):
    carry, hs = rnn.apply(params[0], us, initial_carry=carry)
    losses = losses_of(readout.apply(params[1], hs), targets)
    return losses.mean(), carry

  def update(state, chunk):
    params, opt_state, carry = state
    us, targets = chunk
    grads, carry = jax.grad(loss, has_aux=True)(
      params, carry, encode(us), targets
    )
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state, carry), None

  key = jax.random.key(0)
  carry = jnp.zeros((case.batch, case.units))
  params = (
    rnn.init(key, encode(inputs[0])),
    readout.init(key, jnp.zeros((1, case.units))),
  )
  run = jax.jit(lambda s: jax.lax.scan(update, s, (inputs, targets))[0])
  state = params, tx.init(params), carry

  def one_pass():
    jax.block_until_ready(run(state))

  return one_pass


def torch_rnn(case: Case):
  """`torch.nn.RNN` and a loop; None where torch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return None
  import torch
  from torch.nn import functional

  torch.set_num_threads(1)
  torch.manual_seed(0)
  rnn = torch.nn.RNN(case.symbols, case.units)
  readout = torch.nn.Linear(case.units, case.symbols)
  parameters = [*rnn.parameters(), *readout.parameters()]
  optimizer = torch.optim.SGD(parameters, lr=RATE)
  inputs, targets = (torch.from_numpy(x.copy()) for x in _chunks(case))

  def loss_of(logits, targets):
    if case.problem == "music":
      terms = functional.binary_cross_entropy_with_logits(
        logits, targets.float(), reduction="none"
      )
      return terms.sum(-1).mean()
    return functional.cross_entropy(
      logits.flatten(0, 1), targets.flatten().long()
    )

  def one_pass():
    carry = torch.zeros(1, case.batch, case.units)
    for us, wanted in zip(inputs, targets, strict=True):
      if case.problem == "music":
        us = us.float()
      else:
        us = functional.one_hot(us.long(), case.symbols).float()
      hs, carry = rnn(us, carry.detach())
      optimizer.zero_grad()
      loss_of(readout(hs), wanted).backward()
      torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
      optimizer.step()

  return one_pass


IMPLEMENTATIONS = {
  "steadygrad": steadygrad,
  "steadygrad_omega": functools.partial(steadygrad, algorithm="msgd_cr"),
  "flax_rnn": flax_rnn,
  "torch_rnn": torch_rnn,
}


def measure(case: Case, names: Sequence[str], rounds: int) -> list[dict]:
  """A row for each implementation that there is."""
  runners = {name: IMPLEMENTATIONS[name](case) for name in names}
  runners = {name: run for name, run in runners.items() if run}
  times: dict[str, list[float]] = {name: [] for name in runners}
  for run in runners.values():
    run()  # Compiles.
  for _ in range(rounds):
    for name, run in runners.items():
      started = time.perf_counter()
      run()
      times[name].append(time.perf_counter() - started)
  steps = case.updates * case.length * case.batch
  first = np.array(next(iter(times.values())))
  rows = []
  for name, seconds in times.items():
    rates = steps / np.array(seconds)
    rows.append(
      {
        "implementation": name,
        "steps_per_second": float(np.median(rates)),
        "slowest": float(rates.min()),
        "fastest": float(rates.max()),
        "times_the_first": float(np.median(np.array(seconds) / first)),
        "rounds": seconds,
      }
    )
  return rows


def run(
  *,
  problem: str = "music",
  units: int | None = None,
  batch: int = 4,
  length: int = 200,
  updates: int = 25,
  implementations: Sequence[str] = tuple(IMPLEMENTATIONS),
  rounds: int = 7,
  keep: Callable[[dict, list[dict]], None] = lambda *_: None,
) -> None:
  """Measures one size and prints its table.

  Args:
    problem: "music" or "text": cost and sizes.
    units: N, by default that of `PROBLEMS`.
    batch: B.
    length: T.
    updates: of a pass.
    implementations: any of `IMPLEMENTATIONS`; ratios are against the first.
    rounds: turns of each.
    keep: is given the size and its rows.
  """
  units = units or PROBLEMS[problem]
  case = make_case(problem, units, batch, length, updates)
  rows = measure(case, implementations, rounds)
  size = {
    k: v for k, v in case._asdict().items() if k not in ("stream", "symbols")
  }
  print(", ".join(f"{k} {v}" for k, v in size.items()))
  print(
    "implementation       steps/s (range)            times the first's time"
  )
  for row in rows:
    print(
      f"{row['implementation']:20s} {row['steps_per_second']:9.0f}"
      f" ({row['slowest']:.0f} to {row['fastest']:.0f})"
      f" {row['times_the_first']:8.2f}"
    )
  keep(size, rows)
