"""Makes one figure of the theory: computes its record and draws it.

  python experiments/analyse.py --analysis=error_surface
  python experiments/analyse.py --analysis=contributions --cell=lstm
  python experiments/analyse.py --analysis=trained --run=runs/a
  python experiments/analyse.py --analysis=maps --draw_only

Writes <analysis>.json and <analysis>.png to --out; with --draw_only the picture
is drawn from the record that is there. The last line on standard output is one
JSON object with the numbers to quote.
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import importlib
import pathlib
import time

import jax
from absl import flags
from analyses import ANALYSES
from analyses.networks import CELLS

from steadygrad import records
from steadygrad.runs import commands, kinds

_ANALYSIS = flags.DEFINE_enum(
  "analysis", None, sorted(ANALYSES), "Which one.", required=True
)
_CELL = flags.DEFINE_enum(
  "cell", CELLS[0], CELLS, "Kind of network, where the analysis is of one."
)
_RUN = commands.path_flag(
  "run", None, "With --analysis=trained: a run that has ended."
)
_OUT = commands.path_flag(
  "out", "runs/analysis", "Directory of the record and the picture."
)
_DRAW_ONLY = flags.DEFINE_bool(
  "draw_only", False, "Draw the record that is there; compute nothing."
)


def argument(name: str) -> str | None:
  """What the analysis is of.

  Raises:
    ValueError: if a flag is given that it does not take, or one is missing.
  """
  takes, given = ANALYSES[name][1], {"cell": _CELL.value, "run": _RUN.value}
  if given["cell"] != CELLS[0] and takes != "cell":
    what = "a run" if takes == "run" else "one given map"
    raise ValueError(f"--analysis={name} is of {what}; --cell={given['cell']}")
  if (given["run"] is None) == (takes == "run"):
    need = "must be given" if takes == "run" else "must be left out"
    raise ValueError(f"run {need} for --analysis={name}, got {given['run']}")
  return takes and given[takes]


def compute(name: str, value: str | None) -> dict:
  """The record of an analysis of a cell, a run or a map."""
  function, takes = ANALYSES[name]
  began = time.perf_counter()
  found = function(value)
  command = f"python experiments/analyse.py --analysis={name}"
  command += f" --{takes}={value}" if takes else ""
  origin = records.provenance(command, jax.devices())
  origin["wall_seconds"] = round(time.perf_counter() - began, 1)
  return {"kind": "analysis", "analysis": name} | found | {"provenance": origin}


def main() -> dict:
  name, kind = _ANALYSIS.value, _CELL.value
  value = argument(name)
  stem = name if kind == CELLS[0] else f"{name}-{kind}"
  path = pathlib.Path(_OUT.value, f"{stem}.json")
  launch.one_process()
  if _DRAW_ONLY.value:
    record = records.read_json(path, kinds.ANALYSIS | {"analysis": name})
  else:
    commands.writable("out", path.parent, directory=True)
    record = records.plain(_rounded(compute(name, value)))
    records.write_json(path, record)
  figure = importlib.import_module(f"figures.{name}")
  figure.draw(record, path.with_suffix(".png"))
  return {"results": record["results"], "record": str(path)}


def _rounded(record: dict) -> dict:
  """Curves to five digits, which is what a picture needs; results in full."""

  def short(value):
    if isinstance(value, dict):
      return {k: short(v) for k, v in value.items()}
    if isinstance(value, list):
      return [short(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value

  return record | {"curves": short(records.plain(record["curves"]))}


if __name__ == "__main__":
  launch.main(main)
