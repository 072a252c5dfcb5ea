"""Where the files of a sweep's runs are, and their records.

  records/<name>.json         of a run that came to its end: solved, diverged or
                              cut
  states/<name>.safetensors   where a run stands, or stood at its end, with
                              curves; *.npz of before are read as well

Names are those of `names.run_name`.
"""

import pathlib
from typing import Any

from steadygrad.config import TrainConfig
from steadygrad.runs import kinds, names

STATE = ".safetensors"
OLD_STATE = ".npz"


def record_path(directory: str | pathlib.Path, name: str) -> pathlib.Path:
  """Where the record of a run is, or will be."""
  return pathlib.Path(directory) / "records" / f"{name}.json"


def state_path(directory: str | pathlib.Path, name: str) -> pathlib.Path:
  """Where the state of a run is, or will be."""
  path = pathlib.Path(directory) / "states" / f"{name}{STATE}"
  old = path.with_name(f"{name}{OLD_STATE}")
  return old if old.exists() and not path.exists() else path


def records_in(directory: str | pathlib.Path) -> list[pathlib.Path]:
  """The records of a sweep's directory, by name; none of another directory."""
  return sorted(pathlib.Path(directory).glob("records/*.json"))


def read_record(path: str | pathlib.Path) -> dict[str, Any]:
  """A record of a sweep.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged, or of another run than its
      name says.
  """
  path = pathlib.Path(path)
  record = kinds.read_training(path)
  config = kinds.config_of(record, TrainConfig, path)
  if (name := names.run_name(config)) != path.stem:
    raise ValueError(f"{path} holds the run {name}, not {path.stem}")
  return record
