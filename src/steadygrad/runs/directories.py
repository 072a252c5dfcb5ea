"""The directory of one run, and what of the run is there already.

  config.json               what was asked for
  state.safetensors         where the run stands, see `checkpoints`
  parameters.safetensors    of a run that has ended, leaves [S, ...]
  record.json               of a run that has ended

One process at a time works on it, with its lock held. A run that has ended is
read without.
"""

import dataclasses
import os
import pathlib
from typing import Any

import filelock

from steadygrad import config as configuration
from steadygrad import files, records
from steadygrad.runs import checkpoints, store
from steadygrad.runs.signals import say

CONFIG = "config.json"
RECORD = "record.json"
PARAMETERS = "parameters.safetensors"
# Of before: parameters can be read, the states of Orbax cannot.
_OLD_PARAMETERS = "parameters.npz"
_OLD_STATES = "checkpoints"
_OLD_COMMIT = "06c551e"
# What a run may be given more of: with the larger it goes on.
_BUDGETS = ("max_updates", "max_epochs")


def parameters_path(run_dir: str | pathlib.Path) -> pathlib.Path:
  """Where the parameters of a run are, or will be."""
  old = pathlib.Path(run_dir) / _OLD_PARAMETERS
  path = old.with_name(PARAMETERS)
  return old if old.exists() and not path.exists() else path


def finished(
  run_dir: str | pathlib.Path, config: Any, name: str, schema: Any
) -> dict | None:
  """The record of a run that has ended; nothing is written.

  Args:
    run_dir: its directory.
    config: a dataclass, what is asked for.
    name: of the run.
    schema: of its record.

  Returns:
    The record; or None if there is none, or one of a smaller budget; or if the
    parameters are not whole, which is said: the run then ends again from its
    state, to the same bits.

  Raises:
    ValueError: if a file is damaged or of another configuration, naming it.
  """
  run_dir = pathlib.Path(run_dir)
  _check_config(run_dir, config)
  parameters = parameters_path(run_dir)
  record = record_of(run_dir, config, schema)
  if record is None:
    return None
  try:
    store.read_arrays(parameters, name)
  except FileNotFoundError:
    problem = f"{parameters} is not there"
  except ValueError as e:
    problem = str(e)
  else:
    return record
  say(f"{problem}; made again from the run's state")
  return None


def record_of(
  run_dir: str | pathlib.Path, config: Any, schema: Any
) -> dict | None:
  """The record of this very configuration; None without or of a smaller budget.

  Raises:
    ValueError: if it is damaged or of another configuration, naming it.
  """
  path = pathlib.Path(run_dir) / RECORD
  if not os.path.lexists(path):
    return None
  try:
    record = records.read_json(path, schema)
  except ValueError as e:
    raise ValueError(
      f"{e}; without this file the run ends again from its state"
    ) from e
  same = _is_same(f"{path} is the record of", record["config"], config)
  return record if same else None


def prepare(
  run_dir: str | pathlib.Path, config: Any
) -> filelock.AcquireReturnProxy:
  """Makes the directory of a run, or checks that it is of this very one.

  A smaller budget there becomes the one that is asked for.

  Returns:
    What holds its lock, see `store.lock`.

  Raises:
    ValueError: if it cannot be written, is in use, holds another configuration,
      whose fields are named, or a run that this version cannot go on with; then
      nothing of the run is touched.
  """
  run_dir = pathlib.Path(run_dir)
  _check_config(run_dir, config)
  if (run_dir / _OLD_STATES).is_dir():
    raise ValueError(
      f"run_dir {run_dir} holds a run with states of Orbax in {_OLD_STATES}/;"
      f" commit {_OLD_COMMIT} of steadygrad can finish it, or name another"
      " directory"
    )
  held = store.lock(run_dir, "run_dir")
  try:
    files.remove_leftovers(run_dir)
    if not _check_config(run_dir, config):
      records.write_json(run_dir / CONFIG, dataclasses.asdict(config))
  except BaseException:
    held.lock.release()
    raise
  return held


def write_parameters(
  run_dir: str | pathlib.Path, arrays: dict[str, Any], name: str
) -> None:
  """Writes the parameters of a run at its end; damaged ones are set aside."""
  path = pathlib.Path(run_dir) / PARAMETERS
  try:
    store.read_arrays(path, name)
  except FileNotFoundError:
    pass
  except ValueError:  # `finished` has said so.
    files.set_aside(path)
  store.write_arrays(path, arrays, name=name)


def _check_config(run_dir: pathlib.Path, config: Any) -> bool:
  """Whether config.json is this one; not without, or of a smaller budget."""
  path = run_dir / CONFIG
  if os.path.lexists(path):
    there = f"run_dir {run_dir} holds"
    return _is_same(there, records.read_json(path), config)
  others = (RECORD, checkpoints.NEWEST, checkpoints.PREVIOUS, _OLD_STATES)
  if any((run_dir / name).exists() for name in others):
    raise ValueError(
      f"run_dir {run_dir} holds a run without its config.json; name another"
    )
  return False


def _is_same(what: str, there: dict, config: Any) -> bool:
  """Whether a configuration is this one; False if it has a smaller budget.

  Raises:
    ValueError: if they differ otherwise.
  """
  wanted = records.plain(dataclasses.asdict(config))
  differing = configuration.differences(there, wanted)
  if not differing:
    return True
  for name in _BUDGETS:
    old, new = differing.get(name, (None, None))
    if len(differing) == 1 and type(old) is int:
      if new > old:
        return False
      raise ValueError(
        f"{what} a run of {old} {name}, which is not made shorter: {name} must"
        f" be at least {old}, got {new}; or name another directory"
      )
  fields = "; ".join(
    f"{name}: {old!r} there, {new!r} asked for"
    for name, (old, new) in differing.items()
  )
  raise ValueError(
    f"{what} another configuration ({fields}); name another directory or"
    " delete it. Nothing was changed"
  )
