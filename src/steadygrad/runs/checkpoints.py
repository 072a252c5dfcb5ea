"""Where a run stands: its newest state, and the one before.

Two files of `store` in the run's directory. The one before takes over where the
newest does not verify, which is set aside, never deleted. A reader finds a
whole state at any time; a writer holds the directory's lock.
"""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from steadygrad import files
from steadygrad.runs import store
from steadygrad.runs.signals import say

NEWEST = "state.safetensors"
PREVIOUS = "state.previous.safetensors"
_NEXT = "state.next.safetensors"


class Restored(NamedTuple):
  """What `restore` found.

  Attributes:
    step: number of the state; None if there was none to use.
    arrays: {name: array}.
    meta: as it was saved.
    problems: a sentence for each newer state that could not be used.
  """

  step: int | None
  arrays: dict[str, np.ndarray]
  meta: Any
  problems: list[str]


def restore(directory: str | pathlib.Path, name: str) -> Restored:
  """The newest state of a run that verifies.

  Args:
    directory: of the run.
    name: of the run; a state of another is not used.

  Newer ones that do not verify are set aside and named in `problems`.
  """
  problems = []
  for file in (NEWEST, PREVIOUS):
    path = pathlib.Path(directory) / file
    try:
      return _read(path, name)._replace(problems=problems)
    except FileNotFoundError:
      continue
    except ValueError as e:
      problems.append(f"{e}; moved to {files.set_aside(path)}")
  return Restored(None, {}, None, problems)


def before(directory: str | pathlib.Path, name: str) -> Restored:
  """The state before the newest.

  Raises:
    ValueError: if it is not there or does not verify.
  """
  path = pathlib.Path(directory) / PREVIOUS
  try:
    return _read(path, name)
  except FileNotFoundError as e:
    raise ValueError(
      f"{path} is not there, the state before the last check, from which a"
      " larger budget goes on"
    ) from e


def _read(path: pathlib.Path, name: str) -> Restored:
  stored = store.read_arrays(path, name)
  try:
    step, meta = stored.meta["step"], stored.meta["meta"]
  except (TypeError, KeyError) as e:
    raise ValueError(f"{path} holds no state") from e
  return Restored(step, stored.arrays, meta, [])


def save(
  directory: str | pathlib.Path,
  step: int,
  arrays: dict[str, Any],
  meta: Any = None,
  *,
  name: str,
) -> None:
  """Writes a state, whole or not at all, and keeps the one before.

  Args:
    directory: of the run.
    step: its number, above any that is there.
    arrays: {name: array}.
    meta: anything that JSON holds.
    name: of the run.

  Raises:
    ValueError: if the step is not above the latest.
    OSError: if it cannot be written; what is there stays.
  """
  directory = pathlib.Path(directory)
  # Read again, so that no damaged file ever takes the place of a whole one.
  latest = restore(directory, name)
  for problem in latest.problems:
    say(problem)
  if latest.step is not None and step <= latest.step:
    raise ValueError(
      f"step must be above {latest.step}, the latest in {directory}, got {step}"
    )
  new, newest = directory / _NEXT, directory / NEWEST
  store.write_arrays(new, arrays, {"step": step, "meta": meta}, name=name)
  if newest.exists():
    os.replace(newest, directory / PREVIOUS)
  os.replace(new, newest)
  files.sync_directory(directory)
