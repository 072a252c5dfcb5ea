"""Trains recurrent networks on music or text, the paper's section 4.2.

  python experiments/natural.py --data=nottingham --seeds=3
  python experiments/natural.py --data=ptb --algorithm=msgd_c

What no flag gives is the preset's, see presets_natural.py. Run the same command
again and it continues where it stopped; with a larger --max_epochs the seeds
that were cut train on. The run directory then holds record.json, the parameters
and natural.png. The last line on standard output is one JSON object.
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import dataclasses
import pathlib

import natural_data
import natural_loop
import presets_natural
import run_files
from absl import flags

from steadygrad import config as configuration
from steadygrad.natural_config import NaturalConfig
from steadygrad.runs import commands
from steadygrad.runs.signals import say

_RUN_DIR = commands.path_flag(
  "run_dir",
  None,
  "Directory of this run. Default: runs/ and a name made of the configuration.",
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


def main() -> dict:
  config = config_from_flags(flags.FLAGS)
  launch.use_jax()
  directory = pathlib.Path(_RUN_DIR.value or run_files.default_dir(config))
  corpus = natural_data.load(config, _DATA_DIR.value, check=_CHECK_DATA.value)
  record = natural_loop.train(
    config,
    corpus,
    directory,
    progress=_PROGRESS.value,
    began=launch.started(),
  )
  run_files.draw_beside("natural", record, directory)
  say(run_files.contents("natural", directory))
  return record["results"] | {"record": str(directory / "record.json")}


if __name__ == "__main__":
  launch.main(main, several="natural_search.py")
