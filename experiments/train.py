"""Trains recurrent networks on a task, several seeds at once.

With no flags: temporal order with sequences of 50 steps, 50 tanh units, SGD
with clipping and Omega, four seeds, until all have solved it. Run the same
command again and it continues where it stopped. The run directory then holds
record.json and training.png. The last line on standard output is one JSON
object.
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402

import host_loop  # noqa: E402
from absl import app, flags, logging  # noqa: E402
from figures import training as figure  # noqa: E402

from steadygrad import config as configuration  # noqa: E402

_RUN_DIR = flags.DEFINE_string(
  "run_dir",
  None,
  "Directory of this run. Default: runs/ and a name made of the configuration.",
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
configuration.define_flags()
flags.adopt_module_key_flags(configuration)  # --help shows them too.


def run_dir(config: configuration.TrainConfig) -> pathlib.Path:
  """runs/<task>-<length>-<init>-<algorithm>-<digest>, or --run_dir."""
  if _RUN_DIR.value:
    return pathlib.Path(_RUN_DIR.value)
  names = (config.task, config.length, config.init, config.algorithm)
  return pathlib.Path("runs", "-".join([*map(str, names), config.digest()]))


def summary(record: dict, path: pathlib.Path) -> dict:
  """What the last line on standard output says."""
  speed = record["provenance"]
  return record["results"] | {
    "updates_per_second": round(speed["updates_per_second"], 1),
    "wall_seconds": round(speed["wall_seconds"], 1),
    "record": str(path),
  }


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)  # Orbax tells every step of a save.
  try:
    if argv[1:]:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    config = configuration.from_flags(flags.FLAGS)
    if config.start is not None:
      raise ValueError(
        f"start must be none here, got {config.start}; sweep.py begins with"
        " other runs' parameters"
      )
    host_loop.use_all_cores()
    host_loop.use_compilation_cache()
    directory = run_dir(config)
    record = host_loop.train(
      config, directory, progress=_PROGRESS.value, began=STARTED
    )
  except ValueError as e:
    sys.exit(f"train.py: {e}")
  except OSError as e:
    sys.exit(f"train.py: {host_loop.cannot_write(directory, e)}")
  except host_loop.Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(130)
  figure.draw(record, directory / "training.png")
  print(json.dumps(summary(record, directory / "record.json")))


if __name__ == "__main__":
  app.run(main)
