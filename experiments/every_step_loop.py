"""The error of random permutation's networks when asked after every step."""

import dataclasses
import functools

import generalise_loop
import grids
import jax
import numpy as np
import run_files

from steadygrad import evaluation, models, records, training
from steadygrad.config import TrainConfig
from steadygrad.types import Array, PyTree

TASK = "random_permutation"


def errors_by_step(
  config: TrainConfig, params: PyTree, key: Array, *, size: int
) -> Array:
  """Share of `size` sequences answered wrongly after step t, [length]."""
  exp = training.experiment(config)
  readout = models.linear_readout(
    config.hidden_size, exp.task.output_size, reads="every"
  )
  model = models.recurrent(exp.model.cell, readout)
  batch_size = evaluation.batch_size_for(size)

  def wrong(key):
    batch = exp.task.sample(key, batch_size)
    outputs = model.apply(params, batch.us)
    return jax.vmap(exp.task.wrong, in_axes=(0, None))(outputs, batch).sum(1)

  keys = jax.random.split(key, size // batch_size)
  return jax.lax.map(wrong, keys).sum(0) / size


@functools.cache
def _tester(program: TrainConfig, size: int):
  return jax.jit(functools.partial(errors_by_step, program, size=size))


def test(run: str, steps: int, size: int) -> dict:
  """Configuration of a run, and its error after each step, [steps].

  Raises:
    ValueError: if it is not one seed of the task that has ended.
  """
  config, record, params, key = generalise_loop.load_one(run, TASK)
  exact = dataclasses.replace(config, length=steps, max_length=None)
  errors = _tester(grids.program(exact), size)(params, key)
  results = record["results"]
  return {
    "config": record["config"],
    "updates": results["updates"][0],
    "chance_error": results["chance_error"],
    "errors": records.plain(np.asarray(errors)),
  }


def measure(words: list[str], steps: int, size: int) -> dict:
  """The record of all runs that the words stand for.

  Raises:
    ValueError: if there is none, or two have one name.
  """
  evaluation.batch_size_for(size)
  names = generalise_loop.named_runs(words, TASK)
  found = {stem: test(run, steps, size) for stem, run in names.items()}
  return {
    "kind": "every_step",
    "config": {"task": TASK, "steps": steps, "size": size},
    "runs": found,
    "provenance": run_files.provenance(jax.devices()),
  }
