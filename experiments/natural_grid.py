"""What natural_search.py does, apart from its flags."""

import dataclasses
import itertools
import math
import pathlib
import sys
import time

import grids
import jax
import natural_data
import natural_loop
import numpy as np
import run_files

from steadygrad import files, records
from steadygrad.natural_config import NaturalConfig

FIELDS = {field.name: field for field in dataclasses.fields(NaturalConfig)}


def combinations(given: dict[str, str], preset) -> list[NaturalConfig]:
  """Every combination once, the last flag's values changing fastest.

  Raises:
    ValueError: naming a field, its value and what is allowed.
  """
  lists = {
    name: [grids.parse(FIELDS[name], word) for word in text.split(",")]
    for name, text in given.items()
  }
  found = []
  for choice in itertools.product(*lists.values()):
    chosen = dict(zip(lists, choice, strict=True))
    first = NaturalConfig(**chosen)
    config = NaturalConfig(**preset(first.data, first.algorithm) | chosen)
    if config not in found:
      found.append(config)
  return found


def summary(configs: list[NaturalConfig], found: dict, varied) -> dict:
  """Runs by mean validation error; `found` is {digest: record}."""
  rows = []
  for config in configs:
    record = found.get(config.digest())
    row = {name: getattr(config, name) for name in varied}
    if record is None:
      rows.append(row | {"valid": None})
      continue
    results = record["results"]
    valid = records.numbers(results["valid"])
    rows.append(
      row
      | {
        "valid": float(np.nan_to_num(valid, nan=np.inf).mean()),
        "best_epoch": results["best_epoch"],
        "status": results["status"],
        "wall_seconds": record["provenance"]["wall_seconds"],
      }
    )
  rows.sort(key=lambda row: np.inf if row["valid"] is None else row["valid"])
  return {
    "kind": "natural_search",
    "config": dataclasses.asdict(configs[0]),
    "varied": list(varied),
    "results": {
      "runs": rows,
      "not_run": sum(row["valid"] is None for row in rows),
    },
    "provenance": run_files.provenance(jax.devices()),
  }


def search(
  configs: list[NaturalConfig],
  directory: pathlib.Path,
  data_dir: str | None = None,
  *,
  check: bool = True,
  minutes: float = math.inf,
  progress: bool = True,
) -> dict:
  """Trains what is not trained yet; writes and returns the summary.

  Args:
    configs: those to compare, all of one data set.
    directory: holds a run directory for each, and search.json.
    data_dir: see `data_files.find`.
    check: see `data_files.find`.
    minutes: no run begins after so long.
    progress: whether to show bars on standard error.
  """
  began = time.monotonic()
  varied = [
    name
    for name in FIELDS
    if len({getattr(config, name) for config in configs}) > 1
  ]
  directory = files.expand(directory)
  directory.mkdir(parents=True, exist_ok=True)
  found = {}
  for number, config in enumerate(configs):
    run_dir = directory / config.digest()
    late = time.monotonic() - began > 60 * minutes
    if late and not (run_dir / "record.json").exists():
      continue
    told = ", ".join(f"{name} {getattr(config, name)}" for name in varied)
    print(f"{number + 1} of {len(configs)}: {told}", file=sys.stderr)
    corpus = natural_data.load(config, data_dir, check=check)
    found[config.digest()] = natural_loop.train(
      config, corpus, run_dir, progress=progress
    )
    records.write_json(
      directory / "search.json", summary(configs, found, varied)
    )
  return summary(configs, found, varied)
