"""What tests of runs of train.py and sweep.py share."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from steadygrad import records
from steadygrad.runs import commands, directories, loading, results, sweeps
from steadygrad.training import evaluation
from steadygrad.training.config import TaskConfig
from steadygrad.types import Array

# Folded into a run's key after its own streams, so that no sequence is one that
# training or its checks have seen.
STREAM = 1000


def runs_of(word: str) -> list[str]:
  """The runs that a word of --runs stands for: of a sweep those solved."""
  found = sweeps.records_in(word)
  if not found or (pathlib.Path(word) / directories.RECORD).exists():
    return [word]  # Of train.py it is one run, of all its seeds.
  return [
    str(path)
    for path in found
    if sweeps.read_record(path)["results"]["solved"] == [True]
  ]


def read(run: str) -> tuple[TaskConfig, dict[str, Any]]:
  """(configuration, record) of a run of train.py or sweep.py.

  Raises:
    ValueError: naming the run, if it is another or has not ended.
  """
  config, record = loading.read(run)
  if not isinstance(config, TaskConfig):
    raise ValueError(f"runs must be of train.py or sweep.py, got {run}")
  return config, record


def check_size(size: int) -> None:
  """ValueError unless so many sequences split into the batches of a test."""
  most = evaluation.BATCH_SIZE
  if size > most and size % most:
    raise ValueError(
      f"size must be under {most} or a multiple of it, got {size}"
    )


def load_one(run: str, task: str) -> tuple[Any, Array]:
  """A run of one seed of this task, leaves [...], and a key for its test.

  Raises:
    ValueError: naming the run, if it is another or has not ended.
  """
  config, _ = read(run)
  if (config.task, config.seeds) != (task, 1):
    raise ValueError(
      f"runs must be of {task} and one seed, got {config.task} and"
      f" {config.seeds} in {run}"
    )
  found = loading.load(run)
  key = jax.random.fold_in(jax.random.key(config.first_seed), STREAM)
  params = jax.tree.map(lambda x: x[0], found.params)
  return found._replace(params=params), key


def named_runs(words: list[str], task: str) -> dict[str, str]:
  """{name: run} of all that the words stand for, records and directories.

  Of a directory, the solved runs of the task.

  Raises:
    ValueError: if there is none, one has not ended, or two have one name.
  """
  names = [
    run
    for word in words
    for run in runs_of(word)
    if run == word or pathlib.Path(run).name.startswith(f"{task}-")
  ]
  if not names:
    raise ValueError(f"runs must hold a solved run of {task}, got {words}")
  for name in names:
    loading.files_of(name)
  return by_stem(names)


def by_stem(names: list[str]) -> dict[str, str]:
  """{name without directory: run}; ValueError if two have one."""
  stems = [pathlib.Path(name).stem for name in names]
  if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
    raise ValueError(f"runs must differ in name, got {', '.join(twice)} twice")
  return dict(zip(stems, names, strict=True))


def tested(run: loading.Run, errors) -> dict[str, Any]:
  """What stands in a record of many runs of one of them, of one seed."""
  made = run.record["results"]
  return {
    "config": records.plain(dataclasses.asdict(run.config)),
    "updates": made["updates"][0],
    "chance_error": made["chance_error"],
    "errors": records.plain(errors),
  }


def draw_runs(
  kind: str,
  config: dict[str, Any],
  found: dict[str, dict[str, Any]],
  draw: Callable,
  out: pathlib.Path,
) -> str:
  """Writes the record of many runs beside a picture of it; the picture's path.

  Args:
    kind: of the record.
    config: of the test.
    found: {name: `tested`} of the runs.
    draw: (record, path) -> None.
    out: *.png.
  """
  record = {
    "kind": kind,
    "config": config,
    "runs": found,
    "provenance": results.provenance(jax.devices()),
  }
  records.write_json(out.with_suffix(".json"), record)
  draw(records.read_json(out.with_suffix(".json")), out)
  return str(out)


def picture(out: str) -> pathlib.Path:
  """The PNG to write; ValueError where it cannot be."""
  return commands.writable("out", out, suffix=".png")
