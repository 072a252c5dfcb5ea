"""Runs that begin with the parameters of other runs."""

import pathlib

import generalise_loop
import grids
import jax

from steadygrad import training
from steadygrad.config import TrainConfig
from steadygrad.types import PyTree


def load(
  directory: str | None, configs: list[TrainConfig]
) -> dict[str, PyTree]:
  """{name: parameters to begin with} of the runs that have a `start`.

  Args:
    directory: of the sweep whose runs they begin with.
    configs: of one seed each; where `start` is None there is nothing to load.

  Raises:
    ValueError: if there is no directory, or a run in it has not ended, is
      damaged, or is of a network of another shape.
  """
  found = {}
  for config in configs:
    if config.start is None:
      continue
    if directory is None:
      raise ValueError(
        f"starts must be the directory of a sweep with the runs of"
        f" start={config.start}, got None"
      )
    name = f"{config.start}-{config.first_seed}.json"
    run = pathlib.Path(directory) / "records" / name
    _, _, params = generalise_loop.load(str(run))
    params = jax.tree.map(lambda x: x[0], params)
    exp = training.experiment(config)
    template = jax.eval_shape(exp.model.init, jax.random.key(0))
    shapes = [jax.tree.map(lambda x: x.shape, t) for t in (params, template)]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"start must be of a network like this run's, {shapes[1]}, but"
        f" {run} has {shapes[0]}"
      )
    found[grids.run_name(config)] = params
  return found
