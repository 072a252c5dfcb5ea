"""What a run leaves behind: its record."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from steadygrad import records
from steadygrad.data import streams
from steadygrad.data.corpus import SPLITS, Corpus
from steadygrad.training import Experiment, Status, TrainState, stability
from steadygrad.training.config import MUSIC, differences
from steadygrad.training.evaluation import wilson_interval
from steadygrad.types import Task

# Of each kind of run: what counts its curves.
CLOCKS = {"training": "update", "corpus": "epoch"}


def nothing_spent() -> dict[str, Any]:
  """What a run has spent before its first update."""
  return {"updates": 0, "seconds": 0.0, "compile_seconds": 0.0}


def check_files(spent: dict[str, Any], exp: Experiment, name: str) -> None:
  """Notes the data of a run in `spent`.

  Raises:
    ValueError: if it was begun on other data.
  """
  if exp.corpus is None:
    return
  files = spent.setdefault("files", exp.corpus.files)
  if files != exp.corpus.files:
    raise ValueError(
      f"data differ from those that {name} was begun on: {files} there,"
      f" {exp.corpus.files} here; name another directory"
    )


def note_machine(
  spent: dict[str, Any], devices: Sequence[Any], updates: int
) -> str | None:
  """Notes with what a run goes on.

  Equal bits are promised for the same versions and device kind alone.

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
    for name, (a, b) in differences(old, now).items()
  )
  return f"begun otherwise ({said}); its bits will be those of neither"


def record(
  exp: Experiment,
  state: TrainState,
  curves: dict[str, list],
  spent: dict[str, Any],
  tested: dict[str, np.ndarray],
  devices: Sequence[Any],
) -> dict[str, Any]:
  """The record of a run of one seed.

  Args:
    exp: the experiment.
    state: the seed's last.
    curves: {name: a value [1], or [] for "update" and "epoch", per judgement}.
    spent: "updates", "seconds", "compile_seconds", "machines".
    tested: what `Stopping.test` has measured.
    devices: it ran on.
  """
  if exp.task is not None:
    kind, found = "training", _on_task(exp, exp.task, state, tested)
    unit = 1.0
  elif exp.corpus is not None:
    kind, found = "corpus", _on_corpus(exp, exp.corpus, state, tested)
    unit = exp.corpus.scale
  else:
    raise ValueError("exp must be of a task or of a corpus")
  clock = CLOCKS[kind]
  times = curves.get(clock, [])
  values = {
    k: np.stack(v)
    for k, v in sorted(curves.items())
    if k not in ("step", *CLOCKS.values())
  }
  found |= {"stability": [stability.told(state.stability, unit)]}
  made = {
    "kind": kind,
    "config": dataclasses.asdict(exp.config),
    "results": found,
    "curves": {clock: times} | values,
    "provenance": provenance(devices) | _speed(exp, state, spent),
  }
  files = {} if exp.corpus is None else {"data": {"sha256": exp.corpus.files}}
  return made | files


def _speed(exp: Experiment, state: TrainState, spent) -> dict[str, Any]:
  seconds = max(spent["seconds"], 1e-9)
  speed = {
    "run_updates": spent["updates"],
    "updates_per_second": spent["updates"] / seconds,
    "compile_seconds": spent["compile_seconds"],
    "run_seconds": spent["seconds"],
    "wall_seconds": spent["wall_seconds"],
  }
  if exp.corpus is not None:
    passes = int(state.step) / exp.batches.period
    steps = passes * int(exp.corpus.training.lengths.sum())
    speed["steps_per_second"] = steps / seconds
  machines = spent.get("machines", [])
  return speed | ({"machines": machines} if len(machines) > 1 else {})


def _on_task(
  exp: Experiment, task: Task, state: TrainState, tested
) -> dict[str, Any]:
  config, verdict = exp.config, state.verdict
  solved = bool(verdict.solved_at >= 0)
  error = np.float32(tested["test_error"])
  return {
    "task": task.name,
    "algorithm": config.algorithm,
    "length": config.length,
    "seeds": 1,
    "solved": [solved],
    "updates_to_solve": [int(verdict.solved_at) if solved else None],
    "status": [Status(int(verdict.status)).name.lower()],
    "relapses": [int(verdict.relapses)],
    "updates": [int(state.step)],
    "test_error": [error],
    "confirmed": [bool(solved and error < task.solved_below)],
    "test_size": config.test_size,
    "chance_error": task.chance_error,
    "chance_loss": task.chance_loss,
    "success_rate": float(solved),
    "success_interval": list(wilson_interval(int(solved), 1)),
    "max_updates": config.max_updates,
    "check_every": config.check_every,
  }


def _on_corpus(
  exp: Experiment, corpus: Corpus, state: TrainState, tested
) -> dict[str, Any]:
  """Errors are those at the best validation error's pass."""
  config, verdict = exp.config, state.verdict
  status = Status(int(verdict.status))
  running = status == Status.RUNNING
  results = {
    "data": config.data,
    "algorithm": config.algorithm,
    "model": config.model,
    "unit": corpus.unit,
    "seeds": 1,
    "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    "status": ["cut" if running else status.name.lower()],
    "epochs": [int(verdict.epoch)],
    "best_epoch": [int(verdict.best_epoch)],
  }
  for split in SPLITS:
    lengths = corpus.streams[split].lengths
    totals = tested[f"{split}_losses"].astype(np.float64) * corpus.scale
    if not verdict.best_epoch:  # It diverged in its first pass.
      totals[:] = np.nan
    results[split] = [totals.sum() / lengths.sum()]
    if config.data in MUSIC:
      results[f"{split}_per_piece"] = [(totals / lengths).mean()]
  plan = exp.batches.plan(config.first_seed, int(verdict.epoch))
  padding = streams.waste(plan, config.chunk_length)
  return results | {"floors": corpus.floors, "padding": padding}


def joined(config: Any, made: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """One record of several seeds.

  Args:
    config: of all of them.
    made: the records of the seeds, in their order.

  Returns:
    Lists of results have an entry a seed; curves have a row a judgement, a
    column a seed, and NaN where a seed had ended before.
  """
  first, results = made[0], dict(made[0]["results"])
  for name, value in results.items():
    if isinstance(value, list) and name != "success_interval":
      results[name] = [r["results"][name][0] for r in made]
  results["seeds"] = len(made)
  if (solved := results.get("solved")) is not None:
    results["success_rate"] = sum(solved) / len(solved)
    interval = wilson_interval(sum(solved), len(solved))
    results["success_interval"] = list(interval)
  if "max_updates" in results:
    results["max_updates"] = config.max_updates
  speed = [r["provenance"] for r in made]
  updates = sum(p["run_updates"] for p in speed)
  seconds = [p["run_seconds"] for p in speed]
  total = {
    "run_updates": updates,
    "run_seconds": sum(seconds),
    "updates_per_second": updates / max(sum(seconds), 1e-9),
    "compile_seconds": sum(p["compile_seconds"] for p in speed),
    "wall_seconds": max(p["wall_seconds"] for p in speed),
  }
  clock = CLOCKS[first["kind"]]
  return first | {
    "config": dataclasses.asdict(config),
    "results": results,
    "curves": _joined_curves(clock, [r["curves"] for r in made]),
    "provenance": first["provenance"] | total,
  }


def _joined_curves(clock: str, curves: Sequence[dict]) -> dict[str, list]:
  times = sorted({t for curve in curves for t in curve[clock]})
  joined = {clock: times}
  for name in curves[0]:
    if name == clock:
      continue
    columns = [
      dict(zip(curve[clock], curve[name], strict=True)) for curve in curves
    ]
    joined[name] = [[c.get(t, ["nan"])[0] for c in columns] for t in times]
  return joined


def provenance(devices: Sequence[Any]) -> dict[str, Any]:
  """Versions, machine, commit, and the command of this process."""
  script = pathlib.Path(sys.argv[0])
  words = [script.name]  # Such as "steadygrad train", of `__main__`.
  if script.suffix:
    words = ["python", f"{script.parent.name}/{script.name}"]
  for word in sys.argv[1:]:
    # Records travel: a directory of this machine is told by its last part.
    flag, _, value = word.partition("=")
    parts = map(pathlib.Path, value.split(","))
    told = ",".join(p.name if p.is_absolute() else str(p) for p in parts)
    words.append(f"{flag}={told}" if "/" in value else word)
  return records.provenance(" ".join(words), devices)
