"""Files of a sweep: a record and a state for each run, and a ledger.

  records/<name>.json         of a run that came to its end: solved, diverged or
                              cut
  states/<name>.safetensors   where a run stands, or stood at its end, with
                              curves; *.npz of before are read as well
  ledger.json                 what is done and what is left

A file is written whole or not at all. A run's files are named by what decides
it, so that the directories of two sweeps can be merged, and a state that was
carried to another machine goes on there.
"""

import pathlib
from collections.abc import Container
from typing import Any, NamedTuple

import jax
import numpy as np
import run_files

from steadygrad import files
from steadygrad.config import TrainConfig
from steadygrad.runs import names, store, sweeps
from steadygrad.runs.signals import say
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
    self.directory = files.expand(directory)
    self._held = store.lock(directory, "sweep_dir")
    try:
      files.remove_leftovers(self.directory)
      for part in ("records", "states"):
        (self.directory / part).mkdir(exist_ok=True)
        files.remove_leftovers(self.directory / part)
    except OSError as e:
      self.close()
      raise ValueError(
        f"sweep_dir must be a directory that can be written, got {directory}:"
        f" {e}"
      ) from e

  def close(self) -> None:
    self._held.lock.release()

  def record_path(self, name: str) -> pathlib.Path:
    return sweeps.record_path(self.directory, name)

  def state_path(self, name: str) -> pathlib.Path:
    return sweeps.state_path(self.directory, name)

  def finished(self, config: TrainConfig) -> dict[str, Any] | None:
    """The results of this run, if it needs no further update.

    Raises:
      ValueError: naming the record, if it is damaged or of another run.
    """
    path = self.record_path(names.run_name(config))
    try:
      results = sweeps.read_record(path)["results"]
    except FileNotFoundError:
      return None
    except ValueError as e:
      raise ValueError(
        f"{e}; without this file the run ends again from its state"
      ) from e
    if not ended(config, results["status"][0], results["updates"][0]):
      return None
    return results

  def updates(self, name: str) -> int:
    """How many updates of this run, which is not finished, are stored."""
    try:
      state = store.read_arrays(self.state_path(name), name)
    except (FileNotFoundError, ValueError):  # `load` will say what is damaged.
      return 0
    return rank(None, state)[1]

  def save(self, config: TrainConfig, progress: Progress) -> None:
    """Writes where a run stands."""
    name = names.run_name(config)
    with_axis = jax.tree.map(lambda x: np.asarray(x)[None], progress.state)
    arrays = run_files.with_curves(with_axis, progress.curves)
    _write_state(self.directory, name, arrays, {"spent": progress.spent})

  def load(self, config: TrainConfig, template) -> Progress | None:
    """Where a run stood, if it has a state that can be read.

    One that cannot, or is of another run, is renamed to *.damaged, and the run
    starts anew.
    """
    name = names.run_name(config)
    path = self.state_path(name)
    try:
      arrays, meta, _ = store.read_arrays(path, name)
      with_axis = jax.tree.map(lambda x: np.asarray(x)[None], template)
      state = run_files.states_of(with_axis, arrays)
    except FileNotFoundError:
      return None
    except ValueError as e:
      aside = files.set_aside(path).name
      say(f"{e}; set aside as {aside}, the run starts anew")
      return None
    state = jax.tree.map(lambda x: x[0], state)
    return Progress(state, run_files.curves_of(arrays), meta["spent"])

  def merge(self, other: str | pathlib.Path) -> int:
    """Takes what another sweep's directory has further; how many runs.

    A damaged file of it is passed over, and named on standard error.

    Raises:
      ValueError: if it is no sweep's directory.
    """
    other = pathlib.Path(other)
    if not (other / "states").is_dir():
      raise ValueError(f"merge must be a sweep's directory, got {other}")
    found = state_names(other) | {p.stem for p in sweeps.records_in(other)}
    return sum(self._take(other, name) for name in sorted(found))

  def _take(self, other: pathlib.Path, name: str) -> bool:
    """Takes a run's files where it is further there; whether it is."""
    source = sweeps.record_path(other, name)
    try:
      record = sweeps.read_record(source) if source.exists() else None
    except ValueError as e:
      say(f"{e}; passed over")
      record = None
    state = read_state(other, name)
    own = read_state(self.directory, name, own=True)
    own_record = self.record_path(name)
    own_record = sweeps.read_record(own_record) if own_record.exists() else None
    if rank(record, state) <= rank(own_record, own):
      return False
    # The state first: a record without one could not go on.
    if state is not None:
      _write_state(self.directory, name, state.arrays, state.meta)
    if record is not None:
      files.write_whole(self.record_path(name), source.read_bytes())
    return True


def read_state(
  directory: pathlib.Path, name: str, *, own: bool = False
) -> store.Stored | None:
  """The state of a run; None if there is none that is whole.

  One that is damaged or of another run is named on standard error, and in the
  `own` directory it is renamed to *.damaged, so that nothing takes its place.
  """
  path = sweeps.state_path(directory, name)
  try:
    return store.read_arrays(path, name)
  except FileNotFoundError:
    return None
  except ValueError as e:
    aside = own and files.set_aside(path)
    fate = f"set aside as {aside.name}" if aside else "passed over"
    say(f"{e}; {fate}")
    return None


def state_names(directory: pathlib.Path) -> set[str]:
  """Names of the runs that have a state."""
  found = (directory / "states").glob("*")
  return {p.stem for p in found if p.suffix in (sweeps.STATE, sweeps.OLD_STATE)}


def _write_state(directory, name: str, arrays: dict, meta: Any) -> None:
  path = pathlib.Path(directory) / "states" / f"{name}{sweeps.STATE}"
  store.write_arrays(path, arrays, meta, name=name)
  path.with_name(f"{name}{sweeps.OLD_STATE}").unlink(missing_ok=True)


def rank(record: dict | None, state: store.Stored | None) -> tuple[int, int]:
  """How far a run is: (1 if it has a record, updates); (-1, 0) of none."""
  if record is not None:
    return 1, record["results"]["updates"][0]
  if state is not None and "state.step" in state.arrays:
    return 0, int(state.arrays["state.step"][0])
  return -1, 0


def carry(sweeps: list[str], target: str, without: Container[str]) -> int:
  """Copies the states of runs that have not ended; how many were further.

  Args:
    sweeps: directories of sweep.py; files among them have no states.
    target: directory whose states/ they go to; what is there stays, but where
      a run has got further. A damaged state is passed over, and named on
      standard error.
    without: names of runs that have ended.
  """
  home, copied = pathlib.Path(target), 0
  (home / "states").mkdir(parents=True, exist_ok=True)
  for sweep in map(pathlib.Path, sweeps):
    for name in sorted(state_names(sweep)):
      if name in without:
        continue
      state = read_state(sweep, name)
      there = read_state(home, name, own=True)
      if rank(None, state) > rank(None, there):
        _write_state(home, name, state.arrays, state.meta)
        copied += 1
  return copied
