"""What records of each kind hold, see `schema`; and readers that need more."""

import math
import pathlib
from typing import Any

from steadygrad import records, schema

_VALUE = (float, bool)  # Of a curve.
# What there is in a record of training, of train.py or of a sweep.
TRAINING = {
  "kind": "training",
  "config": dict,
  "results": {
    "task": str,
    "algorithm": str,
    "length": int,
    "seeds": int,
    "solved": [bool],
    "updates_to_solve": [(int, None)],
    "status": [str],
    "relapses": [int],
    "updates": [int],
    "test_error": [float],
    "chance_error": float,
    "chance_loss": (float, None),
    "success_rate": float,
    "success_interval": [float],
    "max_updates": int,
    "check_every": int,
  },
  "curves": {"update": [int], str: [[_VALUE]]},
  "provenance": {"updates_per_second": float},
}
# And of one on music or text.
NATURAL = {
  "kind": "natural",
  "config": dict,
  "results": {
    "data": str,
    "algorithm": str,
    "cell": str,
    "unit": str,
    "seeds": int,
    "parameters": int,
    "status": [str],
    "epochs": [int],
    "best_epoch": [int],
    "train": [float],
    "valid": [float],
    "test": [float],
    "floors": dict,
  },
  "curves": {"epoch": [int], str: [[_VALUE]]},
  "provenance": {"wall_seconds": float},
}
# And of what evaluate.py --test=lengths writes beside one.
GENERALISATION = {
  "kind": "generalisation",
  "tested": {"lengths": [int], "size": int},
  "config": dict,
  "results": {"updates": [int], "errors": [[float]]},
}
# What there is in a file of collect.py.
COLLECTED = {
  "kind": "sweep",
  "config": dict,
  "provenance": [dict],
  "runs": {
    str: {
      "config": dict,
      "outcome": ("solved", "diverged", "cut"),
      "updates": int,
      "updates_to_solve": (int, None),
      "test_error": float,
      "relapses": int,
      "chance_error": float,
      "chance_loss": (float, None),
      "curves": {"update": list, str: list},
      "provenance": {"source": int},
    }
  },
}
# Of what analyse.py writes, and of the rows of benchmarks/update.py.
ANALYSIS = {
  "kind": "analysis",
  "analysis": str,
  "results": dict,
  "curves": dict,
  "provenance": dict,
}
UPDATE_ROWS = [
  {
    "implementation": str,
    "algorithm": str,
    "length": int,
    "units": int,
    "batch": int,
    "seeds": int,
    "run_updates_per_second": float,
    "rounds": [float],
  }
]
_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def read_training(path: str | pathlib.Path) -> dict[str, Any]:
  """A record of training.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged or no such record.
  """
  read = records.read_json(path)
  if read.get("kind") != TRAINING["kind"]:
    raise ValueError(f"runs must be training runs, got {path}")
  schema.check(read, TRAINING, path)
  checks = len(read["curves"]["update"])
  for name, curve in read["curves"].items():
    if len(curve) != checks:
      raise ValueError(
        f"{path} must hold {checks} values of {name}, got {len(curve)}"
      )
  return read


def config_of(record: dict[str, Any], kind: type, path: str | pathlib.Path):
  """The configuration in a record, a `TrainConfig` or `NaturalConfig`.

  Raises:
    ValueError: naming the file and what is no such configuration in it.
  """
  values = record["config"].items()
  try:
    return kind(
      **{k: _INFINITE.get(v, v) if isinstance(v, str) else v for k, v in values}
    )
  except (TypeError, ValueError) as e:
    raise ValueError(f"{path} holds no configuration: {e}") from e
