"""Names of runs: readable words, and a digest of all that decides a run."""

import dataclasses
import functools

from steadygrad import options
from steadygrad.config import TrainConfig
from steadygrad.natural_config import NaturalConfig


def name_of(config: TrainConfig | NaturalConfig) -> str:
  """Of a run of train.py or natural.py: all that decides it but its budget."""
  if isinstance(config, TrainConfig):
    words = (config.task, str(config.length), config.init, config.algorithm)
    same = dataclasses.replace(config, max_updates=1)
  else:
    words = (config.data, config.cell, config.algorithm)
    same = dataclasses.replace(config, max_epochs=1)
  return "-".join([*words, same.digest()])


def run_name(config: TrainConfig) -> str:
  """Of the files of a sweep's run: readable words, a digest, and the seed.

  The digest is of all that decides the run but for its seed and its budget: a
  run that was cut goes on when it gets a larger one.
  """
  return f"{stem(config)}-{config.first_seed}"


def stem(config: TrainConfig) -> str:
  """`run_name` without the seed."""
  return _stem(options.replaced(config, seeds=1, first_seed=0, max_updates=1))


@functools.cache
def _stem(shared: TrainConfig) -> str:
  length = str(shared.length)
  if shared.max_length is not None:
    length = f"{length}_{shared.max_length}"
  words = (shared.task, length, shared.init, shared.algorithm)
  return "-".join([*words, shared.digest()])
