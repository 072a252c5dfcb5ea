"""Trains recurrent networks on a task, or on music or text, several seeds.

With no flags: temporal order with sequences of 50 steps, 50 tanh units, SGD
with clipping and Omega, four seeds, until all have solved it. Run the same
command again and it continues where it stopped; with a larger --max_updates or
more --seeds it trains on. The run directory then holds record.json, a picture,
and a file for each seed. The last line on standard output is one JSON object.

  python -m steadygrad train --task=adding --length=100 --algorithm=msgd_c
  python -m steadygrad train --data=nottingham --seeds=3
  python -m steadygrad train --data=ptb --preset=lstm --algorithm=msgd_c
  python -m steadygrad train --task=my_tasks:first_bit --model=lstm
  python -m steadygrad train --config=runs/other/config.json --seeds=8

With --distributed several machines train it, each a share of the seeds; the
same command is started on each of them.
"""

import dataclasses
import os
import pathlib

from absl import flags

from steadygrad import records
from steadygrad.programs import presets
from steadygrad.runs import (
  commands,
  corpora,
  hosts,
  kinds,
  launch,
  logs,
  names,
  running,
)
from steadygrad.runs.directories import RECORD
from steadygrad.runs.signals import say
from steadygrad.training import options
from steadygrad.training.config import Config

_RUN_DIR = commands.path_flag(
  "run_dir",
  None,
  "Directory of this run. Default: runs/ and a name made of the configuration.",
)
_CONFIG = commands.path_flag(
  "config",
  None,
  "The config.json of a run, whose values are taken where no flag gives one.",
)
_PRESET = flags.DEFINE_enum(
  "preset",
  "paper",
  sorted(presets.PRESETS),
  "With --data: where the values come from that no flag gives.",
)
_DATA_DIR = commands.path_flag(
  "data_dir",
  None,
  "Directory that holds the data files, or music/ and ptb/ with them. Default:"
  " the user's cache, filled by a download.",
)
_CHECK_DATA = flags.DEFINE_bool(
  "check_data", True, "Refuse data files whose sha256 is not the known one."
)
_LOG = flags.DEFINE_enum(
  "log", None, ["csv"], "Also write what is measured to log.csv, as it comes."
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "This is one of several processes that train together. SLURM, Open MPI and"
  " TPU pods say which; elsewhere the next three flags do, all of them.",
)
_SHARD_BATCH = flags.DEFINE_bool(
  "shard_batch",
  False,
  "Train one seed at a time on all devices, the sequences of each batch spread"
  " over them. For one large network; without it each device has seeds.",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0, as all processes reach it."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "How many processes there are.",
  lower_bound=1, upper_bound=65_536,
)  # fmt: skip
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Which of them this is, from 0.",
  lower_bound=0, upper_bound=65_535,
)  # fmt: skip
options.define_flags()


def config_from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
  """The configuration that flags, file and preset make.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  base = None
  if _CONFIG.value:
    read = {"config": records.read_json(_CONFIG.value)}
    base = dataclasses.asdict(kinds.config_of(read, _CONFIG.value))
  config = options.from_flags(values, presets.PRESETS[_PRESET.value], base)
  start = getattr(config, "start", None)
  if start is not None:
    raise ValueError(
      f"start must be none here, got {start}; sweep.py begins with other runs'"
      " parameters"
    )
  return config


def draw_beside(record: dict, run_dir: pathlib.Path) -> str | None:
  """Draws the record of a run, if that is not done yet.

  Returns:
    The picture's name; None where there is no Matplotlib to draw it.
  """
  name = "training" if record["kind"] == "training" else "corpus"
  path = run_dir / f"{name}.png"
  if os.access(run_dir, os.W_OK):  # Else a run that has ended is only shown.
    newest = (run_dir / RECORD).stat().st_mtime_ns
    if not path.exists() or path.stat().st_mtime_ns < newest:
      try:
        from steadygrad import plots  # Matplotlib takes half a second.
      except ModuleNotFoundError as e:
        say(f"no picture is drawn: {launch.missing(e)}")
        return None
      plots.draw(record, path)
  return path.name


def summary(record: dict) -> dict:
  """What the last line on standard output says of a record."""
  speed = record["provenance"]
  return record["results"] | {
    "updates_per_second": round(speed["updates_per_second"], 1),
    "wall_seconds": round(speed["wall_seconds"], 1),
  }


def main() -> dict | None:
  """Trains; what the last line says, of process 0 of several."""
  config = config_from_flags()
  given = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
  hosts.check(_DISTRIBUTED.value, *given)
  launch.use_jax()
  together = hosts.begin(*given) if _DISTRIBUTED.value else hosts.ONE
  default = pathlib.Path("runs", names.stem(config))
  directory = pathlib.Path(_RUN_DIR.value or default)
  record = running.train(
    config,
    directory,
    corpora=corpora.loader(_DATA_DIR.value, check=_CHECK_DATA.value),
    progress=_PROGRESS.value and together.first,
    on_check=logs.csv_log(directory / "log.csv") if _LOG.value else None,
    hosts=together,
    shard_batch=_SHARD_BATCH.value,
  )
  if not record:
    return None
  picture = draw_beside(record, directory)
  seeds, solved = config.seeds, record["results"].get("solved")
  ended = f"{launch.counted(seeds, 'seed')} ended"
  if solved is not None:
    ended = f"{sum(solved)} of {launch.counted(seeds, 'seed')} solved"
  left = f"{RECORD}, {picture}" if picture else RECORD
  say(f"{ended}; {left} and states/ are in {directory}")
  return summary(record) | {"record": str(directory / RECORD)}
