"""What records of each kind hold, see `schema`; and readers that need more."""

import math
import pathlib
from typing import Any

from steadygrad import options, records, schema
from steadygrad.training.config import Config, CorpusConfig, TaskConfig

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
CORPUS = {
  "kind": ("corpus", "natural"),
  "config": dict,
  "results": {
    "data": str,
    "algorithm": str,
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
# What there is of a run in a file of collect.py; and of one on a task, and on a
# corpus, besides.
_COLLECTED_RUN = {
  "config": dict,
  "outcome": ("solved", "stopped", "diverged", "cut"),
  "updates": int,
  "provenance": {"source": int},
}
_COLLECTED_ON_TASK = _COLLECTED_RUN | {
  "updates_to_solve": (int, None),
  "test_error": float,
  "relapses": int,
  "chance_error": float,
  "chance_loss": (float, None),
  "curves": {"update": list, str: list},
}
_COLLECTED_ON_CORPUS = _COLLECTED_RUN | {
  "best_epoch": int,
  "train": float,
  "valid": float,
  "test": float,
  "unit": str,
  "floors": dict,
  "curves": {"epoch": list, str: list},
}
# Of what evaluate.py writes for pictures.
EVERY_STEP = {
  "kind": "every_step",
  "config": {"task": str, "steps": int, "size": int},
  "runs": {
    str: {
      "config": dict,
      "updates": int,
      "chance_error": float,
      "errors": [float],
    }
  },
}
WAITS = {
  "kind": "waits",
  "config": {"task": str, "usual": [int], "waits": [int], "size": int},
  "runs": {
    str: {
      "config": dict,
      "updates": int,
      "chance_error": float,
      "errors": [[float]],
    }
  },
}
LAGS = {
  "kind": "lags",
  "config": {"task": str, "length": int, "size": int},
  "runs": {
    str: {
      "config": dict,
      "updates": int,
      "solved": bool,
      "signals": {str: [float]},
      "exponent": dict,
    }
  },
}
SIGNALS = {
  "kind": ("signals", "natural_signals"),
  "data": str,
  "curves": {str: [[float]]},
}
# Of what analyse.py writes, and of the rows of benchmark.py --of=update.
ANALYSIS = {
  "kind": "analysis",
  "analysis": str,
  "results": dict,
  "curves": dict,
  "provenance": dict,
}
CHECKPOINTING_ROWS = [
  {
    "model": str,
    "length": int,
    "omega": bool,
    "checkpoint": bool,
    "mib": float,
    "seconds": [float],
  }
]
NETWORK_ROWS = [
  {
    "model": str,
    "length": int,
    "units": int,
    "parameters": int,
    "mib": float,
    "seconds": [float],
  }
]
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
# Of benchmark.py --of=gpu; a row that failed has an error in place of rounds.
GPU = {
  "kind": "gpu",
  "sections": {
    "updates": [
      {
        "implementation": str,
        "algorithm": str,
        "length": int,
        "units": int,
        "seeds": int,
      }
    ]
  },
  "provenance": {"commit": str, "device_kind": str},
}


def collected(record: dict[str, Any]) -> Any:
  """The schema of a file of collect.py, see `schema`."""
  on_corpus = {"data"}.intersection
  runs = record.get("runs")
  shared = record.get("config")
  if not isinstance(runs, dict) or not isinstance(shared, dict):
    return {"kind": "sweep", "config": dict, "runs": dict}

  def of(run):
    own = run.get("config") if isinstance(run, dict) else None
    fields = [*shared, *(own if isinstance(own, dict) else ())]
    return _COLLECTED_ON_CORPUS if on_corpus(fields) else _COLLECTED_ON_TASK

  return {
    "kind": "sweep",
    "config": dict,
    "provenance": [dict],
    "runs": {name: of(run) for name, run in runs.items()},
  }


_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def read_run(path: str | pathlib.Path) -> dict[str, Any]:
  """The record of a run, of one seed or several, on a task or a corpus.

  Its configuration is `completed`.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged or no such record.
  """
  read = records.read_json(path)
  kind = read.get("kind")
  if kind not in (TRAINING["kind"], *CORPUS["kind"]):
    raise ValueError(f"runs must be training runs, got {path}")
  on_task = kind == TRAINING["kind"]
  schema.check(read, TRAINING if on_task else CORPUS, path)
  judged = len(read["curves"]["update" if on_task else "epoch"])
  for name, curve in read["curves"].items():
    if len(curve) != judged:
      raise ValueError(
        f"{path} must hold {judged} values of {name}, got {len(curve)}"
      )
  return read | {"config": completed(read["config"])}


def read_training(path: str | pathlib.Path) -> dict[str, Any]:
  """`read_run` of a run on a task.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged or no such record.
  """
  read = read_run(path)
  if read["kind"] != TRAINING["kind"]:
    raise ValueError(f"runs must be on tasks, got {path}")
  return read


def read_corpus(path: str | pathlib.Path) -> dict[str, Any]:
  """`read_run` of a run on music or text.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: naming the file, if it is damaged or no such record.
  """
  read = read_run(path)
  if read["kind"] == TRAINING["kind"]:
    raise ValueError(f"records must be on music or text, got {path}")
  return read


def config_of(record: dict[str, Any], path: str | pathlib.Path) -> Config:
  """The configuration in a record.

  Raises:
    ValueError: naming the file and what is no such configuration in it.
  """
  values = record["config"]
  try:
    return kind_of(values)(
      **{
        name: _INFINITE.get(v, v) if isinstance(v, str) else v
        for name, v in completed(values).items()
      }
    )
  except (TypeError, ValueError) as e:
    raise ValueError(f"{path} holds no configuration: {e}") from e


def kind_of(values: dict[str, Any]) -> type:
  """The kind of configuration of which these are fields."""
  return CorpusConfig if "data" in values else TaskConfig


def completed(values: dict[str, Any]) -> dict[str, Any]:
  """The fields of a configuration in a file, under the names of today.

  Those that there were not yet have their defaults.
  """
  fields = options.fields(kind_of(values))
  names = {f.metadata["was"] or name: name for name, f in fields.items()}
  values = {names.get(name, name): value for name, value in values.items()}
  return {name: field.default for name, field in fields.items()} | values
