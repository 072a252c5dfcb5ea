"""What tests of runs on music and text share."""

from typing import Any

import jax

from steadygrad.runs import loading
from steadygrad.training.config import CorpusConfig


def named_runs(runs: list[str]) -> dict[str, Any]:
  """{model and algorithm: the run's first seed}, leaves [...]; of one data set.

  Raises:
    ValueError: if a run is on a task or has not ended, its files are
      damaged, two are of one model and algorithm, or of different data sets.
  """
  found: dict[str, Any] = {}
  for path in runs:
    if not isinstance(loading.read(path)[0], CorpusConfig):
      raise ValueError(f"runs must be on music or text, got {path}")
    run = loading.load(path)
    name = f"{run.config.model}-{run.config.algorithm}"
    if name in found:
      raise ValueError(
        f"runs must be of different models or algorithms, got two of {name}"
      )
    params = jax.tree.map(lambda x: x[0], run.params)
    found[name] = run._replace(params=params)
  if len(data := {run.config.data for run in found.values()}) != 1:
    raise ValueError(f"runs must be of one data set, got {sorted(data)}")
  return found
