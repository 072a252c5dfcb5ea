"""Draws a figure or prints a table of sweeps, from their records alone.

Takes directories of sweep.py and files of collect.py; for the figures training
and natural one run of train.py or natural.py. Figures need --out, a PNG; tables
are printed as Markdown, or written to --out. --where keeps the runs with these
settings.

  python experiments/draw.py --figure=success_rate \
    --sweeps=experiments/results/figure_7.json --out=figure_7.png
  python experiments/draw.py --figure=tasks --sweeps=runs/tasks
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import pathlib

import sweep_records
from absl import flags
from figures import (
  error_curves,
  generalisation,
  natural,
  success_rate,
  tables,
  training,
  updates_to_solve,
)

from steadygrad import files, records
from steadygrad.runs import commands, directories, kinds

PICTURES = {
  "success_rate": success_rate.draw,
  "updates_to_solve": updates_to_solve.draw,
  "generalisation": generalisation.draw,
  "error_curves": error_curves.draw,
}
TABLES = {
  "tasks": tables.tasks,
  "learning_rates": tables.learning_rates,
  "omega_modes": tables.omega_modes,
  "thresholds": tables.thresholds,
  "omega_without_clipping": tables.thresholds,
}

# Of one run: (what draws it, what its record holds).
RUNS = {
  "training": (training.draw, kinds.TRAINING),
  "natural": (natural.draw, kinds.NATURAL),
}

_FIGURE = flags.DEFINE_enum(
  "figure", None, [*PICTURES, *TABLES, *RUNS], "What to draw.", required=True
)
_SWEEPS = commands.paths_flag(
  "sweeps",
  [],
  "Directories of sweep.py, or files of collect.py. For training and natural"
  " one run: the directory of train.py or natural.py, or its record.json.",
)
_WHERE = flags.DEFINE_list(
  "where", [], "Settings of the runs to keep, such as learning_rate=0.01."
)
_OUT = commands.path_flag("out", None, "File to write.")


def main() -> str:
  name, words, out = _FIGURE.value, _SWEEPS.value, _OUT.value
  if not words:
    raise ValueError("sweeps must name at least one, got none")
  if name in TABLES:
    table = TABLES[name](_runs(words))
    if not out:
      return table
    files.write_whole(commands.writable("out", out), f"{table}\n".encode())
    return out
  out = commands.writable("out", out, suffix=".png")
  if name in PICTURES:
    PICTURES[name](_runs(words), out)
  else:
    draw, schema = RUNS[name]
    draw(records.read_json(_record_path(words), schema), out)
  return str(out)


def _runs(words: list[str]) -> list[dict]:
  """The runs of sweeps that --where keeps."""
  for word in words:
    if (pathlib.Path(word) / directories.RECORD).exists():
      raise ValueError(
        f"sweeps must be directories of sweep.py or files of collect.py, got"
        f" the run {word}; --figure=training or natural draws one"
      )
  return sweep_records.keep(sweep_records.read(*words), _WHERE.value)


def _record_path(words: list[str]) -> pathlib.Path:
  """The record of the one run that is named."""
  if len(words) > 1 or _WHERE.value:
    raise ValueError(
      f"sweeps must be one run for --figure={_FIGURE.value}, without --where;"
      f" got {', '.join(words)}"
    )
  path = pathlib.Path(words[0])
  path = path / directories.RECORD if path.is_dir() else path
  if not path.exists():
    raise ValueError(f"sweeps must be a run that has ended, but no {path} is")
  return path


if __name__ == "__main__":
  launch.main(main)
