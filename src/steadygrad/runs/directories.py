"""A directory of runs, of one process or of several that claim runs of it.

Beside the files of `sweeps` it has

  ledger.json   what is done and what is left
  config.json   of train.py: what was asked for
  record.json   of train.py: the records of all seeds in one

A file is written whole or not at all. A run's files are named by what decides
it, so that two directories can be merged, and a state that was carried to
another machine goes on there.
"""

import pathlib
from collections.abc import Container
from typing import Any, Literal, NamedTuple

import numpy as np

from steadygrad import files, records
from steadygrad.runs import claims, names, store, sweeps
from steadygrad.runs.claims import Claim
from steadygrad.runs.signals import say
from steadygrad.training import TrainState
from steadygrad.training.config import Config

CONFIG = "config.json"
RECORD = "record.json"
_CURVE = "curve."  # Before the name of a curve in a state file.
# What a run of before has, and the commits that go on with it.
BEFORE = {"checkpoints": "06c551e", "state.safetensors": "4762e34"}


class Progress(NamedTuple):
  """Where a run stands.

  Attributes:
    state: a `TrainState`.
    curves: {name: list of values [1], or [] for "update" and "epoch"}.
    spent: run time so far, see `results.record`.
  """

  state: TrainState
  curves: dict[str, list]
  spent: dict[str, Any]


class Directory:
  """A directory of runs; its methods write and read their files."""

  def __init__(
    self,
    directory: str | pathlib.Path,
    flag: str = "sweep_dir",
    *,
    lock: Literal["shared", "alone", "none"] | None = None,
    lease: float = claims.LEASE,
  ):
    """Makes the directory and locks it until the process ends.

    Args:
      directory: where it is.
      flag: that has given it, for what is said.
      lock: "shared" with other sweeps, "alone", or "none" where another process
        of the same run has it alone. By default a sweep shares it.
      lease: see `claims.Claims`.

    Raises:
      ValueError: if it cannot be written, another process holds it, or it has a
        run of before that is not finished.
    """
    self.path = files.expand(directory)
    _refuse_before(self.path, flag)
    self._held = None
    lock = lock or ("shared" if flag == "sweep_dir" else "alone")
    if lock != "none":
      self._held = store.lock(directory, flag, shared=lock == "shared")
    self.claims = claims.Claims(self.path, lease=lease)
    try:
      for part in (sweeps.RECORDS, sweeps.STATES):
        (self.path / part).mkdir(parents=True, exist_ok=True)
      # What is claimed is written elsewhere, so that none of it is removed.
      for part in (".", sweeps.RECORDS, sweeps.STATES) if self._held else ():
        files.remove_leftovers(self.path / part)
    except OSError as e:
      self.close()
      raise ValueError(
        f"{flag} must be a directory that can be written, got {directory}: {e}"
      ) from e

  def close(self) -> None:
    """Lets another process have it."""
    self.claims.close()
    if self._held is not None:
      self._held.lock.release()

  def __enter__(self) -> "Directory":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def finished(self, config: Config) -> dict[str, Any] | None:
    """The results of this run, if it needs no further update.

    Raises:
      ValueError: naming the record, if it is damaged or of another run.
    """
    path = sweeps.record_path(self.path, names.run_name(config))
    try:
      results = sweeps.read_record(path)["results"]
    except FileNotFoundError:
      return None
    except ValueError as e:
      raise ValueError(
        f"{e}; without this file the run ends again from its state"
      ) from e
    return results if sweeps.is_over(config, results) else None

  def drop_without_states(self, configs: list[Config]) -> None:
    """Of runs that have no whole state the record goes: they start anew."""
    for name in map(names.run_name, configs):
      path = sweeps.record_path(self.path, name)
      if path.exists() and whole_state(self.path, name, own=True) is None:
        path.unlink()

  def made(self, config: Config) -> int:
    """Updates, or on a corpus whole passes, of a run that is not finished."""
    name = names.run_name(config)
    try:
      state = sweeps.read_state(sweeps.state_path(self.path, name), name)
    except (FileNotFoundError, ValueError):  # `load` will say what is damaged.
      return 0
    if "state.verdict.epoch" in state.arrays:
      return int(state.arrays["state.verdict.epoch"][0])
    return rank(None, state)[1]

  def save(
    self, name: str, progress: Progress, claim: Claim | None = None
  ) -> None:
    """Writes where a run stands; as its owner, where there is a claim.

    Raises:
      Lost: if another process has taken the run over.
    """
    curves = {f"{_CURVE}{k}": np.stack(v) for k, v in progress.curves.items()}
    arrays = {k: v[None] for k, v in store.flatten(progress.state).items()}
    _write(self.path, name, arrays | curves, {"spent": progress.spent}, claim)

  def write_record(
    self, name: str, record: dict[str, Any], claim: Claim | None = None
  ) -> dict[str, Any]:
    """Writes the record of a run that has ended; raises as `save`.

    Returns:
      It, as a reader finds it.
    """
    path = sweeps.record_path(self.path, name)
    write = claim.write if claim else files.write_whole
    write(path, records.json_bytes(record))
    return sweeps.read_record(path)

  def load(
    self, name: str, template: TrainState, claim: Claim | None = None
  ) -> Progress | None:
    """Where a run stood, if it has a state that can be read.

    One that cannot, or is of another run, is renamed to *.damaged, and the run
    starts anew.

    Args:
      name: of the run.
      template: a state like it; shapes will do.
      claim: as for `save`.
    """
    path = sweeps.state_path(self.path, name)
    try:
      stored = sweeps.read_state(path, name)
      state = _state_of(template, stored.arrays)
    except FileNotFoundError:
      return None
    except ValueError as e:
      aside = (claim.set_aside if claim else files.set_aside)(path).name
      say(f"{e}; set aside as {aside}, the run starts anew")
      return None
    curves = {
      k.removeprefix(_CURVE): list(v)
      for k, v in stored.arrays.items()
      if k.startswith(_CURVE)
    }
    return Progress(state, curves, stored.meta["spent"])

  def merge(self, other: str | pathlib.Path) -> int:
    """Takes what another directory of runs has further; how many runs.

    A damaged file of it is passed over, and named on standard error. A run that
    another process has at this moment is left to it.

    Raises:
      ValueError: if it is no such directory.
    """
    other = pathlib.Path(other)
    if not (other / sweeps.STATES).is_dir():
      raise ValueError(f"merge must be a sweep's directory, got {other}")
    found = sweeps.state_names(other)
    found |= {path.stem for path in sweeps.records_in(other)}
    taken = 0
    for name in sorted(found):
      if (claim := self.claims.take(name)) is not None:
        taken += self._take(other, name, claim)
        self.claims.release(claim)
    return taken

  def _take(self, other: pathlib.Path, name: str, claim: Claim) -> bool:
    """Takes a run's files where it is further there; whether it is."""
    source = sweeps.record_path(other, name)
    try:
      record = sweeps.read_record(source) if source.exists() else None
    except ValueError as e:
      say(f"{e}; passed over")
      record = None
    state = whole_state(other, name)
    own = whole_state(self.path, name, own=True)
    own_path = sweeps.record_path(self.path, name)
    own_record = sweeps.read_record(own_path) if own_path.exists() else None
    if rank(record, state) <= rank(own_record, own):
      return False
    # The state first: a record without one could not go on.
    if state is not None:
      _write(self.path, name, state.arrays, state.meta, claim)
    if record is not None:
      claim.write(own_path, source.read_bytes())
    return True


def _state_of(template: TrainState, arrays: dict[str, Any]) -> TrainState:
  """The state in a file.

  Those of before there were `TrainState.sums` were saved after a check, where
  the sums are zero. Those without `stability` have counted nothing, which is
  zeros too.
  """
  later = {"state.sums": template.sums, "state.stability": template.stability}
  blank = {
    k: np.zeros((1, *x.shape), x.dtype)
    for name, tree in later.items()
    for k, x in store.leaves(tree, name).items()
  }
  own = {k: v[0] for k, v in (blank | arrays).items() if k.startswith("state.")}
  return store.unflatten(template, own)


def _write(
  directory, name: str, arrays: dict, meta: Any, claim: Claim | None = None
) -> None:
  path = pathlib.Path(directory) / sweeps.STATES / f"{name}{sweeps.STATE}"
  store.write_arrays(path, arrays, meta, name=name, claim=claim)
  path.with_name(f"{name}{sweeps.OLD_STATE}").unlink(missing_ok=True)


def whole_state(
  directory: pathlib.Path, name: str, *, own: bool = False
) -> store.Stored | None:
  """The state of a run; None if there is none that is whole.

  One that is damaged or of another run is named on standard error, and in the
  `own` directory it is renamed to *.damaged, so that nothing takes its place.
  """
  path = sweeps.state_path(directory, name)
  try:
    return sweeps.read_state(path, name)
  except FileNotFoundError:
    return None
  except ValueError as e:
    aside = own and files.set_aside(path)
    fate = f"set aside as {aside.name}" if aside else "passed over"
    say(f"{e}; {fate}")
    return None


def rank(record: dict | None, state: store.Stored | None) -> tuple[int, int]:
  """How far a run is: (1 if it has a record, updates); (-1, 0) of none."""
  if record is not None:
    results = record["results"]
    return 1, results["epochs" if "epochs" in results else "updates"][0]
  if state is not None and "state.step" in state.arrays:
    return 0, int(state.arrays["state.step"][0])
  return -1, 0


def carry(sources: list[str], target: str, without: Container[str]) -> int:
  """Copies the states of runs that have not ended; how many were further.

  Args:
    sources: directories of runs; files among them have no states.
    target: directory whose states/ they go to; what is there stays, but where
      a run has got further. A damaged state is passed over, and named on
      standard error.
    without: names of runs that have ended.
  """
  home, copied = pathlib.Path(target), 0
  (home / sweeps.STATES).mkdir(parents=True, exist_ok=True)
  for source in map(pathlib.Path, sources):
    for name in sorted(sweeps.state_names(source)):
      if name in without:
        continue
      state = whole_state(source, name)
      there = whole_state(home, name, own=True)
      if state is not None and rank(None, state) > rank(None, there):
        _write(home, name, state.arrays, state.meta)
        copied += 1
  return copied


def _refuse_before(path: pathlib.Path, flag: str) -> None:
  """ValueError for a run of before that is not finished."""
  for name, commit in BEFORE.items():
    if (path / name).exists():
      raise ValueError(
        f"{flag} {path} holds a run of before, in {name}; commit {commit} of"
        " steadygrad can finish it, or name another directory"
      )
