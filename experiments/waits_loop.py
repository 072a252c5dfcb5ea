"""Where a network of temporal order fails: the error against each wait."""

import dataclasses
import functools
from collections.abc import Sequence

import generalise_loop
import grids
import jax
import jax.numpy as jnp
import numpy as np
import run_files

from steadygrad import records, training
from steadygrad.config import TrainConfig
from steadygrad.tasks._ordered import INPUT_SIZE, NUM_DISTRACTORS
from steadygrad.types import Array, Batch, PyTree

TASK = "temporal_order"
# Distractors before the first symbol, between the two, and after the second, in
# the middle of what sequences of 200 steps have.
USUAL = (30, 79, 89)
WAITS = (10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000)


def sample(waits: Sequence[int], key: Array, batch_size: int) -> Batch:
  """Sequences of temporal order with these waits, lengths sum(waits) + 2."""
  key_symbols, key_noise = jax.random.split(key)
  symbols = jax.random.randint(key_symbols, (2, batch_size), 0, 2)
  shape = (sum(waits) + 2, batch_size)
  sequence = 2 + jax.random.randint(key_noise, shape, 0, NUM_DISTRACTORS)
  before, between, _ = waits
  sequence = sequence.at[before].set(symbols[0])
  sequence = sequence.at[before + 1 + between].set(symbols[1])
  us = jax.nn.one_hot(sequence, INPUT_SIZE, dtype=jnp.float32)
  return Batch(us, 2 * symbols[0] + symbols[1])


@functools.cache
def _tester(program: TrainConfig, waits: tuple[int, ...], size: int):
  exp = training.experiment(program)

  def error(params, key):
    batch = sample(waits, key, size)
    return jnp.mean(exp.task.wrong(exp.model.apply(params, batch.us), batch))

  return jax.jit(error)


def errors_by_wait(
  config: TrainConfig,
  params: PyTree,
  key: Array,
  *,
  waits: Sequence[int] = WAITS,
  size: int,
) -> np.ndarray:
  """Share of `size` sequences answered wrongly, [3, W].

  Row i has wait i, before the first symbol, between the two, or after the
  second, at each of `waits`, and the others as usual.
  """
  program = grids.program(config)
  found = np.zeros((len(USUAL), len(waits)))
  for i, j in np.ndindex(found.shape):
    given = (*USUAL[:i], waits[j], *USUAL[i + 1 :])
    own = jax.random.fold_in(key, i * len(waits) + j)
    found[i, j] = _tester(program, given, size)(params, own)
  return found


def test(run: str, size: int) -> dict:
  """What stands in the record of one run.

  Raises:
    ValueError: if it is not one seed of the task that has ended.
  """
  config, record, params, key = generalise_loop.load_one(run, TASK)
  return {
    "config": records.plain(dataclasses.asdict(config)),
    "updates": record["results"]["updates"][0],
    "chance_error": record["results"]["chance_error"],
    "errors": records.plain(errors_by_wait(config, params, key, size=size)),
  }


def measure(words: list[str], size: int) -> dict:
  """The record of all runs that the words stand for.

  Raises:
    ValueError: if there is none, or two have one name.
  """
  names = generalise_loop.named_runs(words, TASK)
  for run in names.values():
    generalise_loop.files_of(run)
  found = {stem: test(run, size) for stem, run in names.items()}
  return {
    "kind": "waits",
    "config": {"task": TASK, "usual": USUAL, "waits": WAITS, "size": size},
    "runs": found,
    "provenance": run_files.provenance(jax.devices()),
  }
