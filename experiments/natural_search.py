"""A small search over what the paper leaves open, on validation alone.

Flags are those of natural.py, each with one value or several; every combination
is trained, in the order given, with a run directory of its own below
--search_dir. search.json there lists them by their validation error; the test
error is in no list. The same command again goes on where it stopped.

  python experiments/natural_search.py --data=piano --learning_rate=1,0.5 \
    --batch_size=1,4 --max_epochs=30 --search_dir=runs/search-piano
"""

import dataclasses
import itertools
import json
import pathlib
import sys
import time

import grids
import host_loop
import jax
import natural_data
import natural_loop
import numpy as np
import presets_natural
import run_files
from absl import app, flags, logging

from steadygrad import records
from steadygrad.natural_config import NaturalConfig

FIELDS = {field.name: field for field in dataclasses.fields(NaturalConfig)}
_SEARCH_DIR = flags.DEFINE_string(
  "search_dir", None, "Directory of the search.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As in natural.py.")
_CHECK_DATA = flags.DEFINE_bool("check_data", True, "As in natural.py.")
_PRESET = flags.DEFINE_enum(
  "preset", "paper", sorted(presets_natural.PRESETS), "As in natural.py."
)
_MINUTES = flags.DEFINE_float(
  "minutes", 600.0, "Budget: no run begins after so long.", lower_bound=0
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
for _field in FIELDS.values():
  flags.DEFINE_string(
    _field.name, None, f"{_field.metadata['help']} One value or several."
  )


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


def search(configs: list[NaturalConfig], directory: pathlib.Path) -> dict:
  """Trains what is not trained yet; writes and returns the summary."""
  began = time.monotonic()
  varied = [
    name
    for name in FIELDS
    if len({getattr(config, name) for config in configs}) > 1
  ]
  directory.mkdir(parents=True, exist_ok=True)
  found = {}
  for number, config in enumerate(configs):
    run_dir = directory / config.digest()
    late = time.monotonic() - began > 60 * _MINUTES.value
    if late and not (run_dir / "record.json").exists():
      continue
    told = ", ".join(f"{name} {getattr(config, name)}" for name in varied)
    print(f"{number + 1} of {len(configs)}: {told}", file=sys.stderr)
    corpus = natural_data.load(config, _DATA_DIR.value, check=_CHECK_DATA.value)
    found[config.digest()] = natural_loop.train(
      config, corpus, run_dir, progress=_PROGRESS.value
    )
    records.write_json(
      directory / "search.json", summary(configs, found, varied)
    )
  return summary(configs, found, varied)


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  try:
    if argv[1:]:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    values = {name: flags.FLAGS[name].value for name in FIELDS}
    given = {name: text for name, text in values.items() if text is not None}
    configs = combinations(given, presets_natural.PRESETS[_PRESET.value])
    if len({config.data for config in configs}) != 1:
      raise ValueError(f"data must be one data set, got {given['data']}")
    host_loop.use_all_cores()
    host_loop.use_compilation_cache()
    made = search(configs, pathlib.Path(_SEARCH_DIR.value))
  except ValueError as e:
    sys.exit(f"natural_search.py: {e}")
  except host_loop.Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(130)
  print(json.dumps(records.plain(made["results"])))


if __name__ == "__main__":
  app.run(main)
