"""A run that has ended: its configuration, model, parameters and record."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import options, training
from steadygrad.runs import directories, kinds, names, store, sweeps
from steadygrad.tasks import make_task
from steadygrad.training.config import BUDGETS, Config, CorpusConfig
from steadygrad.types import Model, PyTree

# Of a run of before, whose seeds are in one file.
_BEFORE = ("parameters.safetensors", "parameters.npz")


class Run(NamedTuple):
  """A run that has ended.

  Attributes:
    config: its configuration.
    model: the model that it has trained.
    params: of every seed, leaves [S, ...]; on music and text the best ones.
    record: see `kinds.TRAINING` and `kinds.CORPUS`.
  """

  config: Config
  model: Model
  params: PyTree
  record: dict[str, Any]


def load(path: str | pathlib.Path) -> Run:
  """Reads a run that has ended.

  Args:
    path: a directory of train.py, for all its seeds; or the record of one run
      in it or in a sweep, `records/<name>.json`.

  Raises:
    ValueError: if the run has not ended, or a file is damaged or of another
      run, naming the file.

  Example:
    >>> import tempfile
    >>> from steadygrad import runs
    >>> from steadygrad.training import TaskConfig
    >>> config = TaskConfig(
    ...   length=10, seeds=2, max_updates=2, check_every=2, check_size=10,
    ...   test_size=10,
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   record = runs.train(config, folder, progress=False)
    ...   run = runs.load(folder)
    >>> run.params["cell"]["w_rec"].shape  # Seeds first.
    (2, 50, 50)
  """
  config, record = read(path)
  found = files_of(path)[1:]
  if found[0].name in _BEFORE:
    arrays = [store.read_arrays(found[0], name_before(config)).arrays]
  else:
    pairs = zip(found, names.of_seeds(config), strict=True)
    arrays = [_of_seed(file, names.run_name(run)) for file, run in pairs]
  _check_steps(found, arrays, record["results"])
  try:
    model, root = _model(config, arrays[0])
    keys = jax.vmap(jax.random.key)(jnp.zeros(config.seeds, jnp.uint32))
    template = jax.eval_shape(jax.vmap(model.init), keys)
    joined = {
      name: np.concatenate([own[name] for own in arrays])
      for name in arrays[0]
      if name.startswith(root) and all(name in own for own in arrays)
    }
    params = store.unflatten(template, joined, root)
  except ValueError as e:
    raise ValueError(f"{found[0]} holds no parameters of this run: {e}") from e
  return Run(config, model, params, record)


def read(path: str | pathlib.Path) -> tuple[Config, dict[str, Any]]:
  """(configuration, record) of a run, as `load` but without its parameters."""
  file = files_of(path)[0]
  in_sweep = file.name != directories.RECORD
  record = sweeps.read_record(file) if in_sweep else kinds.read_run(file)
  return kinds.config_of(record, file), record


def files_of(path: str | pathlib.Path) -> list[pathlib.Path]:
  """[record, file of parameters of each seed] of a run.

  Raises:
    ValueError: if one of them is not there, naming it.
  """
  path = pathlib.Path(path)
  if path.suffix == ".json":
    home = path.parent.parent
    found = [path, sweeps.state_path(home, path.stem)]
  elif (path / sweeps.STATES).is_dir() and (path / directories.RECORD).exists():
    record = kinds.read_run(path / directories.RECORD)
    runs = names.of_seeds(kinds.config_of(record, path / directories.RECORD))
    states = [sweeps.state_path(path, names.run_name(run)) for run in runs]
    found = [path / directories.RECORD, *states]
  else:
    files = [path / name for name in _BEFORE]
    there = [file for file in files if file.exists()]
    found = [path / directories.RECORD, *(there or files)[:1]]
  for file in found:
    if not file.exists():
      raise ValueError(f"runs must have ended, but {path} has no {file}")
  return found


def name_before(config: Config) -> str:
  """The name of a run of before, whose seeds are in one file."""
  *words, _ = names.stem(config).split("-")
  if not isinstance(config, CorpusConfig):
    words = [config.task, str(config.length), config.init, config.algorithm]
  same = options.replaced(config, **{BUDGETS[type(config)]: 1})
  return "-".join([*words, same.digest()])


def _of_seed(file: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  return sweeps.read_state(file, name).arrays


def _check_steps(found, arrays: list[dict], results: dict[str, Any]) -> None:
  """ValueError if a state is not the one that the record is of."""
  steps = [own["state.step"].tolist() for own in arrays if "state.step" in own]
  made = [[n] for n in results.get("updates", [])]
  if made and steps and steps != made:
    raise ValueError(
      f"runs must have ended, but {found[0]} stands at updates {steps} and its"
      f" record at {made}"
    )


def _model(config: Config, arrays: dict[str, Any]) -> tuple[Model, str]:
  """The model, and the name of its parameters among the arrays of a file."""
  if not isinstance(config, CorpusConfig):
    task = make_task(config.task, config.length, config.max_length)
    sizes = task.input_size, task.output_size, task.reads
    root = "state.params" if config.average is None else "state.average"
    return training.model_of(config, *sizes), root
  # How many symbols a text has is nowhere else in the files.
  for root in ("state.verdict.best_params", "params"):
    w_out = arrays.get(f"{root}['readout']['w_out']")
    if w_out is not None:
      size = w_out.shape[-1]
      return training.model_of(config, size, size, "every"), root
  raise ValueError("it has no readout")
