"""What figures and tables read: the runs of sweeps, from many files or one.

A run is a dict of "config", "outcome" (solved, stopped, diverged or cut),
"updates", thinned "curves" and "provenance"; one of today has "stability" too,
see `training.stability`. On a task it has "updates_to_solve" (or None),
"test_error", "relapses", "chance_error", "chance_loss", and, where evaluate.py
has tested other lengths, "generalisation": lengths, size, errors. On music and
text its "updates" are passes, and it has "best_epoch", the errors "train",
"valid" and "test", "floors" and "unit".
"""

import dataclasses
import pathlib
from typing import Any

from steadygrad import records, schema
from steadygrad.data.corpus import SPLITS
from steadygrad.runs import kinds, names, sweeps
from steadygrad.training.config import Config
from steadygrad.training.options import fields, parse

POINTS = 40  # Of a curve, at most.
CURVES = ("loss", "error", "gradient_norm", "omega", "spectral_radius")
CURVES += ("valid", "rate")
CURVES += ("gradient_norm_2",)  # The readout's, where it is apart.
DIGITS = 4
# Of the provenance, what no two runs share.
_OWN = ("date", "run_updates", "updates_per_second", "compile_seconds")
_OWN += ("run_seconds", "wall_seconds", "steps_per_second")


def gather(directory: str | pathlib.Path) -> dict[str, dict[str, Any]]:
  """{name: run} of the finished runs of a sweep; see `read`.

  Raises:
    ValueError: if it is no sweep's directory.
  """
  directory = pathlib.Path(directory)
  if not (directory / sweeps.RECORDS).is_dir():
    raise ValueError(
      f"records must be directories of sweep.py, got {directory}"
    )
  runs = {}
  for path in sweeps.records_in(directory):
    beside = directory / "generalisation" / path.name
    tested = None
    if beside.exists():
      tested = records.read_json(beside, kinds.GENERALISATION)
    runs[path.stem] = _run(sweeps.read_record(path), tested)
  return runs


def _run(record: dict, tested: dict | None) -> dict[str, Any]:
  results = record["results"]
  status = results["status"][0]
  run = {
    "config": record["config"],
    "outcome": "cut" if status == "running" else status,
    "curves": _thinned(record["curves"]),
    "provenance": record["provenance"],
  }
  if "stability" in results:
    run["stability"] = results["stability"][0]
  if record["kind"] != "training":
    one = {k: results[k][0] for k in ("best_epoch", *SPLITS)}
    floors = {"floors": results["floors"], "unit": results["unit"]}
    return run | {"updates": results["epochs"][0]} | one | floors
  one = ("updates", "updates_to_solve", "test_error", "relapses")
  run |= {name: results[name][0] for name in one}
  run |= {name: results[name] for name in ("chance_error", "chance_loss")}
  # A record of parameters that have been trained on since is not of this run.
  if tested and tested["results"]["updates"] == results["updates"]:
    errors = [errors[0] for errors in tested["results"]["errors"]]
    run["generalisation"] = tested["tested"] | {"errors": errors}
  return run


def _thinned(curves: dict[str, list]) -> dict[str, list]:
  """Every k-th judgement, and the last."""
  clock = "update" if "update" in curves else "epoch"
  step = -(-len(curves[clock]) // POINTS)
  kept = range(len(curves[clock]) - 1, -1, -step)[::-1]
  thin = {clock: [curves[clock][i] for i in kept]}
  for name in CURVES:
    if name in curves:
      thin[name] = [_short(curves[name][i][0]) for i in kept]
  return thin


def _short(value: float | str) -> float | str:
  return value if isinstance(value, str) else float(f"{value:.{DIGITS}g}")


def pack(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
  """One record of many runs: what they share stands once."""
  configs = [run["config"] for run in runs.values()]
  shared = {
    field: value
    for field, value in (configs[0] if configs else {}).items()
    if all(config.get(field) == value for config in configs)
  }
  sources, packed = [], {}
  for name, run in sorted(runs.items()):
    made = run["provenance"]
    source = {k: v for k, v in made.items() if k not in _OWN}
    if source not in sources:
      sources.append(source)
    packed[name] = run | {
      "config": {k: v for k, v in run["config"].items() if k not in shared},
      "provenance": {k: made[k] for k in _OWN if k in made}
      | {"source": sources.index(source)},
    }
  return {
    "kind": "sweep",
    "config": shared,
    "provenance": sources,
    "runs": packed,
  }


def unpack(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """The runs that `pack` was given, from its file."""
  record = records.read_json(path)
  if record.get("kind") != "sweep":
    raise ValueError(f"records must be files of collect.py, got {path}")
  schema.check(record, kinds.collected(record), path)
  sources = record["provenance"]
  for name, run in record["runs"].items():
    if not 0 <= run["provenance"]["source"] < len(sources):
      raise ValueError(f"{path} must hold the provenance of {name}")
  return {
    name: run
    | {
      "config": record["config"] | run["config"],
      "provenance": sources[run["provenance"]["source"]]
      | {k: v for k, v in run["provenance"].items() if k != "source"},
    }
    for name, run in record["runs"].items()
  }


def read(*paths: str | pathlib.Path) -> dict[str, dict[str, Any]]:
  """{name: run} of directories of sweep.py and files of collect.py.

  Of a run that is in several, the one that got furthest.

  Raises:
    ValueError: if a path is neither.
  """
  runs = {}
  for path in map(pathlib.Path, paths):
    for name, run in (unpack(path) if path.is_file() else gather(path)).items():
      complete(run, path)
      if name not in runs or run["updates"] >= runs[name]["updates"]:
        runs[name] = run
  return runs


def complete(run: dict[str, Any], path: str | pathlib.Path) -> None:
  """Gives the run's configuration the fields and names of today.

  Raises:
    ValueError: naming the file, if the run's configuration cannot be one.
  """
  config = kinds.config_of(run, path)
  run["config"] = records.plain(dataclasses.asdict(config))


def ended_in(runs: dict[str, dict[str, Any]], config: Config) -> bool:
  """Whether this run is there and needs no further update."""
  run = runs.get(names.run_name(config))
  if run is None:
    return False
  clock = "epochs" if "data" in run["config"] else "updates"
  results = {"status": [run["outcome"]], clock: [run["updates"]]}
  return sweeps.is_over(config, results)


def settings_of(run: dict[str, Any]) -> dict[str, Any]:
  """The configuration but for what this algorithm does not look at."""
  config, about = run["config"], fields()
  return {
    name: value
    for name, value in config.items()
    if config["algorithm"] not in about[name].metadata["unused_by"]
  }


def keep(runs: dict[str, dict], words: list[str]) -> list[dict]:
  """The runs that agree with all `words`, "field=value" each.

  A field that an algorithm does not look at agrees with every value.

  Raises:
    ValueError: naming the word, or if no run is left.
  """
  wanted = {}
  for word in words:
    name, equals, text = word.partition("=")
    if name not in fields() or not equals:
      raise ValueError(f"where must be field=value of a run, got {word!r}")
    wanted[name] = records.plain(parse(fields()[name], text))
  kept = []
  for run in runs.values():
    settings = settings_of(run)
    if all(settings.get(k, v) == v for k, v in wanted.items()):
      kept.append(run)
  if not kept:
    said = ", ".join(words) or "any setting"
    raise ValueError(f"records have no run with {said} among {len(runs)}")
  return kept
