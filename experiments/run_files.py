"""What a run leaves behind: its arrays in one .npz, its record in one JSON."""

import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from steadygrad import records, training
from steadygrad.training import Status

PARAMETERS = "parameters.npz"  # Beside record.json, leaves [S, ...].


def flatten(tree, name: str = "state") -> dict[str, np.ndarray]:
  """{name + path of the leaf: array}."""
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return {f"{name}{jax.tree_util.keystr(p)}": np.asarray(x) for p, x in paths}


def unflatten(template, arrays: dict, name: str = "state"):
  """The tree that `flatten` took apart.

  Raises:
    ValueError: where an array is missing or not as in the template.
  """

  def pick(path, old):
    path = f"{name}{jax.tree_util.keystr(path)}"
    if path not in arrays:
      raise ValueError(f"the file holds no {path}")
    new = arrays[path]
    if new.shape != old.shape or new.dtype != old.dtype:
      raise ValueError(
        f"the file holds {new.dtype}{new.shape} at {path}, expected"
        f" {old.dtype}{old.shape}"
      )
    return new

  return jax.tree_util.tree_map_with_path(pick, template)


def write_arrays(
  path: str | pathlib.Path, arrays: dict[str, np.ndarray], meta: Any = None
) -> None:
  """Writes an .npz atomically; `meta` is anything JSON holds."""
  path = pathlib.Path(path)
  text = np.array(json.dumps(records.plain(meta)))
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
  try:
    with os.fdopen(handle, "wb") as f:
      np.savez_compressed(f, meta=text, **arrays)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def read_arrays(path: str | pathlib.Path) -> tuple[dict[str, np.ndarray], Any]:
  """(arrays, meta) of `write_arrays`; the archive's checksums are verified.

  Raises:
    ValueError: if the file is damaged, naming it.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
    return arrays, json.loads(str(arrays.pop("meta")))
  except FileNotFoundError:
    raise
  except Exception as e:  # zipfile, zlib and NumPy each raise their own.
    raise ValueError(f"{path} is damaged: {e}") from e


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
