"""The error of trained networks at lengths they have never seen.

Written beside each run, generalisation.json or generalisation/<name>.json.
Lengths that are there already are kept, so that it can be killed and started
again.
"""

import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import files, records, training
from steadygrad.evaluations import trained
from steadygrad.runs import kinds, loading, placement, results
from steadygrad.training import evaluation, options
from steadygrad.training.config import TaskConfig

# ICML, section 4.1.
LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)


def evaluate(
  runs: list[str],
  *,
  lengths: Sequence[int | str] = LENGTHS,
  size: int = 10_000,
) -> dict:
  """Measures the errors, and writes those of each run beside it.

  Args:
    runs: directories of train.py, records of a sweep, or a sweep's directory
      for the solved runs in it.
    lengths: to test at.
    size: fresh sequences at each length.

  Returns:
    {"lengths": as given, "errors": {run: an error for each length and seed}}.

  Raises:
    ValueError: before anything runs, if a run cannot be tested so.
  """
  lengths = options.integers("lengths", lengths)
  names = [run for word in runs for run in trained.runs_of(word)]
  for run in names:
    check(run, lengths, size)
  made = {run: test(run, lengths, size) for run in names}
  errors = {run: [found[n] for n in lengths] for run, found in made.items()}
  return {"lengths": lengths, "errors": errors}


def check(run: str, lengths: list[int], size: int) -> None:
  """ValueError if this run cannot be tested so."""
  config, record = trained.read(run)
  for length in lengths:
    dataclasses.replace(config, length=length, max_length=None)
  trained.check_size(size)
  _measured(record_path(run), record, size)


def test(run: str, lengths: list[int], size: int) -> dict[int, list]:
  """{length: error of every seed}, as they stand in the run's record of it.

  Raises:
    ValueError: as `check`, and if the parameters are not those of the record.
  """
  config, record = trained.read(run)
  path = record_path(run)
  measured = _measured(path, record, size)
  params = None
  for length in lengths:
    if length in measured:
      continue
    if params is None:
      params = loading.load(run).params
    began = time.perf_counter()
    errors = errors_at(config, length, params, size)
    measured[length] = records.plain(errors)
    told = ", ".join(f"{e:.2%}" for e in errors)
    seconds = time.perf_counter() - began
    print(f"{run}: length {length}: {told} ({seconds:.0f} s)", file=sys.stderr)
    path.parent.mkdir(exist_ok=True)
    files.remove_leftovers(path.parent, path.name)
    records.write_json(path, _record(record, measured, size))
  return measured


def record_path(run: str) -> pathlib.Path:
  """Where the record of this test is, or will be."""
  path = pathlib.Path(run)
  if path.suffix == ".json":
    return path.parent.parent / "generalisation" / path.name
  return path / "generalisation.json"


def errors_at(config: TaskConfig, length: int, params, size: int) -> np.ndarray:
  """Share of `size` fresh sequences of that length answered wrongly, [S]."""
  exact = dataclasses.replace(config, length=length, max_length=None)
  tester = _tester(training.program(exact), size)
  devices = jax.devices()
  seats = placement.seats(config.seeds, len(devices))
  seeds = jnp.asarray(config.first_seed + seats.order, jnp.uint32)
  placed = jax.tree.map(lambda x: x[seats.order], params)
  errors = np.asarray(tester(seats.counts, seeds, placed))
  return errors[seats.of_item]


@functools.cache
def _tester(program: TaskConfig, size: int):
  """Compiled for all runs of one program: (counts, seeds, params) -> errors."""
  exp = training.experiment(program)
  task: Any = exp.task

  def error(seed, params):
    key = jax.random.fold_in(jax.random.key(seed), trained.STREAM)
    return evaluation.error(task, exp.model, params, key, size)

  return jax.jit(placement.map_seeds(error, jax.devices())[0])


def _measured(path: pathlib.Path, record: dict, size: int) -> dict[int, list]:
  """What is there already of this run; nothing if it has trained on since."""
  if not path.exists():
    return {}
  old = records.read_json(path, kinds.GENERALISATION)
  errors = old["results"].pop("errors")
  old["config"] = kinds.completed(old["config"])
  if (old["config"], old["results"]) != (record["config"], record["results"]):
    return {}
  if old["tested"]["size"] != size:
    raise ValueError(
      f"size must be {old['tested']['size']} as in {path}, got {size}"
    )
  return dict(zip(old["tested"]["lengths"], errors, strict=True))


def _record(record: dict, measured: dict[int, list], size: int) -> dict:
  lengths = sorted(measured)
  return {
    "kind": "generalisation",
    "tested": {"lengths": lengths, "size": size},
    "config": record["config"],
    "results": record["results"] | {"errors": [measured[n] for n in lengths]},
    "provenance": results.provenance(jax.devices()),
  }
