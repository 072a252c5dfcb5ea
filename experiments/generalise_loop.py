"""The error of trained networks at lengths they have never seen."""

import dataclasses
import functools
import pathlib
import sys
import time
from typing import Any

import grids
import host_loop
import jax
import jax.numpy as jnp
import numpy as np
import run_files
import sweep_store

from steadygrad import evaluation, files, placement, records, training
from steadygrad.config import TrainConfig
from steadygrad.runs import directories, kinds, store

# Folded into a run's key after its own streams, so that no sequence is one that
# training or its checks have seen.
STREAM = 1000


def runs_of(word: str) -> list[str]:
  """The runs that a word of --runs stands for."""
  found = sorted(pathlib.Path(word).glob("records/*.json"))
  if not found:
    return [word]
  return [
    str(path)
    for path in found
    if sweep_store.read_record(path)["results"]["solved"] == [True]
  ]


def named_runs(words: list[str], task: str) -> dict[str, str]:
  """{name: run} of all that the words stand for, records and directories.

  Of a directory, the solved runs of the task.

  Raises:
    ValueError: if there is none, or two have one name.
  """
  names = [
    run
    for word in words
    for run in runs_of(word)
    if run == word or pathlib.Path(run).name.startswith(f"{task}-")
  ]
  if not names:
    raise ValueError(f"runs must hold a solved run of {task}, got {words}")
  stems = [pathlib.Path(name).stem for name in names]
  if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
    raise ValueError(f"runs must differ in name, got {', '.join(twice)} twice")
  return dict(zip(stems, names, strict=True))


def files_of(run: str) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
  """(record, parameters, generalisation record) of a run.

  Raises:
    ValueError: if one of the first two is not there, naming it.
  """
  path = pathlib.Path(run)
  if path.suffix == ".json":
    home = path.parent.parent
    arrays = sweep_store.state_path(home, path.stem)
    found = path, arrays, home / "generalisation" / path.name
  else:
    arrays = directories.parameters_path(path)
    found = path / directories.RECORD, arrays, path / "generalisation.json"
  for file in found[:2]:
    if not file.exists():
      raise ValueError(f"runs must have ended, but {run} has no {file}")
  return found


@functools.cache
def _tester(program: TrainConfig, size: int):
  """Compiled for all runs of one program: (counts, seeds, params) -> errors."""
  exp = training.experiment(program)

  def error(seed, params):
    key = jax.random.fold_in(jax.random.key(seed), STREAM)
    return evaluation.error(exp.task, exp.model, params, key, size)

  return jax.jit(placement.map_seeds(error, jax.devices())[0])


def errors_at(
  config: TrainConfig, length: int, params, size: int
) -> np.ndarray:
  """Share of `size` fresh sequences of that length answered wrongly, [S]."""
  exact = dataclasses.replace(config, length=length, max_length=None)
  tester = _tester(grids.program(exact), size)
  everyone = np.arange(config.seeds)
  order, counts = host_loop.spread(everyone, config.seeds, len(jax.devices()))
  seeds = jnp.asarray(config.first_seed + order, jnp.uint32)
  placed = jax.tree.map(lambda x: x[order], params)
  errors = np.asarray(tester(counts, seeds, placed))
  # Slots left over repeat a seed; it has run where it comes first.
  _, first = np.unique(order, return_index=True)
  return errors[first]


def check(run: str, lengths: list[int], size: int) -> None:
  """ValueError, before anything runs, if this run cannot be tested so."""
  record, config, _ = _read(run)
  for length in lengths:
    dataclasses.replace(config, length=length, max_length=None)
  if size > evaluation.BATCH_SIZE and size % evaluation.BATCH_SIZE:
    raise ValueError(
      f"size must be under {evaluation.BATCH_SIZE} or a multiple of it, got"
      f" {size}"
    )
  _measured(files_of(run)[2], record, size)


def _read(run: str) -> tuple[dict, TrainConfig, str]:
  """(record, configuration, name) of a run."""
  path = files_of(run)[0]
  in_sweep = path.name != directories.RECORD
  read = sweep_store.read_record if in_sweep else kinds.read_training
  config = kinds.config_of(record := read(path), TrainConfig, path)
  name = path.stem if in_sweep else run_files.name_of(config)
  return record, config, name


def load(run: str) -> tuple[TrainConfig, dict, Any]:
  """(configuration, record, parameters, leaves [S, ...]) of a run that ended.

  Raises:
    ValueError: naming the run, if it has not.
  """
  record, config, name = _read(run)
  return config, record, _params(config, record, files_of(run)[1], name)


def load_one(run: str, task: str) -> tuple[TrainConfig, dict, Any, jax.Array]:
  """`load` of a run of one seed of this task, and a key for its test.

  Raises:
    ValueError: naming the run, if it is another or has not ended.
  """
  config, record, params = load(run)
  if (config.task, config.seeds) != (task, 1):
    raise ValueError(
      f"runs must be of {task} and one seed, got {config.task} and"
      f" {config.seeds} in {run}"
    )
  key = jax.random.fold_in(jax.random.key(config.first_seed), STREAM)
  return config, record, jax.tree.map(lambda x: x[0], params), key


def generalise(run: str, lengths: list[int], size: int) -> dict[int, list]:
  """{length: error of every seed}, as they stand in the run's record of it.

  Raises:
    ValueError: as `check`, and if the parameters are not those of the record.
  """
  record, _, _ = _read(run)
  path = files_of(run)[2]
  measured = _measured(path, record, size)
  config = params = None
  for length in lengths:
    if length in measured:
      continue
    if params is None:
      config, record, params = load(run)
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


def _params(config: TrainConfig, record: dict, path: pathlib.Path, name: str):
  """Parameters of all seeds, leaves [S, ...]."""
  exp = training.experiment(config)
  keys = jax.vmap(jax.random.key)(jnp.zeros(config.seeds, jnp.uint32))
  template = jax.eval_shape(jax.vmap(exp.model.init), keys)
  arrays = store.read_arrays(path, name).arrays
  steps = arrays.get("state.step")
  if steps is not None and steps.tolist() != record["results"]["updates"]:
    raise ValueError(
      f"runs must have ended, but {path} stands at update {steps.tolist()} and"
      f" its record at {record['results']['updates']}"
    )
  return store.unflatten(template, arrays, "state.params")


def _measured(path: pathlib.Path, record: dict, size: int) -> dict[int, list]:
  """What is there already of this run; nothing if it has trained on since."""
  if not path.exists():
    return {}
  old = records.read_json(path, kinds.GENERALISATION)
  errors = old["results"].pop("errors")
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
    "provenance": run_files.provenance(jax.devices()),
  }
