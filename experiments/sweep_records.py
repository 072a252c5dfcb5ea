"""What figures and tables read: the runs of sweeps, from many files or one.

A run is a dict of "config", "outcome" (solved, diverged or cut), "updates",
"updates_to_solve" (or None), "test_error", "relapses", "chance_error",
"chance_loss", thinned "curves", "provenance", and, where it was tested at other
lengths, "generalisation": lengths, size, errors.
"""

import pathlib
from typing import Any

import grids
from sweep_store import ended

from steadygrad import records, schema
from steadygrad.config import TrainConfig
from steadygrad.runs import kinds, names, sweeps

POINTS = 40  # Of a curve, at most.
CURVES = ("loss", "error", "gradient_norm", "omega", "spectral_radius")
CURVES += ("gradient_norm_2",)  # The readout's, where it is apart.
DIGITS = 4
_OWN = ("date", "run_updates", "updates_per_second", "compile_seconds")


def gather(directory: str | pathlib.Path) -> dict[str, dict[str, Any]]:
  """{name: run} of the finished runs of a sweep; see `read`.

  Raises:
    ValueError: if it is no sweep's directory.
  """
  directory = pathlib.Path(directory)
  if not (directory / "records").is_dir():
    raise ValueError(f"sweeps must be directories of sweep.py, got {directory}")
  runs = {}
  for path in sweeps.records_in(directory):
    beside = directory / "generalisation" / path.name
    tested = None
    if beside.exists():
      tested = records.read_json(beside, kinds.GENERALISATION)
    runs[path.stem] = _run(sweeps.read_record(path), tested)
  return runs


def _run(record: dict, tested: dict | None) -> dict[str, Any]:
  results, curves = record["results"], record["curves"]
  status = results["status"][0]
  run = {
    "config": record["config"],
    "outcome": "cut" if status == "running" else status,
    "updates": results["updates"][0],
    "updates_to_solve": results["updates_to_solve"][0],
    "test_error": results["test_error"][0],
    "relapses": results["relapses"][0],
    "chance_error": results["chance_error"],
    "chance_loss": results["chance_loss"],
    "curves": _thinned(curves),
    "provenance": record["provenance"],
  }
  # A record of parameters that have been trained on since is not of this run.
  if tested and tested["results"]["updates"] == results["updates"]:
    errors = [errors[0] for errors in tested["results"]["errors"]]
    run["generalisation"] = tested["tested"] | {"errors": errors}
  return run


def _thinned(curves: dict[str, list]) -> dict[str, list]:
  """Every k-th check, and the last."""
  step = -(-len(curves["update"]) // POINTS)
  kept = range(len(curves["update"]) - 1, -1, -step)[::-1]
  thin = {"update": [curves["update"][i] for i in kept]}
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
    raise ValueError(f"sweeps must be files of collect.py, got {path}")
  schema.check(record, kinds.COLLECTED, path)
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
  defaults = {name: field.default for name, field in grids.FIELDS.items()}
  runs = {}
  for path in map(pathlib.Path, paths):
    for name, run in (unpack(path) if path.is_file() else gather(path)).items():
      # Fields that there were not yet when a record was made.
      run["config"] = defaults | run["config"]
      kinds.config_of(run, TrainConfig, path)
      if name not in runs or run["updates"] >= runs[name]["updates"]:
        runs[name] = run
  return runs


def ended_in(runs: dict[str, dict[str, Any]], config: TrainConfig) -> bool:
  """Whether this run is there and needs no further update."""
  run = runs.get(names.run_name(config))
  if run is None:
    return False
  status = "running" if run["outcome"] == "cut" else run["outcome"]
  return ended(config, status, run["updates"])


def settings_of(run: dict[str, Any]) -> dict[str, Any]:
  """The configuration but for what this algorithm does not look at."""
  unused = grids.UNUSED[run["config"]["algorithm"]]
  return {k: v for k, v in run["config"].items() if k not in unused}


def keep(runs: dict[str, dict], words: list[str]) -> list[dict]:
  """The runs that agree with all `words`, "field=value" each.

  A field that an algorithm does not look at agrees with every value.

  Raises:
    ValueError: naming the word, or if no run is left.
  """
  wanted = {}
  for word in words:
    field, equals, text = word.partition("=")
    if field not in grids.FIELDS or not equals:
      raise ValueError(f"where must be field=value of a run, got {word!r}")
    wanted[field] = records.plain(grids.parse(grids.FIELDS[field], text))
  kept = []
  for run in runs.values():
    settings = settings_of(run)
    if all(settings.get(k, v) == v for k, v in wanted.items()):
      kept.append(run)
  if not kept:
    said = ", ".join(words) or "any setting"
    raise ValueError(f"sweeps have no run with {said} among {len(runs)}")
  return kept
