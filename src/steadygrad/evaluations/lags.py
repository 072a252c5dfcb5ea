"""What reaches the past in networks on a task: before training, and after it.

|dE/du_t| by lag is the one profile that means the same in a recurrent network,
behind attention, and in a transformer. Of a recurrent network there is also the
largest Lyapunov exponent along its sequences; of a transformer, the growth of
its error signal a layer.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import analysis, records, training
from steadygrad._unroll import unroll
from steadygrad.evaluations import trained
from steadygrad.models.transformer import layer_signals
from steadygrad.numerics import joint_norm
from steadygrad.training.config import TaskConfig
from steadygrad.types import Array, PyTree

MAX_SIZE = 1000  # All sequences are one batch.


def evaluate(
  runs: list[str], *, size: int = 100, out: str = "runs/lags.png"
) -> str:
  """Writes a picture, and the record it is drawn from beside it.

  Args:
    runs: records of a sweep, or directories for the solved runs in them; all of
      one task and length, one seed each.
    size: sequences.
    out: the PNG.

  Raises:
    ValueError: if there is no run, two have one name, or they differ in task or
      length; on another `size`, or an `out` that cannot be.
  """
  from steadygrad.figures import lags as figure  # Matplotlib is an extra.

  if not 1 <= size <= MAX_SIZE:
    raise ValueError(
      f"size must be at least 1 and at most {MAX_SIZE}, got {size}"
    )
  path = trained.picture(out)
  names = _named(runs)
  found = {name: test(run, size) for name, run in names.items()}
  config = next(iter(found.values()))["config"]
  told = {name: config[name] for name in ("task", "length", "max_length")}
  told["size"] = size
  return trained.draw_runs("lags", told, found, figure.draw, path)


def _named(words: list[str]) -> dict[str, str]:
  """{name: run}, of one task and length."""
  names = [run for word in words for run in trained.runs_of(word)]
  if not names:
    raise ValueError(f"runs must hold a solved run, got {', '.join(words)}")
  configs = [trained.read(name)[0] for name in names]
  problems = {(c.task, c.length, c.max_length) for c in configs}
  if len(problems) > 1:
    text = "; ".join(map(str, sorted(problems, key=str)))
    raise ValueError(f"runs must be of one task and length, got {text}")
  return trained.by_stem(names)


def test(run: str, size: int) -> dict[str, Any]:
  """What stands in the record of one run.

  Raises:
    ValueError: if it is not one seed of a task that has ended.
  """
  config, _ = trained.read(run)
  found, key = trained.load_one(run, config.task)
  longest = config.max_length or config.length
  exact = dataclasses.replace(found.config, length=longest, max_length=None)
  program = training.program(exact)
  start = training.experiment(config).init(jax.random.key(config.first_seed))
  measure = _tester(program, size)
  measured = {
    "start": measure(start, key),
    "end": measure(found.params, key),
  }
  made = found.record["results"]
  return {
    "config": records.plain(dataclasses.asdict(found.config)),
    "updates": made["updates"][0],
    "solved": made["solved"][0],
    "signals": {
      when: records.plain(np.asarray(signals, np.float64))
      for when, (signals, _) in measured.items()
    },
    "exponent": {
      when: records.plain(float(exponent))
      for when, (_, exponent) in measured.items()
    },
  }


@functools.cache
def _tester(program: TaskConfig, size: int):
  """Compiled for all runs of one program.

  (params, key) -> (|dE/du_t| by lag, a mean over sequences, [T]; the largest
  Lyapunov exponent, or the growth a layer, a mean over them).
  """
  exp = training.experiment(program)
  task: Any = exp.task
  signals = analysis.error_signals(exp.model, task.loss)

  def measure(params: PyTree, key: Array) -> tuple[Array, Array]:
    batch = task.sample(key, size)
    norms = joint_norm(signals(params, batch)["input"], batch_ndim=2)
    return jnp.mean(norms, 1)[::-1], exponent(params, batch)

  def exponent(params, batch):
    if program.model == "transformer":  # No state of it feeds back.
      return _growth_a_layer(program, exp.model.cell, task, params, batch)
    found = analysis.cell_lyapunov_exponents(
      exp.model.cell, params["cell"], batch.us, num_exponents=1
    )
    return jnp.mean(found.exponents)

  return jax.jit(measure)


def _growth_a_layer(program, cell, task, params, batch) -> Array:
  """ln of the factor by which a block multiplies |dE/dx|, on its way back."""
  signals = layer_signals(
    params["readout"],
    unroll(cell, params["cell"], batch.us),
    lambda outputs: task.loss(outputs, batch),
    heads=program.heads,
    positions=program.positions,
    reads=task.reads,
  )
  norms = joint_norm(signals, batch_ndim=2)  # [layers + 1, B]
  return jnp.mean(jnp.log(norms[0] / norms[-1])) / program.layers
