"""What an update of each network costs: parameters, time, memory.

One network, one device, temporal order, Adam with clipping; whole updates, with
sampling. Networks go in turn, round after round, and a row is the median with
its range. Memory is the temporary memory that XLA plans for one update.
"""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import training
from steadygrad.training.config import TaskConfig

TURN_SECONDS = 0.3


def runner(config: TaskConfig) -> tuple[Callable[[int], None], dict]:
  """(n -> does n updates, blocking; parameters and MiB)."""
  exp = training.experiment(config)
  data, key = training.Data(), jax.random.key(0)
  state = training.init(exp, key)

  def updates(n, state):
    def step(_, state):
      return training.update(exp, data, key, state)[0]

    return jax.lax.fori_loop(0, n, step, state)

  program = jax.jit(updates).lower(jnp.int32(1), state).compile()
  memory = program.memory_analysis().temp_size_in_bytes
  sizes = [p.size for p in jax.tree.leaves(state.params)]

  def run(n):
    jax.block_until_ready(program(jnp.int32(n), state))

  run(1)
  return run, {"parameters": sum(sizes), "mib": memory / 2**20}


def measure(
  names: Sequence[str], length: int, units: int, batch: int, rounds: int
) -> list[dict]:
  """A row for each network at one length."""
  runs, rows, counts = [], [], []
  for name in names:
    config = TaskConfig(
      model=name,
      length=length,
      hidden_size=units,
      batch_size=batch,
      algorithm="msgd_c",
      optimizer="adam",
    )
    run, about = runner(config)
    size = {"length": length, "units": units, "batch": batch}
    rows.append({"model": name, **size, **about})
    runs.append(run)
    began = time.perf_counter()
    run(3)
    each = (time.perf_counter() - began) / 3
    counts.append(max(1, round(TURN_SECONDS / each)))
  times: list[list[float]] = [[] for _ in runs]
  for _ in range(rounds):
    for run, count, own in zip(runs, counts, times, strict=True):
      began = time.perf_counter()
      run(count)
      own.append((time.perf_counter() - began) / count)
  platform = jax.devices()[0].platform
  return [
    row | {"platform": platform, "seconds": own}
    for row, own in zip(rows, times, strict=True)
  ]


def run(
  *,
  models: Sequence[str],
  lengths: Sequence[int] = (100,),
  units: int = 48,
  batch: int = 20,
  rounds: int = 7,
  keep: Callable[[list[dict]], None] = lambda _: None,
) -> None:
  """Prints a row for each network and length; gives all to `keep`."""
  rows: list[dict] = []
  print("model        T     parameters      ms (least to most)        MiB")
  for length in lengths:
    found = measure(models, length, units, batch, rounds)
    rows += found
    for row in found:
      ms = 1000 * np.array(row["seconds"])
      print(
        f"{row['model']:12s} {length:<6d} {row['parameters']:9d}"
        f" {np.median(ms):9.2f} ({ms.min():.2f} to {ms.max():.2f})"
        f" {row['mib']:9.2f}",
        flush=True,
      )
    keep(rows)
