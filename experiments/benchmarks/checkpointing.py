"""What gradient checkpointing costs in time, and what it saves in memory.

One network, one device. Memory is the temporary memory that XLA plans for the
compiled update, beside parameters, batch and results; time is the median of
turns, one after the other. Recurrent networks keep every K-th state, K near
√(T / 3); a transformer of four blocks keeps the stream between its blocks.
"""

import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax

from steadygrad import adjoints, cells, models, tasks, transforms
from steadygrad.losses import cross_entropy
from steadygrad.types import Model

BLOCKS = 4
MODELS = ("elman", "lstm", "transformer")
# A transformer's attention is T by T: longer ones fit no machine.
LONGEST = {"transformer": 2000}


def model_of(name: str, units: int, again: bool) -> Model:
  """A network for temporal order; `again` of a transformer's blocks."""
  task = tasks.temporal_order(length=10)
  if name == "transformer":
    size = models.Size(units, layers=BLOCKS, heads=2)
    readout = models.transformer_readout(
      size, task.output_size, checkpoint=again
    )
    return models.recurrent(cells.embedding(task.input_size, units), readout)
  make = {"elman": cells.elman, "lstm": cells.lstm}[name]
  cell = make(task.input_size, units)
  return models.recurrent(cell, models.linear_readout(units, task.output_size))


def update_of(name: str, units: int, again: bool, omega: bool) -> tuple:
  """(the model, (params, batch) -> updates of the parameters)."""
  model = model_of(name, units, again)
  chain = [transforms.clip_by_global_norm(1.0), optax.sgd(0.01)]
  if omega:
    chain.insert(0, transforms.add_omega_gradient(model.cell, weight=4.0))
  tx = optax.chain(*chain)
  recurrent = name != "transformer"
  run = adjoints(
    model,
    cross_entropy,
    checkpoint_every="sqrt" if again and recurrent else None,
  )

  def update(params, batch):
    _, grads, seen = run(params, batch)
    extra = {"trajectory": seen} if omega else {}
    return tx.update(grads, tx.init(params), params, **extra)[0]

  return model, update


def measure(
  name: str, length: int, *, units: int, batch: int, omega: bool, rounds: int
) -> list[dict]:
  """Two rows of one size: all states kept, and some."""
  rows, programs = [], []
  given = tasks.temporal_order(length=length).sample(jax.random.key(1), batch)
  for again in (False, True):
    model, update = update_of(name, units, again, omega)
    params = model.init(jax.random.key(0))
    program = jax.jit(update).lower(params, given).compile()
    memory = program.memory_analysis().temp_size_in_bytes
    programs.append((program, params))
    rows.append(
      {
        "model": name,
        "length": length,
        "units": units,
        "batch": batch,
        "omega": omega,
        "checkpoint": again,
        "mib": memory / 2**20,
        "platform": jax.devices()[0].platform,
      }
    )
  seconds = _in_turns(
    [lambda p=p, x=x: p(x, given) for p, x in programs], rounds
  )
  return [r | {"seconds": s} for r, s in zip(rows, seconds, strict=True)]


def _in_turns(runs: list[Callable], rounds: int) -> list[list[float]]:
  """Seconds of every turn; the first, which warms up, is left out."""
  times = [[] for _ in runs]
  for turn in range(rounds + 1):
    for run, own in zip(runs, times, strict=True):
      began = time.perf_counter()
      jax.block_until_ready(run())
      if turn:
        own.append(time.perf_counter() - began)
  return times


def run(
  *,
  models: Sequence[str] = MODELS,
  lengths: Sequence[int] = (100, 1000, 10_000, 100_000),
  units: int = 50,
  batch: int = 20,
  rounds: int = 5,
  keep: Callable[[list[dict]], None] = lambda _: None,
) -> None:
  """Prints a row for each size, and gives all rows to `keep` after each."""
  rows: list[dict] = []
  print("model        T       Ω    kept MiB  some MiB  of it  time ratio")
  for name in models:
    for length in lengths:
      if length > LONGEST.get(name, length):
        continue
      for omega in (False, True) if name != "transformer" else (False,):
        pair = measure(
          name, length, units=units, batch=batch, omega=omega, rounds=rounds
        )
        rows += pair
        show(*pair)
        keep(rows)


def show(kept: dict, some: dict) -> None:
  """One line of the table."""
  ratio = np.median(np.array(some["seconds"]) / np.array(kept["seconds"]))
  omega = "yes" if kept["omega"] else "no"
  print(
    f"{kept['model']:12s} {kept['length']:<7d} {omega:4s}"
    f" {kept['mib']:9.2f} {some['mib']:9.2f}"
    f" {some['mib'] / kept['mib']:6.2f} {ratio:10.2f}",
    flush=True,
  )
