"""Tests trained networks at lengths they have never seen.

Takes run directories of train.py and records of sweep.py, and writes beside
each a record of the error on fresh sequences at every length asked for. The
last line on standard output is one JSON object.

  python experiments/generalise.py --runs=runs/some-run --lengths=50,100,5000
"""

import dataclasses
import json
import pathlib
import sys
import time

import host_loop
import jax
import jax.numpy as jnp
import numpy as np
import run_files
from absl import app, flags, logging

from steadygrad import evaluation, placement, records, training
from steadygrad.config import TrainConfig

# ICML, section 4.1.
LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)
# Folded into a run's key after its own streams, so that no sequence is one that
# training or its checks have seen.
STREAM = 1000

_RUNS = flags.DEFINE_list(
  "runs", [], "Run directories of train.py, or records of sweep.py (*.json)."
)
_LENGTHS = flags.DEFINE_list(
  "lengths", [str(n) for n in LENGTHS], "Lengths to test at."
)
_SIZE = flags.DEFINE_integer(
  "size", 10_000, "Fresh sequences at each length.", lower_bound=1
)


def files_of(run: str) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
  """(record, parameters, generalisation record) of a run.

  Raises:
    ValueError: if one of the first two is not there, naming it.
  """
  path = pathlib.Path(run)
  if path.suffix == ".json":
    home = path.parent.parent
    arrays = home / "states" / f"{path.stem}.npz"
    found = path, arrays, home / "generalisation" / path.name
  else:
    arrays = path / run_files.PARAMETERS
    found = path / "record.json", arrays, path / "generalisation.json"
  for file in found[:2]:
    if not file.exists():
      raise ValueError(f"runs must have ended, but {run} has no {file}")
  return found


def errors_at(
  config: TrainConfig, length: int, params, size: int
) -> np.ndarray:
  """Share of `size` fresh sequences of that length answered wrongly, [S]."""
  exp = training.experiment(
    dataclasses.replace(config, length=length, max_length=None)
  )

  def error(seed, params):
    key = jax.random.fold_in(jax.random.key(seed), STREAM)
    return evaluation.error(exp.task, exp.model, params, key, size)

  devices = jax.devices()
  mapped, _ = placement.map_seeds(error, devices)
  everyone = np.arange(config.seeds)
  order, counts = host_loop.spread(everyone, config.seeds, len(devices))
  seeds = jnp.asarray(config.first_seed + order, jnp.uint32)
  placed = jax.tree.map(lambda x: x[order], params)
  errors = np.asarray(jax.jit(mapped)(counts, seeds, placed))
  _, first = np.unique(order, return_index=True)
  return errors[first]


def generalise(run: str, lengths: list[int], size: int) -> dict:
  """The record of a run at all lengths; kept if it is there already.

  Raises:
    ValueError: if a length is too short for the task, before anything runs.
  """
  record_path, arrays_path, path = files_of(run)
  record = records.read_json(record_path)
  values = {k: _number(v) for k, v in record["config"].items()}
  config = TrainConfig(**values)
  for length in lengths:
    dataclasses.replace(config, length=length, max_length=None)
  wanted = {"lengths": lengths, "size": size}
  if path.exists() and (old := records.read_json(path))["tested"] == wanted:
    return old
  exp = training.experiment(config)
  keys = jax.vmap(jax.random.key)(jnp.zeros(config.seeds, jnp.uint32))
  template = jax.eval_shape(jax.vmap(exp.model.init), keys)
  arrays, _ = run_files.read_arrays(arrays_path)
  params = run_files.unflatten(template, arrays, "state.params")
  began = time.perf_counter()
  errors = []
  for length in lengths:
    errors.append(errors_at(config, length, params, size))
    told = ", ".join(f"{e:.2%}" for e in errors[-1])
    print(f"{run}: length {length}: {told}", file=sys.stderr)
  made = {
    "kind": "generalisation",
    "tested": wanted,
    "config": record["config"],
    "results": record["results"] | {"errors": np.stack(errors)},
    "provenance": run_files.provenance(jax.devices())
    | {"wall_seconds": time.perf_counter() - began},
  }
  path.parent.mkdir(exist_ok=True)
  records.write_json(path, made)
  return records.read_json(path)


def _number(value):
  return float(value) if value in ("inf", "-inf") else value


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  try:
    if argv[1:] or not _RUNS.value:
      raise ValueError(f"runs must name at least one run, got {_RUNS.value}")
    if _SIZE.value > evaluation.BATCH_SIZE:
      if _SIZE.value % evaluation.BATCH_SIZE:
        raise ValueError(
          f"size must be under {evaluation.BATCH_SIZE} or a multiple of it,"
          f" got {_SIZE.value}"
        )
    try:
      lengths = [int(n) for n in _LENGTHS.value]
    except ValueError:
      raise ValueError(
        f"lengths must be integers, got {','.join(_LENGTHS.value)}"
      ) from None
    for run in _RUNS.value:
      files_of(run)
    host_loop.use_all_cores()
    host_loop.use_compilation_cache()
    made = {r: generalise(r, lengths, _SIZE.value) for r in _RUNS.value}
  except ValueError as e:
    sys.exit(f"generalise.py: {e}")
  errors = {run: record["results"]["errors"] for run, record in made.items()}
  print(json.dumps({"lengths": lengths, "errors": errors}))


if __name__ == "__main__":
  app.run(main)
