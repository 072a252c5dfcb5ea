"""Files of a sweep: a record and a state for each run, and a ledger.

  records/<name>.json   of a run that came to its end: solved, diverged or cut
  states/<name>.npz     where a run stands, or stood at its end, with curves
  ledger.json           what is done and what is left

A file is written whole or not at all. A run's files are named by what decides
it, so that the directories of two sweeps can be merged, and a state that was
carried to another machine goes on there.
"""

import fcntl
import pathlib
import shutil
import sys
from collections.abc import Container
from typing import Any, NamedTuple

import grids
import jax
import numpy as np
import run_files

from steadygrad import records
from steadygrad.config import TrainConfig
from steadygrad.training import TrainState


class Progress(NamedTuple):
  """Where a run stands.

  Attributes:
    state: a `TrainState`, leaves without a seed axis.
    curves: {name: list of values [1], or [] for "update"}.
    spent: run time so far, see `run_files.record`.
  """

  state: TrainState
  curves: dict[str, list]
  spent: dict[str, float]


def ended(config: TrainConfig, status: str, updates: int) -> bool:
  """Whether a run with this status and so many updates has come to its end."""
  trains = status == "running" or (status == "solved" and config.go_on)
  return not trains or updates >= config.max_updates


class Store:
  """The directory of a sweep, held by one process at a time."""

  def __init__(self, directory: str | pathlib.Path):
    """Makes the directory and locks it until the process ends.

    Raises:
      ValueError: if it cannot be written, or another process holds it.
    """
    self.directory = pathlib.Path(directory)
    try:
      for part in ("records", "states"):
        (self.directory / part).mkdir(parents=True, exist_ok=True)
      self._lock = open(self.directory / ".lock", "w")
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      self._lock.close()
      raise ValueError(
        f"sweep_dir {directory} is in use by another process; name another"
      ) from e
    except OSError as e:
      raise ValueError(
        f"sweep_dir must be a directory that can be written, got {directory}:"
        f" {e}"
      ) from e

  def close(self) -> None:
    self._lock.close()

  def record_path(self, name: str) -> pathlib.Path:
    return self.directory / "records" / f"{name}.json"

  def state_path(self, name: str) -> pathlib.Path:
    return self.directory / "states" / f"{name}.npz"

  def finished(self, config: TrainConfig) -> dict[str, Any] | None:
    """The results of this run, if it needs no further update."""
    path = self.record_path(grids.run_name(config))
    if not path.exists():
      return None
    results = records.read_json(path)["results"]
    if not ended(config, results["status"][0], results["updates"][0]):
      return None
    return results

  def updates(self, name: str) -> int:
    """How many updates of this run are stored."""
    return rank(self.directory, name)[1]

  def save(self, config: TrainConfig, progress: Progress) -> None:
    """Writes where a run stands."""
    with_axis = jax.tree.map(lambda x: np.asarray(x)[None], progress.state)
    curves = {f"curve.{k}": np.stack(v) for k, v in progress.curves.items()}
    run_files.write_arrays(
      self.state_path(grids.run_name(config)),
      run_files.flatten(with_axis) | curves,
      {"spent": progress.spent},
    )

  def load(self, config: TrainConfig, template) -> Progress | None:
    """Where a run stood, if it has a state that can be read.

    One that cannot is renamed to *.damaged, and the run starts anew.
    """
    path = self.state_path(grids.run_name(config))
    if not path.exists():
      return None
    try:
      arrays, meta = run_files.read_arrays(path)
      with_axis = jax.tree.map(lambda x: np.asarray(x)[None], template)
      state = run_files.unflatten(with_axis, arrays)
    except ValueError as e:
      path.replace(path.with_suffix(".damaged"))
      print(f"{e}; set aside, the run starts anew", file=sys.stderr)
      return None
    curves = {
      name.removeprefix("curve."): list(values)
      for name, values in arrays.items()
      if name.startswith("curve.")
    }
    state = jax.tree.map(lambda x: x[0], state)
    return Progress(state, curves, meta["spent"])

  def merge(self, other: str | pathlib.Path) -> int:
    """Takes what another sweep's directory has further; how many runs.

    Raises:
      ValueError: if it is no sweep's directory.
    """
    other = pathlib.Path(other)
    if not (other / "states").is_dir():
      raise ValueError(f"merge must be a sweep's directory, got {other}")
    names = {p.stem for p in (other / "states").glob("*.npz")}
    names |= {p.stem for p in (other / "records").glob("*.json")}
    taken = 0
    for name in sorted(names):
      if rank(other, name) <= rank(self.directory, name):
        continue
      taken += 1
      # The state first: a record without one could not go on.
      for part, end in (("states", "npz"), ("records", "json")):
        source = other / part / f"{name}.{end}"
        target = self.directory / part / f"{name}.{end}"
        if source.exists():
          copy_whole(source, target)
    return taken


def copy_whole(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a file; a reader sees the old one or the whole new one."""
  temporary = target.with_name(f".{target.name}.merging")
  shutil.copyfile(source, temporary)
  temporary.replace(target)


def rank(directory: pathlib.Path, name: str) -> tuple[int, int]:
  """How far a run is: (1 if it has a record, updates)."""
  record = directory / "records" / f"{name}.json"
  if record.exists():
    return 1, records.read_json(record)["results"]["updates"][0]
  state = directory / "states" / f"{name}.npz"
  if state.exists():
    try:
      return 0, int(run_files.read_arrays(state)[0]["state.step"][0])
    except (ValueError, KeyError):
      pass
  return -1, 0


def carry(sweeps: list[str], target: str, without: Container[str]) -> int:
  """Copies the states of runs that have not ended; how many were further.

  Args:
    sweeps: directories of sweep.py; files among them have no states.
    target: directory whose states/ they go to; what is there stays, but where
      a run has got further.
    without: names of runs that have ended.
  """
  states, copied = pathlib.Path(target) / "states", 0
  states.mkdir(parents=True, exist_ok=True)
  for sweep in map(pathlib.Path, sweeps):
    for path in sorted((sweep / "states").glob("*.npz")):
      if path.stem in without:
        continue
      if rank(sweep, path.stem) > rank(states.parent, path.stem):
        copy_whole(path, states / path.name)
        copied += 1
  return copied
