"""A threshold of clipping suggested from a run's own record.

The paper's rule: the average of what the threshold is compared with, and half
to ten times of it, see `transforms.choose_max_norm`. A record has means between
judgements, which is enough for an average over all updates.
"""

import pathlib
from typing import Any

import numpy as np

from steadygrad import records
from steadygrad.runs import directories, kinds, sweeps
from steadygrad.transforms import choose_max_norm
from steadygrad.transforms.clipping import MEASURES


def evaluate(runs: list[str]) -> dict[str, dict[str, Any]]:
  """Suggests a threshold for each run.

  Args:
    runs: directories of train.py, records, or directories of sweep.py for all
      runs in them that ended, on tasks or on music and text.

  Returns:
    {run: `advice`}.

  Raises:
    ValueError: naming the run, if it has not ended or its norms were never
      finite.
  """
  paths = [path for word in runs for path in _records_of(word)]
  return {str(path): advice(kinds.read_run(path), path) for path in paths}


def _records_of(word: str) -> list[pathlib.Path]:
  path = pathlib.Path(word)
  if path.suffix == ".json":
    found = [path]
  elif (path / directories.RECORD).exists():
    found = [path / directories.RECORD]
  else:
    found = sweeps.records_in(path)
  if not found or not found[0].exists():
    raise ValueError(f"runs must have ended, but {word} has no record")
  return found


def advice(record: dict[str, Any], name: str | pathlib.Path) -> dict[str, Any]:
  """The threshold that the record suggests.

  Args:
    record: of a run, see `kinds.read_run`.
    name: of the run, for what is said.

  Returns:
    `ThresholdAdvice` as a dict, with "rule", the rule whose threshold it is,
    and "max_norm", what the run had, or None. Of a rule without a threshold it
    is that of Algorithm 1, by_norm. `clipped_fraction` and `role` are those of
    the run where it had a threshold of this rule, and of the suggestion where
    it had none.
  """
  config, curves = record["config"], record["curves"]
  clips = config["algorithm"] != "msgd" and config["clip"] in MEASURES
  rule = config["clip"] if clips else "by_norm"
  # The configuration has no ratio of AGC.
  had = float(config["max_norm"]) if clips and rule != "agc" else None
  measured = _each_update(curves, MEASURES[rule])
  try:
    found = choose_max_norm(measured, had)._asdict()
  except ValueError as e:
    raise ValueError(f"runs must have finite norms, but {name}: {e}") from e
  if clips:
    share = float(np.mean(_each_update(curves, "clipped")))
    role = "step size" if share > 0.5 else "guard"
    found |= {"clipped_fraction": share, "role": role}
  return {"rule": rule, "max_norm": had} | records.plain(found)


def _each_update(curves: dict[str, list], name: str) -> np.ndarray:
  """For each update the curve's mean over its chunk, [updates, seeds].

  Passes are equally long: one row is enough for each.
  """
  values = records.numbers(curves[name])
  if "update" not in curves:
    return values
  return np.repeat(values, np.diff([0, *curves["update"]]), axis=0)
