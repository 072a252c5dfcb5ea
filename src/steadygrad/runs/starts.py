"""Runs that begin with the parameters of other runs."""

import pathlib

import jax

from steadygrad import training
from steadygrad.cells import faster
from steadygrad.runs import loading, names
from steadygrad.training.config import Config, TaskConfig
from steadygrad.types import PyTree


def load(
  directory: str | None,
  configs: list[Config],
  own: str | pathlib.Path | None = None,
) -> dict[str, PyTree]:
  """{name: parameters to begin with} of the runs that have a `start`.

  Args:
    directory: of the sweep whose runs they begin with.
    configs: of one seed each; where `start` is None there is nothing to load.
    own: directory of the sweep itself, which may hold such runs as well.

  Raises:
    ValueError: if there is no directory, or a run in it has not ended, is
      damaged, or is of a network of another shape, or if one is to be faster
      whose form is not x.
  """
  found = {}
  for config in configs:
    if not isinstance(config, TaskConfig) or config.start is None:
      continue
    run = _run_of(directory, config, own)
    params = jax.tree.map(lambda x: x[0], loading.load(run).params)
    exp = training.experiment(config)
    template = jax.eval_shape(exp.model.init, jax.random.key(0))
    shapes = [jax.tree.map(lambda x: x.shape, t) for t in (params, template)]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"start must be of a network like this run's, {shapes[1]}, but"
        f" {run} has {shapes[0]}"
      )
    if config.start_speed is not None:
      if (form := config.resolved().form) != "x":
        raise ValueError(
          "start_speed must be none where the form is not x, got"
          f" {config.start_speed} with form={form}"
        )
      params = params | {"cell": faster(params["cell"], config.start_speed)}
    found[names.run_name(config)] = params
  return found


def _run_of(directory, config: Config, own) -> str:
  """The record with which a run begins, in one of the two directories."""
  name = pathlib.Path("records", f"{first(config)}.json")
  if own is not None and (pathlib.Path(own) / name).exists():
    return str(pathlib.Path(own) / name)
  if directory is None:
    raise ValueError(
      f"starts must be the directory of a sweep with the runs of"
      f" {first(config)}, got None"
    )
  return str(pathlib.Path(directory) / name)


def check(
  directory: str | None,
  configs: list[Config],
  own: str | pathlib.Path | None = None,
) -> None:
  """ValueError if a run's files are missing that `load` needs to begin with.

  Args:
    directory: as for `load`.
    configs: the runs that are left; those that others of them begin with come
      first, and are not missed.
    own: as for `load`.
  """
  for config in stages(configs)[0]:
    if first(config) is not None:
      loading.files_of(_run_of(directory, config, own))


def stages(configs: list[Config]) -> list[list[Config]]:
  """The runs in turns: those of a turn begin with runs of turns before it.

  What begins with a run that is not among them is of the first turn, with what
  begins afresh. There is at least one turn.
  """
  left = {names.run_name(config): config for config in configs}
  turns: list[list[Config]] = []
  while left or not turns:
    # A name is a digest of the start's as well, so that none is its own.
    turn = [name for name, config in left.items() if first(config) not in left]
    turns.append([left.pop(name) for name in turn])
  return turns


def first(config: Config) -> str | None:
  """Name of the run that this one begins with."""
  start = getattr(config, "start", None)
  return start and f"{start}-{config.first_seed}"
