"""Where the files of runs are in a directory, and their records.

  records/<name>.json         of a run that came to its end: solved, stopped,
                              diverged or cut
  states/<name>.safetensors   where a run stands, or stood at its end, with
                              curves; *.npz of before are read as well

A run is of one seed. Names are those of `names.run_name`.
"""

import contextlib
import os
import pathlib
from typing import Any

from steadygrad.runs import kinds, names, store
from steadygrad.training.config import BUDGETS, Config, TaskConfig

RECORDS, STATES = "records", "states"
STATE = ".safetensors"
OLD_STATE = ".npz"
# Names that arrays had in the states of before.
_RENAMED = {
  f"state.{name}": f"state.verdict.{name}"
  for name in ("status", "solved_at", "relapses")
}


def record_path(directory: str | pathlib.Path, name: str) -> pathlib.Path:
  """Where the record of a run is, or will be."""
  return pathlib.Path(directory, RECORDS, f"{name}.json")


def state_path(directory: str | pathlib.Path, name: str) -> pathlib.Path:
  """Where the state of a run is, or will be."""
  path = pathlib.Path(directory) / STATES / f"{name}{STATE}"
  old = path.with_name(f"{name}{OLD_STATE}")
  return old if old.exists() and not path.exists() else path


def records_in(directory: str | pathlib.Path) -> list[pathlib.Path]:
  """The records of a directory's runs, by name; none of another directory."""
  return sorted(pathlib.Path(directory).glob(f"{RECORDS}/*.json"))


def record_names(directory: str | pathlib.Path) -> set[str]:
  """Names of the runs that have a record."""
  with contextlib.suppress(FileNotFoundError):
    found = os.listdir(pathlib.Path(directory) / RECORDS)
    return {n.removesuffix(".json") for n in found if n.endswith(".json")}
  return set()


def state_names(directory: str | pathlib.Path) -> set[str]:
  """Names of the runs that have a state."""
  found = (pathlib.Path(directory) / STATES).glob("*")
  return {p.stem for p in found if p.suffix in (STATE, OLD_STATE)}


def read_record(path: str | pathlib.Path) -> dict[str, Any]:
  """The record of a run of one seed.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged, or of another run than its
      name says.
  """
  path = pathlib.Path(path)
  record = kinds.read_run(path)
  config = kinds.config_of(record, path)
  if (name := names.run_name(config)) != path.stem:
    raise ValueError(f"{path} holds the run {name}, not {path.stem}")
  return record


def read_state(path: str | pathlib.Path, name: str) -> store.Stored:
  """The state of a run; its arrays have the names of today.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged or of another run.
  """
  stored = store.read_arrays(path, name)
  arrays = {_RENAMED.get(k, k): v for k, v in stored.arrays.items()}
  return stored._replace(arrays=arrays)


def is_over(config: Config, results: dict[str, Any]) -> bool:
  """Whether a run with these results needs no further update."""
  status = results["status"][0]
  trains = status in ("running", "cut")
  if isinstance(config, TaskConfig):
    trains |= status == "solved" and config.go_on
  made = results["epochs" if "epochs" in results else "updates"][0]
  return not trains or made >= getattr(config, BUDGETS[type(config)])
