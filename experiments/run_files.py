"""What a run leaves behind: its record, and the arrays of its state."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from steadygrad import records, training
from steadygrad.config import TrainConfig
from steadygrad.natural_config import NaturalConfig
from steadygrad.runs import store
from steadygrad.training import Status

_CURVE = "curve."  # Before the name of a curve in a state file.


def name_of(config: TrainConfig | NaturalConfig) -> str:
  """Of a run of train.py or natural.py: all that decides it but its budget."""
  if isinstance(config, TrainConfig):
    words = (config.task, str(config.length), config.init, config.algorithm)
    same = dataclasses.replace(config, max_updates=1)
  else:
    words = (config.data, config.cell, config.algorithm)
    same = dataclasses.replace(config, max_epochs=1)
  return "-".join([*words, same.digest()])


def with_curves(states, curves: dict[str, list]) -> dict[str, np.ndarray]:
  """Arrays of a state file: the leaves of `states`, and what was measured.

  Args:
    states: leaves [S, ...].
    curves: {name: a value [S], or [] for the time, per check}.
  """
  told = {f"{_CURVE}{k}": np.stack(v) for k, v in curves.items()}
  return store.flatten(states) | told


def curves_of(arrays: dict[str, np.ndarray]) -> dict[str, list]:
  """The curves that `with_curves` was given."""
  return {
    name.removeprefix(_CURVE): list(values)
    for name, values in arrays.items()
    if name.startswith(_CURVE)
  }


def record(
  exp: training.Experiment,
  states: training.TrainState,
  test_errors: np.ndarray,
  curves: dict[str, list],
  spent: dict[str, float],
  devices: Sequence[jax.Device],
) -> dict[str, Any]:
  """The record of a training run.

  Args:
    exp: the experiment.
    states: of all seeds, leaves [S, ...].
    test_errors: [S].
    curves: {name: a value [S], or [] for "update", per check}.
    spent: "updates", "seconds", "compile_seconds".
    devices: it ran on.
  """
  config, task = exp.config, exp.task
  solved = states.solved_at >= 0
  low, high = records.wilson_interval(int(solved.sum()), config.seeds)
  results = {
    "task": task.name,
    "algorithm": config.algorithm,
    "length": config.length,
    "seeds": config.seeds,
    "solved": solved,
    "updates_to_solve": [int(n) if n >= 0 else None for n in states.solved_at],
    "status": [Status(s).name.lower() for s in states.status],
    "relapses": states.relapses,
    "updates": states.step,
    "test_error": test_errors,
    "confirmed": solved & (np.asarray(test_errors) < task.solved_below),
    "test_size": config.test_size,
    "chance_error": task.chance_error,
    "chance_loss": task.chance_loss,
    "success_rate": float(solved.mean()),
    "success_interval": [low, high],
    "max_updates": config.max_updates,
    "check_every": config.check_every,
  }
  speed = {
    "run_updates": spent["updates"],
    "updates_per_second": spent["updates"] / max(spent["seconds"], 1e-9),
    "compile_seconds": spent["compile_seconds"],
  }
  curves = {k: v for k, v in curves.items() if k != "step"}
  return {
    "kind": "training",
    "config": dataclasses.asdict(config),
    "results": results,
    "curves": {"update": curves.pop("update", [])}
    | {name: np.stack(values) for name, values in curves.items()},
    "provenance": provenance(devices) | speed,
  }


def provenance(devices: Sequence[jax.Device]) -> dict[str, Any]:
  """Versions, machine, commit, and the command of this process."""
  script = pathlib.Path(sys.argv[0])
  words = ["python", f"{script.parent.name}/{script.name}"]
  for word in sys.argv[1:]:
    # Records travel: a directory of this machine is told by its last part.
    flag, _, value = word.partition("=")
    parts = map(pathlib.Path, value.split(","))
    told = ",".join(p.name if p.is_absolute() else str(p) for p in parts)
    words.append(f"{flag}={told}" if "/" in value else word)
  return records.provenance(" ".join(words), devices)
