"""Trains recurrent networks on music or text, the paper's section 4.2.

  python experiments/natural.py --data=nottingham --seeds=3
  python experiments/natural.py --data=ptb --algorithm=msgd_c

What no flag gives is the preset's, see presets_natural.py. Run the same command
again and it continues where it stopped. The run directory then holds
record.json, parameters.safetensors and natural.png. The last line on standard
output is one JSON object.
"""

import time

STARTED = time.perf_counter()

import dataclasses  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import sys  # noqa: E402

import host_loop  # noqa: E402
import natural_data  # noqa: E402
import natural_loop  # noqa: E402
import presets_natural  # noqa: E402
from absl import app, flags, logging  # noqa: E402
from figures import natural as figure  # noqa: E402

from steadygrad import config as configuration  # noqa: E402
from steadygrad.natural_config import NaturalConfig  # noqa: E402

_RUN_DIR = flags.DEFINE_string(
  "run_dir",
  None,
  "Directory of this run. Default: runs/ and a name made of the configuration.",
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir",
  None,
  "Directory that holds the data files, or music/ and ptb/ with them. Default:"
  " the user's cache, filled by a download.",
)
_CHECK_DATA = flags.DEFINE_bool(
  "check_data", True, "Refuse data files whose sha256 is not the known one."
)
_PRESET = flags.DEFINE_enum(
  "preset",
  "paper",
  sorted(presets_natural.PRESETS),
  "Where the values come from that no flag gives.",
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
configuration.define_flags(kind=NaturalConfig, unset=True)
flags.adopt_module_key_flags(configuration)  # --help shows them too.


def config_from_flags(values: flags.FlagValues) -> NaturalConfig:
  """The preset of the data set and method, and what the flags say.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  names = [field.name for field in dataclasses.fields(NaturalConfig)]
  given = {name: values[name].value for name in names}
  given = {name: value for name, value in given.items() if value is not None}
  chosen = NaturalConfig(**given)  # Names and values are checked first.
  preset = presets_natural.PRESETS[_PRESET.value]
  return NaturalConfig(**preset(chosen.data, chosen.algorithm) | given)


def run_dir(config: NaturalConfig) -> pathlib.Path:
  """runs/<data>-<cell>-<algorithm>-<digest>, or --run_dir."""
  if _RUN_DIR.value:
    return pathlib.Path(_RUN_DIR.value)
  names = (config.data, config.cell, config.algorithm, config.digest())
  return pathlib.Path("runs", "-".join(names))


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)  # Orbax tells every step of a save.
  try:
    if argv[1:]:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    config = config_from_flags(flags.FLAGS)
    host_loop.use_all_cores()
    host_loop.use_compilation_cache()
    directory = run_dir(config)
    corpus = natural_data.load(config, _DATA_DIR.value, check=_CHECK_DATA.value)
    record = natural_loop.train(
      config, corpus, directory, progress=_PROGRESS.value, began=STARTED
    )
  except ValueError as e:
    sys.exit(f"natural.py: {e}")
  except OSError as e:
    sys.exit(f"natural.py: {host_loop.cannot_write(directory, e)}")
  except host_loop.Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(130)
  figure.draw(record, directory / "natural.png")
  path = {"record": str(directory / "record.json")}
  print(json.dumps(record["results"] | path))


if __name__ == "__main__":
  app.run(main)
