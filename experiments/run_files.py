"""What a run leaves behind: its record, and the arrays of its state."""

import dataclasses
import importlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from steadygrad import config as configuration
from steadygrad import records, training
from steadygrad.config import TrainConfig
from steadygrad.natural_config import NaturalConfig
from steadygrad.runs import directories, names, store
from steadygrad.training import Status

_CURVE = "curve."  # Before the name of a curve in a state file.


def default_dir(config: TrainConfig | NaturalConfig) -> pathlib.Path:
  """runs/<name>, where no directory of before has the budget in its name."""
  name = names.name_of(config)
  words = name.rsplit("-", 1)[0]
  old = pathlib.Path("runs", f"{words}-{config.digest()}")
  new = pathlib.Path("runs", name)
  return old if old.exists() and not new.exists() else new


def draw_beside(name: str, record: dict[str, Any], run_dir: pathlib.Path):
  """Draws the record of a run into <name>.png, where that is not done yet."""
  if not os.access(run_dir, os.W_OK):
    return  # A run that has ended is shown where nothing can be written.
  path = run_dir / f"{name}.png"
  newest = (run_dir / directories.RECORD).stat().st_mtime_ns
  if not path.exists() or path.stat().st_mtime_ns < newest:
    # Matplotlib takes half a second.
    importlib.import_module(f"figures.{name}").draw(record, path)


def contents(name: str, run_dir: pathlib.Path) -> str:
  """What is where of a run that has ended and is drawn in <name>.png."""
  parameters = directories.parameters_path(run_dir).name
  files = (directories.RECORD, parameters, f"{name}.png")
  *most, last = [n for n in files if (run_dir / n).exists()]
  return f"{', '.join(most)} and {last} are in {run_dir}"


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


def states_of(template, arrays: dict[str, np.ndarray]):
  """The states that `with_curves` was given, of `training`.

  Those of before there were `TrainState.sums` were saved after a check, where
  the sums are zero.

  Raises:
    ValueError: where an array is missing or not as in the template.
  """
  blank = store.flatten(
    jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template.sums),
    "state.sums",
  )
  return store.unflatten(template, blank | arrays)


def note_machine(spent: dict[str, Any], devices, updates: int) -> str | None:
  """Notes with what a run goes on.

  Equal bits are promised for the same versions, device kind and number of
  devices alone.

  Args:
    spent: its "machines" gets a last entry where this is another than the last.
    devices: of the run.
    updates: that the run has made.

  Returns:
    A sentence if the run was begun with something else.
  """
  now, machines = records.machine(devices), spent.setdefault("machines", [])
  old = machines[-1]["machine"] if machines else now
  if not machines or old != now:
    machines.append({"from_update": int(updates), "machine": now})
  if old == now:
    return None
  said = "; ".join(
    f"{name}: {a} then, {b} now"
    for name, (a, b) in configuration.differences(old, now).items()
  )
  return f"begun otherwise ({said}); its bits will be those of neither"


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
    spent: "updates", "seconds", "compile_seconds", "machines".
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
  } | several_machines(spent)
  curves = {k: v for k, v in curves.items() if k != "step"}
  return {
    "kind": "training",
    "config": dataclasses.asdict(config),
    "results": results,
    "curves": {"update": curves.pop("update", [])}
    | {name: np.stack(values) for name, values in curves.items()},
    "provenance": provenance(devices) | speed,
  }


def several_machines(spent: dict[str, Any]) -> dict[str, list]:
  """What the provenance has of a run that went on on another machine."""
  machines = spent.get("machines", [])
  return {"machines": machines} if len(machines) > 1 else {}


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
