"""Trains recurrent networks on a task, several seeds at once.

With no flags: temporal order with sequences of 50 steps, 50 tanh units, SGD
with clipping and Omega, four seeds, until all have solved it. Run the same
command again and it continues where it stopped; with a larger --max_updates the
seeds that were cut train on. The run directory then holds record.json and
training.png. The last line on standard output is one JSON object.
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import pathlib

import host_loop
import run_files
from absl import flags

from steadygrad import config as configuration
from steadygrad.runs import commands
from steadygrad.runs.signals import say

_RUN_DIR = commands.path_flag(
  "run_dir",
  None,
  "Directory of this run. Default: runs/ and a name made of the configuration.",
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
configuration.define_flags()
flags.adopt_module_key_flags(configuration)  # --help shows them too.


def summary(record: dict, path: pathlib.Path) -> dict:
  """What the last line on standard output says."""
  speed = record["provenance"]
  return record["results"] | {
    "updates_per_second": round(speed["updates_per_second"], 1),
    "wall_seconds": round(speed["wall_seconds"], 1),
    "record": str(path),
  }


def main() -> dict:
  config = configuration.from_flags(flags.FLAGS)
  if config.start is not None:
    raise ValueError(
      f"start must be none here, got {config.start}; sweep.py begins with other"
      " runs' parameters"
    )
  launch.use_jax()
  directory = pathlib.Path(_RUN_DIR.value or run_files.default_dir(config))
  record = host_loop.train(
    config, directory, progress=_PROGRESS.value, began=launch.started()
  )
  run_files.draw_beside("training", record, directory)
  solved = sum(record["results"]["solved"])
  say(
    f"{solved} of {launch.counted(config.seeds, 'seed')} solved;"
    f" {run_files.contents('training', directory)}"
  )
  return summary(record, directory / "record.json")


if __name__ == "__main__":
  launch.main(main, several="sweep.py")
