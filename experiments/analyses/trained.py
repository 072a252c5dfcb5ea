"""A network that was trained: its theory before the first update and after."""

import dataclasses

import jax
import numpy as np

from steadygrad import analysis, training
from steadygrad.runs import loading
from steadygrad.training import TaskConfig

# Folded into a key after the streams of training: sequences nobody has seen.
STREAM = 2000
SEQUENCES = 100


def trained(run: str) -> dict:
  """`analysis.DynamicsRecord` of every seed, before training and after.

  Args:
    run: a directory of train.py, or a record of one run, on a task.

  Raises:
    ValueError: if it has not ended or is on music or text.
  """
  found = loading.load(run)
  config = found.config
  if not isinstance(config, TaskConfig):
    raise ValueError(f"run must be on a task, got one on {config.data}")
  exp = training.experiment(config)
  task = exp.task
  recorder = analysis.dynamics_recorder(found.model, task.loss)

  def look(key, params):
    batch = task.sample(jax.random.fold_in(key, STREAM), SEQUENCES)
    return recorder(params, batch)

  seeds = config.first_seed + np.arange(config.seeds)
  keys = jax.vmap(jax.random.key)(seeds.astype(np.uint32))
  look = jax.jit(jax.vmap(look))
  stages = {"before": jax.vmap(exp.init)(keys), "after": found.params}
  seen = {name: look(keys, params) for name, params in stages.items()}
  results = {
    name: {k: v for k, v in record._asdict().items() if k != "delta_norms"}
    for name, record in seen.items()
  }
  return {
    "config": dataclasses.asdict(config) | {"sequences": SEQUENCES},
    "results": results | {"updates": found.record["results"]["updates"]},
    "curves": {name: r.delta_norms for name, r in seen.items()},
  }
