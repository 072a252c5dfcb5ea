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
    if config.start_speed is not None:
      params = params | {"cell": faster(params["cell"], config.start_speed)}
    found[grids.run_name(config)] = params
  return found


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
