"""A small search over what the paper leaves open, on validation alone.

Flags are those of natural.py, each with one value or several; every combination
is trained, in the order given, with a run directory of its own below
--search_dir. search.json there lists them by their validation error; the test
error is in no list. The same command again goes on where it stopped.

  python experiments/natural_search.py --data=piano --learning_rate=1,0.5 \
    --batch_size=1,4 --max_epochs=30 --search_dir=runs/search-piano
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import math
import pathlib

import presets_natural
from absl import flags
from natural_grid import FIELDS, combinations, search

from steadygrad import records
from steadygrad.runs import commands

_SEARCH_DIR = commands.path_flag(
  "search_dir", None, "Directory of the search.", required=True
)
_DATA_DIR = commands.path_flag("data_dir", None, "As in natural.py.")
_CHECK_DATA = flags.DEFINE_bool("check_data", True, "As in natural.py.")
_PRESET = flags.DEFINE_enum(
  "preset", "paper", sorted(presets_natural.PRESETS), "As in natural.py."
)
_MINUTES = flags.DEFINE_float(
  "minutes", 600.0, "Budget: no run begins after so long.", lower_bound=0
)
flags.register_validator(
  "minutes", lambda minutes: not math.isnan(minutes), "must be a number"
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
for _field in FIELDS.values():
  flags.DEFINE_string(
    _field.name, None, f"{_field.metadata['help']} One value or several."
  )


def main() -> dict:
  values = {name: flags.FLAGS[name].value for name in FIELDS}
  given = {name: text for name, text in values.items() if text is not None}
  configs = combinations(given, presets_natural.PRESETS[_PRESET.value])
  if len({config.data for config in configs}) != 1:
    raise ValueError(f"data must be one data set, got {given['data']}")
  launch.use_jax()
  made = search(
    configs,
    pathlib.Path(_SEARCH_DIR.value),
    _DATA_DIR.value,
    check=_CHECK_DATA.value,
    minutes=_MINUTES.value,
    progress=_PROGRESS.value,
  )
  return records.plain(made["results"])


if __name__ == "__main__":
  launch.main(main)
