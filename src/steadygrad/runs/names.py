"""Names of runs: readable words, a digest of all that decides it, its seed."""

import functools

from steadygrad import options
from steadygrad.training.config import BUDGETS, Config, CorpusConfig


def run_name(config: Config) -> str:
  """Of the files of a run of one seed.

  The digest is of all that decides the run but for its seed and its budget: a
  run that was cut goes on when it gets a larger one.
  """
  return f"{stem(config)}-{config.first_seed}"


def stem(config: Config) -> str:
  """`run_name` without the seed: what all seeds share."""
  budget = {BUDGETS[type(config)]: 1}
  return _stem(options.replaced(config, seeds=1, first_seed=0, **budget))


@functools.cache
def _stem(shared: Config) -> str:
  if isinstance(shared, CorpusConfig):
    words = (shared.data, shared.model, shared.algorithm)
  else:
    length = str(shared.length)
    if shared.max_length is not None:
      length = f"{length}_{shared.max_length}"
    network = shared.init if shared.model == "elman" else shared.model
    words = (shared.task, length, network, shared.algorithm)
  return "-".join([*words, shared.digest()])


def of_seeds(config: Config) -> list[Config]:
  """The runs of a configuration, one for each seed."""
  seeds = range(config.first_seed, config.first_seed + config.seeds)
  return [options.replaced(config, seeds=1, first_seed=s) for s in seeds]
