"""A run that has ended: its configuration, model, parameters and record."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import natural_experiment, records, schema, training
from steadygrad.config import TrainConfig
from steadygrad.natural_config import NaturalConfig
from steadygrad.runs import directories, kinds, names, store, sweeps
from steadygrad.types import Model, PyTree


class Run(NamedTuple):
  """A run that has ended.

  Attributes:
    config: its configuration.
    model: the model that it has trained.
    params: of every seed, leaves [S, ...]; on music and text the best ones.
    record: see `kinds.TRAINING` and `kinds.NATURAL`.
  """

  config: TrainConfig | NaturalConfig
  model: Model
  params: PyTree
  record: dict[str, Any]


def load(path: str | pathlib.Path) -> Run:
  """Reads a run that has ended.

  Args:
    path: a directory of train.py or natural.py, or a sweep's record of a run,
      `records/<name>.json`.

  Raises:
    ValueError: if the run has not ended, or a file is damaged or of another
      run, naming the file.
  """
  config, record = read(path)
  record_file, file = files_of(path)
  in_sweep = record_file.name != directories.RECORD
  name = record_file.stem if in_sweep else names.name_of(config)
  arrays = store.read_arrays(file, name).arrays
  steps = arrays.get("state.step")
  if steps is not None and steps.tolist() != record["results"]["updates"]:
    raise ValueError(
      f"runs must have ended, but {file} stands at update {steps.tolist()} and"
      f" its record at {record['results']['updates']}"
    )
  try:
    model, root = _model(config, arrays)
    keys = jax.vmap(jax.random.key)(jnp.zeros(config.seeds, jnp.uint32))
    template = jax.eval_shape(jax.vmap(model.init), keys)
    params = store.unflatten(template, arrays, root)
  except ValueError as e:
    raise ValueError(f"{file} holds no parameters of this run: {e}") from e
  return Run(config, model, params, record)


def read(
  path: str | pathlib.Path,
) -> tuple[TrainConfig | NaturalConfig, dict[str, Any]]:
  """(configuration, record) of a run, as `load` but without its parameters."""
  file = files_of(path)[0]
  if file.name != directories.RECORD:
    record = sweeps.read_record(file)
  else:
    record = records.read_json(file)
    if record.get("kind") == kinds.NATURAL["kind"]:
      schema.check(record, kinds.NATURAL, file)
      return kinds.config_of(record, NaturalConfig, file), record
    record = kinds.read_training(file)
  return kinds.config_of(record, TrainConfig, file), record


def files_of(path: str | pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """(record, parameters) of a run; of a sweep's run its state has them.

  Raises:
    ValueError: if one of them is not there, naming it.
  """
  path = pathlib.Path(path)
  if path.suffix == ".json":
    found = path, sweeps.state_path(path.parent.parent, path.stem)
  else:
    found = path / directories.RECORD, directories.parameters_path(path)
  for file in found:
    if not file.exists():
      raise ValueError(f"runs must have ended, but {path} has no {file}")
  return found


def _model(config, arrays: dict) -> tuple[Model, str]:
  """The model, and the name of its parameters among the arrays of a file."""
  if isinstance(config, TrainConfig):
    return training.experiment(config).model, "state.params"
  # How many symbols a text has is nowhere else in the files.
  if (w_out := arrays.get("params['readout']['w_out']")) is None:
    raise ValueError("it has no readout")
  num_symbols = w_out.shape[-1]
  return natural_experiment.experiment(config, num_symbols).model, "params"
