"""A small search over what the paper leaves open, on validation alone.

Flags are those of natural.py, each with one value or several; every combination
is trained, in the order given, with a run directory of its own below
--search_dir. search.json there lists them by their validation error; the test
error is in no list. The same command again goes on where it stopped.

  python experiments/natural_search.py --data=piano --learning_rate=1,0.5 \
    --batch_size=1,4 --max_epochs=30 --search_dir=runs/search-piano
"""

import json
import math
import pathlib
import sys

import host_loop
import presets_natural
from absl import app, flags, logging
from natural_grid import FIELDS, combinations, search

from steadygrad import records

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
flags.register_validator(
  "minutes", lambda minutes: not math.isnan(minutes), "must be a number"
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
for _field in FIELDS.values():
  flags.DEFINE_string(
    _field.name, None, f"{_field.metadata['help']} One value or several."
  )


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
    made = search(
      configs,
      pathlib.Path(_SEARCH_DIR.value),
      _DATA_DIR.value,
      check=_CHECK_DATA.value,
      minutes=_MINUTES.value,
      progress=_PROGRESS.value,
    )
  except ValueError as e:
    sys.exit(f"natural_search.py: {e}")
  except host_loop.Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(130)
  print(json.dumps(records.plain(made["results"])))


if __name__ == "__main__":
  app.run(main)
