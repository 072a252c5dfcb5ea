"""What the update is compared with: code a user of each library would write.

Every runner does whole updates, sampling and optimiser included, and has

  run(n)            n updates of every seed, blocking
  compile_seconds   None where nothing is compiled
  peak_mib          of the compiled program; None where it is not told
"""

import functools
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from steadygrad import training
from steadygrad.runs import placement
from steadygrad.tasks import temporal_order
from steadygrad.training.config import TaskConfig


class Case(NamedTuple):
  """One size: algorithm, T, N, B and S."""

  algorithm: str
  length: int
  units: int
  batch: int
  seeds: int


class Runner(NamedTuple):
  """See the module docstring."""

  run: Callable[[int], None]
  compile_seconds: float | None = None
  peak_mib: float | None = None
  close: Callable[[], None] = lambda: None


def compiled(fn, *arguments, **jit_options) -> Runner:
  """Runner of fn(n, *arguments), compiled once for every n."""
  started = time.perf_counter()
  n = np.int32(1)
  program = jax.jit(fn, **jit_options).lower(n, *arguments).compile()
  seconds = time.perf_counter() - started
  memory = program.memory_analysis()
  peak = None
  if memory is not None:
    sizes = memory.temp_size_in_bytes, memory.argument_size_in_bytes
    peak = (sum(sizes) + memory.output_size_in_bytes) / 2**20

  def run(n):
    jax.block_until_ready(program(np.int32(n), *arguments))

  run(1)
  return Runner(run, seconds, peak)


def steadygrad(
  case: Case, implementation: str | None = None, precision: str | None = None
) -> Runner:
  """This project: fused passes, seeds over devices."""
  config = TaskConfig(
    length=case.length,
    hidden_size=case.units,
    batch_size=case.batch,
    algorithm=case.algorithm,
    seeds=case.seeds,
    precision=precision,
  )
  exp = training.experiment(config, implementation=implementation)

  def updates(key, state, n):
    def body(_, carry):
      state, total = carry
      state, info = training.update(exp, training.Data(), key, state)
      return state, jax.tree.map(jnp.add, total, info)

    shapes = jax.eval_shape(
      lambda s: training.update(exp, training.Data(), key, s), state
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[1])
    return jax.lax.fori_loop(0, n, body, (state, zeros))

  return _over_devices(updates, case, lambda key: training.init(exp, key))


def products(case: Case) -> Runner:
  """Four bare products of the update's shapes, placed as the update is.

  The recursion's two as scans of T products [B, N] [N, N], the weight
  gradient's and Omega's as one product [N, TB] [TB, N] each.
  """
  shape = case.length * case.batch, case.units
  highest = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

  def multiply(key, state, n):
    del key

    def body(_, carry):
      w, x, a, total = carry
      for matrix in (w, w.T):
        step = lambda x, _, m=matrix: (highest(x, m), None)  # noqa: E731
        x, _ = jax.lax.scan(step, x, None, length=case.length)
      # Both depend on what came before, so that neither leaves the loop.
      first = highest(a.T, a + total[0, 0])
      second = highest(a.T, a + first[0, 0])
      return w, x, a, 1e-30 * (first + second)

    return jax.lax.fori_loop(0, n, body, state)

  def init(key):
    w = jax.random.orthogonal(key, case.units)
    x = jax.random.normal(key, (case.batch, case.units))
    a = jax.random.normal(key, shape)
    return w, x, a, jnp.zeros((case.units, case.units))

  return _over_devices(multiply, case, init)


def _over_devices(fn, case, init) -> Runner:
  devices = jax.devices()
  mapped, sharding = placement.map_seeds(fn, devices)
  slots = len(placement.seats(case.seeds, len(devices)).order)
  keys = jax.vmap(jax.random.key)(jnp.arange(slots))
  states = jax.jit(jax.vmap(init))(keys)
  shares = np.arange(len(devices)) < case.seeds % len(devices)
  counts = (case.seeds // len(devices) + shares).astype(np.int32)
  arguments = jax.device_put((counts, keys, states), sharding)

  def run(n, counts, keys, states):
    return mapped(counts, keys, states, jnp.full(slots, n))

  return compiled(run, *arguments)


def _vmapped(case: Case, forward, init) -> Runner:
  """Autodiff, Optax and `vmap` over seeds, in one compiled loop."""
  task = temporal_order(case.length)
  links = [optax.sgd(0.01)]
  if case.algorithm != "msgd":
    links.insert(0, optax.clip_by_global_norm(1.0))
  tx = optax.chain(*links)

  def loss_fn(params, taps, batch):
    logits, states = forward(params, batch.us, taps)
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits, batch.targets
    )
    return losses.mean(), states

  def update(key, state, i):
    params, opt_state = state
    batch = task.sample(jax.random.fold_in(key, i), case.batch)
    if case.algorithm == "msgd_cr":
      taps = jnp.zeros((case.length, case.batch, case.units))
      (_, states), (grads, deltas) = jax.value_and_grad(
        loss_fn, (0, 1), has_aux=True
      )(params, taps, batch)
      omega = functools.partial(_omega, states, deltas)
      d_omega = jax.grad(omega)(params["w_rec"])
      grads["w_rec"] += 4.0 * d_omega
    else:
      grads = jax.grad(loss_fn, has_aux=True)(params, None, batch)[0]
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  def run(n, keys, states):
    body = lambda i, s: jax.vmap(update, (0, 0, None))(keys, s, i)  # noqa: E731
    return jax.lax.fori_loop(0, n, body, states)

  keys = jax.vmap(jax.random.key)(jnp.arange(case.seeds))
  params = jax.jit(jax.vmap(init))(keys)
  return compiled(run, keys, (params, jax.vmap(tx.init)(params)))


def _omega(states, deltas, w_rec):
  """The authors' Omega as a user would write it; h-form."""
  products = (deltas * (1 - states**2)) @ w_rec.T
  norms = jnp.sum(deltas**2, -1)
  valid = norms >= 1e-20
  ratio = jnp.sum(products**2, -1) / jnp.where(valid, norms, 1)
  return jnp.sum(jnp.where(valid, (ratio - 1) ** 2, 0)) / jnp.sum(valid)


def naive_jax(case: Case) -> Runner:
  """`lax.scan`, autodiff, Optax, `vmap` over seeds: what a user would write."""

  def init(key):
    keys = jax.random.split(key, 3)
    draw = lambda k, *shape: 0.1 * jax.random.normal(k, shape)  # noqa: E731
    return {
      "w_rec": draw(keys[0], case.units, case.units),
      "w_in": draw(keys[1], 6, case.units),
      "b": jnp.zeros(case.units),
      "w_out": draw(keys[2], case.units, 4),
      "b_out": jnp.zeros(4),
    }

  def forward(params, us, taps):
    def step(h, inputs):
      u, tap = inputs
      pre = h @ params["w_rec"] + u @ params["w_in"] + params["b"]
      h = jnp.tanh(pre)
      h = h if tap is None else h + tap
      return h, h

    h = jnp.zeros((us.shape[1], case.units))
    h, hs = jax.lax.scan(step, h, (us, taps))
    return h @ params["w_out"] + params["b_out"], hs

  return _vmapped(case, forward, init)


def flax_rnn(case: Case) -> Runner | None:
  """`flax.linen.RNN(SimpleCell)`, vmapped; it has no way to Omega."""
  if case.algorithm == "msgd_cr":
    return None
  rnn = nn.RNN(nn.SimpleCell(case.units), time_major=True)
  readout = nn.Dense(4)

  def init(key):
    us = jnp.zeros((2, 1, 6))
    return {
      "rnn": rnn.init(key, us),
      "out": readout.init(key, jnp.zeros((1, case.units))),
    }

  def forward(params, us, taps):
    del taps
    hs = rnn.apply(params["rnn"], us)
    return readout.apply(params["out"], hs[-1]), hs

  return _vmapped(case, forward, init)


def torch_rnn(case: Case) -> Runner | None:
  """`torch.nn.RNN`, seeds over as many processes as there are cores."""
  if importlib.util.find_spec("torch") is None or case.algorithm == "msgd_cr":
    return None
  context = multiprocessing.get_context("spawn")
  num_workers = min(len(jax.devices()), case.seeds)
  pipes, workers = [], []
  for worker in range(num_workers):
    here, there = context.Pipe()
    seeds = (case.seeds + num_workers - 1 - worker) // num_workers
    process = context.Process(target=_torch_worker, args=(there, case, seeds))
    process.start()
    pipes.append(here)
    workers.append(process)

  def run(n):
    for pipe in pipes:
      pipe.send(n)
    for pipe in pipes:
      pipe.recv()

  def close():
    for pipe in pipes:
      pipe.send(None)
    for process in workers:
      process.join(timeout=30)

  run(1)
  return Runner(run, close=close)


def _torch_worker(pipe, case: Case, seeds: int) -> None:
  import torch

  torch.set_num_threads(1)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  models = []
  for seed in range(seeds):
    torch.manual_seed(seed)
    rnn = torch.nn.RNN(6, case.units, nonlinearity="tanh").to(device)
    models.append((rnn, torch.nn.Linear(case.units, 4).to(device)))
  while (n := pipe.recv()) is not None:
    for _ in range(n):
      for rnn, out in models:
        _torch_update(torch, case, rnn, out, device)
    if device == "cuda":
      torch.cuda.synchronize()
    pipe.send(True)


def _torch_update(torch, case, rnn, out, device) -> None:
  """Temporal order, as `steadygrad.tasks` samples it."""
  length, batch = case.length, case.batch
  sequence = torch.randint(2, 6, (length, batch), device=device)
  symbols = torch.randint(0, 2, (2, batch), device=device)
  columns = torch.arange(batch, device=device)
  for i, (low, high) in enumerate(
    ((length // 10, length // 5), (length // 2, length * 6 // 10))
  ):
    places = torch.randint(low, high, (batch,), device=device)
    sequence[places, columns] = symbols[i]
  us = torch.nn.functional.one_hot(sequence, 6).float()
  parameters = [*rnn.parameters(), *out.parameters()]
  logits = out(rnn(us)[0][-1])
  targets = 2 * symbols[0] + symbols[1]
  loss = torch.nn.functional.cross_entropy(logits, targets)
  grads = torch.autograd.grad(loss, parameters)
  if case.algorithm == "msgd_c":
    norm = torch.sqrt(sum((g * g).sum() for g in grads))
    scale = torch.clamp(1.0 / norm, max=1.0)
    grads = [g * scale for g in grads]
  with torch.no_grad():
    for p, g in zip(parameters, grads, strict=True):
      p -= 0.01 * g


IMPLEMENTATIONS = {
  "steadygrad": steadygrad,
  "naive_jax": naive_jax,
  "flax_rnn": flax_rnn,
  "torch_rnn": torch_rnn,
}
