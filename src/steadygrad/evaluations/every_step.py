"""Random permutation: the error when networks are asked after every step.

The answer, the first symbol, is the same whenever it is asked for, so that one
pass over long sequences gives the error at all lengths.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from steadygrad import models, training
from steadygrad.evaluations import trained
from steadygrad.training import evaluation
from steadygrad.training.config import TaskConfig
from steadygrad.types import Array, PyTree

TASK = "random_permutation"


def evaluate(
  runs: list[str],
  *,
  steps: int = 400,
  size: int = 1000,
  out: str = "runs/every_step.png",
) -> str:
  """Writes a picture, and the record it is drawn from beside it.

  Args:
    runs: records of a sweep, or directories for the solved runs in them.
    steps: to ask after.
    size: sequences.
    out: the PNG.

  Raises:
    ValueError: if there is no run, two have one name, or one is not one seed of
      the task that has ended; on another `size`, or an `out` that cannot be.
  """
  from steadygrad.figures import every_step as figure  # Matplotlib is an extra.

  path = trained.picture(out)
  trained.check_size(size)
  names = trained.named_runs(runs, TASK)
  found = {name: test(run, steps, size) for name, run in names.items()}
  config = {"task": TASK, "steps": steps, "size": size}
  return trained.draw_runs("every_step", config, found, figure.draw, path)


def test(run: str, steps: int, size: int) -> dict:
  """Configuration of a run, and its error after each step, [steps].

  Raises:
    ValueError: if it is not one seed of the task that has ended.
  """
  found, key = trained.load_one(run, TASK)
  exact = dataclasses.replace(found.config, length=steps, max_length=None)
  errors = _tester(training.program(exact), size)(found.params, key)
  return trained.tested(found, np.asarray(errors))


def errors_by_step(
  config: TaskConfig, params: PyTree, key: Array, *, size: int
) -> Array:
  """Share of `size` sequences answered wrongly after step t, [length]."""
  exp = training.experiment(config)
  task: Any = exp.task
  readout = models.linear_readout(
    config.hidden_size, task.output_size, reads="every"
  )
  model = models.recurrent(exp.model.cell, readout)
  batch_size = evaluation.batch_size_for(size)

  def wrong(key):
    batch = task.sample(key, batch_size)
    outputs = model.apply(params, batch.us)
    return jax.vmap(task.wrong, in_axes=(0, None))(outputs, batch).sum(1)

  keys = jax.random.split(key, size // batch_size)
  return jax.lax.map(wrong, keys).sum(0) / size


@functools.cache
def _tester(program: TaskConfig, size: int):
  return jax.jit(functools.partial(errors_by_step, program, size=size))
