"""What a directory of train.py was asked for, and whether it has it."""

import dataclasses
import os
import pathlib

from steadygrad import files, records
from steadygrad.runs import directories, kinds, names, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.hosts import Hosts
from steadygrad.runs.signals import say
from steadygrad.training.config import BUDGETS, Config, differences

_GROWS = ("seeds", *BUDGETS.values())


def ended(run_dir: str | pathlib.Path, config: Config) -> dict | None:
  """The record of a run of train.py that has ended; nothing is written.

  Args:
    run_dir: its directory.
    config: what is asked for.

  Returns:
    The record; or None if there is none, or one of fewer seeds or a smaller
    budget; or if a state is not whole, which is said.

  Raises:
    ValueError: if a file is damaged or of another configuration, naming it.
  """
  run_dir = files.expand(run_dir)
  same, path = check_config(run_dir, config), run_dir / directories.RECORD
  if not os.path.lexists(path):
    return None
  try:
    record = kinds.read_run(path)
  except ValueError as e:
    raise ValueError(
      f"{e}; without this file the run ends again from its states"
    ) from e
  there = f"{path} is the record of"
  if not _is_same(there, record["config"], config) or not same:
    return None
  if not (run_dir / sweeps.STATES).is_dir():
    return record  # Of before; its parameters are in a file of their own.
  for run in names.of_seeds(config):
    name = names.run_name(run)
    try:
      sweeps.read_state(sweeps.state_path(run_dir, name), name)
    except (FileNotFoundError, ValueError) as e:
      say(f"{e}; made again")
      return None
  return record


def check_config(run_dir: pathlib.Path, config: Config) -> bool:
  """Whether config.json is this one; not without it, or if this one has more.

  Raises:
    ValueError: if it is of another configuration, whose fields are named, or
      if there is a run without it.
  """
  path = run_dir / directories.CONFIG
  if os.path.lexists(path):
    there = f"run_dir {run_dir} holds"
    return _is_same(there, records.read_json(path), config)
  names_before = (directories.RECORD, *directories.BEFORE)
  others = [run_dir / name for name in names_before]
  others += sweeps.records_in(run_dir)
  if any(map(pathlib.Path.exists, others)) or sweeps.state_names(run_dir):
    raise ValueError(
      f"run_dir {run_dir} holds a run without its"
      f" {directories.CONFIG}; name another"
    )
  return False


def check_same(hosts: Hosts, config: Config) -> None:
  """ValueError if process 0 was given another configuration than this one."""
  own = records.plain(dataclasses.asdict(config.resolved()))
  told = hosts.same(own)
  fields = "; ".join(
    f"{name}: {there!r} there, {here!r} here"
    for name, (there, here) in differences(told, own).items()
  )
  if fields:
    raise ValueError(
      f"all processes must have one configuration, got another in process"
      f" {hosts.index} than in process 0 ({fields})"
    )


def write_config(directory: Directory, config: Config) -> None:
  """Writes what train.py was asked for, where it is not there yet."""
  if not check_config(directory.path, config):
    path = directory.path / directories.CONFIG
    records.write_json(path, dataclasses.asdict(config.resolved()))


def _is_same(what: str, there: dict, config: Config) -> bool:
  """Whether a configuration is this one; False if this one has more of it.

  Raises:
    ValueError: if they differ otherwise.
  """
  there = kinds.completed(there)
  wanted = records.plain(dataclasses.asdict(config.resolved()))
  differing = differences(there, wanted)
  grown = {k: v for k, v in differing.items() if k in _GROWS}
  if differing.keys() == grown.keys():
    for name, (old, new) in grown.items():
      if type(old) is not int or old > new:
        raise ValueError(
          f"{what} a run of {old} {name}, which is not made shorter: {name}"
          f" must be at least {old}, got {new}; or name another directory"
        )
    return not grown
  fields = "; ".join(
    f"{name}: {old!r} there, {new!r} asked for"
    for name, (old, new) in differing.items()
  )
  raise ValueError(
    f"{what} another configuration ({fields}); name another directory or"
    " delete it. Nothing was changed"
  )
