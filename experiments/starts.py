"""Runs that begin with the parameters of other runs."""

import pathlib

import generalise_loop
import grids
import jax
import jax.numpy as jnp

from steadygrad import training
from steadygrad.config import TrainConfig
from steadygrad.types import Array, PyTree


def load(
  directory: str | None,
  configs: list[TrainConfig],
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
    if config.start is None:
      continue
    run = _run_of(directory, config, own)
    _, _, params = generalise_loop.load(run)
    params = jax.tree.map(lambda x: x[0], params)
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
    found[grids.run_name(config)] = params
  return found


def _run_of(directory, config: TrainConfig, own) -> str:
  """The record with which a run begins, in one of the two directories."""
  name = pathlib.Path("records", f"{first(config)}.json")
  if own is not None and (pathlib.Path(own) / name).exists():
    return str(pathlib.Path(own) / name)
  if directory is None:
    raise ValueError(
      f"starts must be the directory of a sweep with the runs of"
      f" start={config.start}, got None"
    )
  return str(pathlib.Path(directory) / name)


def check(
  directory: str | None,
  configs: list[TrainConfig],
  own: str | pathlib.Path | None = None,
) -> None:
  """ValueError if a run's files are missing that `load` needs to begin with.

  Args:
    directory, own: as for `load`.
    configs: the runs that are left; those that others of them begin with come
      first, and are not missed.
  """
  for config in stages(configs)[0]:
    if config.start is not None:
      generalise_loop.files_of(_run_of(directory, config, own))


def stages(configs: list[TrainConfig]) -> list[list[TrainConfig]]:
  """The runs in turns: those of a turn begin with runs of turns before it.

  What begins with a run that is not among them is of the first turn, with what
  begins afresh. There is at least one turn.
  """
  left = {grids.run_name(config): config for config in configs}
  turns: list[list[TrainConfig]] = []
  while left or not turns:
    # A name is a digest of the start's as well, so that none is its own.
    turn = [name for name, config in left.items() if first(config) not in left]
    turns.append([left.pop(name) for name in turn])
  return turns


def first(config: TrainConfig) -> str | None:
  """Name of the run that this one begins with."""
  return config.start and f"{config.start}-{config.first_seed}"


def faster(cell: dict[str, Array], speed: float) -> dict[str, Array]:
  """Parameters of an Elman cell whose states move `speed` times as fast.

  In the x-form (eq. 2) a step is

    x_t - x_{t-1} = [σ(x_{t-1}) (W_rec - I) + u_t W_in + b]
                    - [x_{t-1} - σ(x_{t-1})]

  and the first bracket is multiplied. The second is none of the parameters';
  for tanh it is of third order in x, so that a memory that crept moves `speed`
  times as far a step, and states settle where units are closer to saturation.

  Args:
    cell: w_rec [N, N], w_in [M, N], b [N].
    speed: the factor, K.
  """
  identity = jnp.eye(len(cell["w_rec"]), dtype=cell["w_rec"].dtype)
  fast = {name: speed * value for name, value in cell.items()}
  return fast | {"w_rec": identity + speed * (cell["w_rec"] - identity)}
