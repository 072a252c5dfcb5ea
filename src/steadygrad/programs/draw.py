"""Draws a picture or prints a table, from records alone.

--records takes what the figure reads, several with commas or as a pattern that
the shell leaves alone:

  the runs of sweeps   directories of sweep.py and files of collect.py; --where
                       keeps the runs with these settings
  one run, or several  directories of train.py, or their record.json
  another record       the file *.json beside a picture, or of benchmark.py

Pictures need --out, a PNG; tables are printed as Markdown, or written to --out.

  python -m steadygrad draw --figure=success_rate \
    --records=experiments/results/figure_7.json --out=figure_7.png
  python -m steadygrad draw --figure=tasks --records=runs/tasks
  python -m steadygrad draw --figure=table1 --records='runs/*/record.json'
"""

import functools
import glob
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags

from steadygrad import files, records
from steadygrad.figures import (
  costs,
  error_curves,
  every_step,
  front,
  generalisation,
  gpu,
  lags,
  learning_curves,
  matrix,
  methods,
  rates,
  signals,
  solving,
  success_rate,
  table1,
  tables,
  update_cost,
  updates_to_solve,
  waits,
  windows,
)
from steadygrad.plots import corpus, training
from steadygrad.programs import presets
from steadygrad.runs import commands, directories, gather, kinds

_RECORDS = commands.paths_flag(
  "records",
  [],
  "What to draw: directories of sweep.py or train.py, or files;"
  " * and ? stand for any letters.",
)
_WHERE = flags.DEFINE_list(
  "where", [], "Settings of the runs to keep, such as learning_rate=0.01."
)
_OUT = commands.path_flag("out", None, "File to write.")

Paths = list[pathlib.Path]


def _runs(paths: Paths) -> list[dict]:
  """The runs of sweeps that --where keeps."""
  for path in paths:
    if (path / directories.RECORD).exists():
      raise ValueError(
        f"records must be directories of sweep.py or files of collect.py, got"
        f" the run {path}; --figure=training or corpus draws one"
      )
  return gather.keep(gather.read(*paths), _WHERE.value)


def _each(read: Callable[[pathlib.Path], Any]) -> Callable[[Paths], list]:
  """A reader of several records, given that of one."""

  def read_each(paths):
    if _WHERE.value:
      raise ValueError(
        "where must be left out: it is for runs of sweeps, got"
        f" {','.join(_WHERE.value)} for --figure={_FIGURE.value}"
      )
    return [read(_file(path)) for path in paths]

  return read_each


def _one(read: Callable[[pathlib.Path], Any]) -> Callable[[Paths], Any]:
  """As `_each`, of one record alone."""

  def read_one(paths):
    if len(paths) > 1:
      raise ValueError(
        f"records must be one for --figure={_FIGURE.value}, got"
        f" {', '.join(map(str, paths))}"
      )
    return _each(read)(paths)[0]

  return read_one


def _file(path: pathlib.Path) -> pathlib.Path:
  """The record of a run's directory; a file is one itself."""
  found = path / directories.RECORD if path.is_dir() else path
  if not found.exists():
    raise ValueError(f"records must be of runs that ended, but no {found} is")
  return found


def _reader(like: Any) -> Callable[[pathlib.Path], Any]:
  return functools.partial(records.read_json, like=like)


def _tested(path: pathlib.Path, like: Any) -> dict:
  """A record of runs that were tested, whose configurations may be old."""
  record = records.read_json(path, like)
  for run in record["runs"].values():
    gather.complete(run, path)
  return record


def _front(paths: Paths) -> tuple[list[dict], dict]:
  """Runs of sweeps and, as the last, a record of analyse.py."""
  if len(paths) < 2:
    raise ValueError(
      "records must be runs of sweeps and a record of analyse.py"
      f" --analysis=training_dynamics, got {', '.join(map(str, paths))}"
    )
  return _runs(paths[:-1]), records.read_json(_file(paths[-1]), kinds.ANALYSIS)


_every_step = functools.partial(_tested, like=kinds.EVERY_STEP)
_lags = functools.partial(_tested, like=kinds.LAGS)
_checkpointing = _reader(kinds.CHECKPOINTING_ROWS)
_waits = functools.partial(_tested, like=kinds.WAITS)
_curves = functools.partial(learning_curves.draw, paper=presets.paper)
_table1 = functools.partial(table1.markdown, paper=presets.paper)

# name: (what draws it, what reads its records).
PICTURES = {
  "checkpointing": (costs.draw_checkpointing, _each(_checkpointing)),
  "corpus": (corpus.draw, _one(kinds.read_corpus)),
  "error_curves": (error_curves.draw, _runs),
  "every_step": (every_step.draw, _one(_every_step)),
  "front": (front.draw, _front),
  "generalisation": (generalisation.draw, _runs),
  "gpu": (gpu.draw, _one(_reader(kinds.GPU))),
  "lags": (lags.draw, _one(_lags)),
  "lengths": (matrix.draw_lengths, _runs),
  "learning_curves": (_curves, _each(kinds.read_corpus)),
  "rates": (rates.draw, _runs),
  "signals": (signals.draw, _one(_reader(kinds.SIGNALS))),
  "solving": (solving.draw, _runs),
  "matrix": (matrix.draw, _runs),
  "success_rate": (success_rate.draw, _runs),
  "training": (training.draw, _one(kinds.read_training)),
  "update_cost": (update_cost.draw, _one(_reader(kinds.UPDATE_ROWS))),
  "updates_to_solve": (updates_to_solve.draw, _runs),
  "waits": (waits.draw, _one(_waits)),
  "windows": (windows.draw, _runs),
}
TABLES = {
  "checkpointing_table": (costs.checkpointing, _each(_checkpointing)),
  "comparators": (tables.comparators, _runs),
  "front_table": (front.table, _runs),
  "lags_table": (lags.table, _one(_lags)),
  "learning_rates": (tables.learning_rates, _runs),
  "methods": (methods.table, _each(kinds.read_training)),
  "networks": (costs.networks, _each(_reader(kinds.NETWORK_ROWS))),
  "omega_modes": (tables.omega_modes, _runs),
  "omega_without_clipping": (tables.thresholds, _runs),
  "table1": (_table1, _each(kinds.read_corpus)),
  "tasks": (tables.tasks, _runs),
  "thresholds": (tables.thresholds, _runs),
  "validation": (tables.validation, _runs),
  "windows_table": (windows.table, _runs),
}

_FIGURE = flags.DEFINE_enum(
  "figure", None, [*PICTURES, *TABLES], "What to draw.", required=True
)


def main() -> str:
  """Draws; the name of the picture, or the table."""
  name, out = _FIGURE.value, _OUT.value
  paths = _expanded(_RECORDS.value)
  if name in PICTURES:
    draw, read = PICTURES[name]
    picture = commands.writable("out", out, suffix=".png")
    draw(read(paths), picture)
    return str(picture)
  make, read = TABLES[name]
  table = make(read(paths))
  if not out:
    return table
  files.write_whole(commands.writable("out", out), f"{table}\n".encode())
  return out


def _expanded(words: list[str]) -> Paths:
  """The paths that words and patterns stand for."""
  if not words:
    raise ValueError("records must name at least one, got none")
  paths = []
  for word in words:
    found = [word] if pathlib.Path(word).exists() else sorted(glob.glob(word))
    if not found:
      raise ValueError(f"records must be files or directories, got {word}")
    paths += map(pathlib.Path, found)
  return paths
