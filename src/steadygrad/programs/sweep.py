"""Runs a grid of training runs through a fixed number of slots.

Every field of a configuration is a flag that takes a list, and the grid is
their product; --preset names a grid of experiments/presets or, with --data, the
settings that no flag gives. A run that has ended gives its slot to the next,
shortest sequences first. Kill it at any time and start it again: finished runs
are not repeated, unfinished ones go on. A larger --max_updates goes on with the
runs that were cut. Started several times, on one machine or on several with a
common disk, the processes share the runs; where there is no common disk, each
does a --shard. The last line on standard output is one JSON object.

  python -m steadygrad sweep --task=temporal_order --length=50,100 \
    --init=basic_tanh,smart_tanh --algorithm=msgd,msgd_c,msgd_cr --seeds=5
  python -m steadygrad sweep --data=piano --learning_rate=1,0.5 \
    --batch_size=1,4 --max_epochs=30 --sweep_dir=runs/search-piano
"""

import importlib
import math
import os
import pathlib
import runpy

from absl import flags

from steadygrad.programs import clone
from steadygrad.programs import presets as corpus_presets
from steadygrad.runs import (
  claims,
  commands,
  corpora,
  gather,
  grids,
  launch,
  logs,
  running,
  shards,
  starts,
  tally,
)
from steadygrad.runs.directories import Directory
from steadygrad.runs.signals import say
from steadygrad.training import options
from steadygrad.training.config import Config, CorpusConfig

_PRESET = flags.DEFINE_string(
  "preset",
  None,
  "A grid of experiments/presets, or a file *.py with GRIDS as those have, or"
  " with --data one of"
  f" {', '.join(sorted(corpus_presets.PRESETS))}; flags go before its values.",
)
_SWEEP_DIR = commands.path_flag(
  "sweep_dir",
  None,
  "Directory of records and states. Default: runs/ and the preset's name, or"
  " runs/sweep. It may hold other grids' runs as well.",
)
_MERGE = commands.paths_flag(
  "merge", [], "Directories of other sweeps, whose runs are taken over first."
)
_DONE = commands.paths_flag(
  "done", [], "Files of collect.py; runs that ended there are not repeated."
)
_STARTS = commands.path_flag(
  "starts", None, "Directory of the sweep in which runs find their --start."
)
_DATA_DIR = commands.path_flag("data_dir", None, "As in train.py.")
_CHECK_DATA = flags.DEFINE_bool("check_data", True, "As in train.py.")
_SLOTS = flags.DEFINE_integer(
  "slots",
  None,
  "Runs at a time on each device. Default: 1 on a CPU's core, 64 elsewhere.",
  lower_bound=1,
  upper_bound=10_000,
)
_SHARD = flags.DEFINE_string(
  "shard",
  None,
  "Part i of n of the runs, written i/n from 0/n on. Default: that of the task"
  " of a SLURM array, and all runs elsewhere.",
)
_LEASE = flags.DEFINE_float(
  "lease",
  claims.LEASE,
  "Seconds without a sign of life after which other processes take this one's"
  " runs over.",
  lower_bound=0.5,
)
flags.register_validator(
  "lease", math.isfinite, "must be a finite number of seconds"
)
_PLAN = flags.DEFINE_bool("plan", False, "Print what is left to do, and stop.")
_LOG = flags.DEFINE_enum(
  "log", None, ["csv"], "Also write what is measured to log.csv, as it comes."
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
options.define_flags(several=True)


def preset(name: str) -> list[dict]:
  """The grids of experiments/presets/<name>.py, or of a file <name>.

  Raises:
    ValueError: naming the presets there are.
  """
  if name.endswith(".py"):
    if not pathlib.Path(name).is_file():
      raise ValueError(f"preset must be a file that is there, got {name}")
    return runpy.run_path(name)["GRIDS"]
  folder = clone.experiments(f"--preset={name}") / "presets"
  names = {p.stem for p in folder.glob("[a-z]*.py")}
  if name not in names:
    raise ValueError(
      f"preset must be a file *.py or one of {', '.join(sorted(names))}; got"
      f" {name!r}"
    )
  return importlib.import_module(f"presets.{name}").GRIDS


def configs_from_flags(values: flags.FlagValues = flags.FLAGS) -> list[Config]:
  """The runs of the grid that flags and preset make.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  given = options.lists_from_flags(values)
  if "data" not in given:
    grid = preset(_PRESET.value) if _PRESET.value else [{}]
    return grids.expand(grid, given, grids.kind_of(grid))
  name = _PRESET.value or "paper"
  if name not in corpus_presets.PRESETS:
    allowed = ", ".join(sorted(corpus_presets.PRESETS))
    raise ValueError(f"preset must be one of {allowed} with --data, got {name}")
  defaults = corpus_presets.PRESETS[name]
  grid = grids.over_defaults(given, CorpusConfig, defaults)
  return grids.expand(grid, {}, CorpusConfig)


def main() -> dict:
  """Sweeps; the ledger, for the last line."""
  configs = shards.parse(_SHARD.value, os.environ).of(configs_from_flags())
  done = gather.read(*_DONE.value)
  configs = [c for c in configs if not gather.ended_in(done, c)]
  launch.use_jax()
  load = corpora.loader(_DATA_DIR.value, check=_CHECK_DATA.value)
  running.refuse_too_large(configs, _SLOTS.value or 1, load)
  default = pathlib.Path("runs", _PRESET.value or "sweep")
  home = _SWEEP_DIR.value or default
  with Directory(home, lease=_LEASE.value) as directory:
    for other in _MERGE.value:
      say(f"{directory.merge(other)} runs taken from {other}")
    if _PLAN.value:
      left = [c for c in configs if directory.finished(c) is None]
      starts.check(_STARTS.value, left, directory.path)
      ledger = tally.Tally(directory, configs, False).ledger()
    else:
      log = logs.csv_log(directory.path / "log.csv") if _LOG.value else None
      ledger = running.sweep(
        configs,
        directory,
        first_runs=_STARTS.value,
        slots=_SLOTS.value,
        corpora=load,
        progress=_PROGRESS.value,
        on_check=log,
      )
      say(
        f"{ledger['runs']} runs; records/ and {tally.LEDGER} are in"
        f" {directory.path}"
      )
    return ledger | {"sweep_dir": str(directory.path)}
