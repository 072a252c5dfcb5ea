"""Draws a figure or prints a table of sweeps, from their records alone.

Takes directories of sweep.py and files of collect.py. Figures need --out, a
PNG; tables are printed as Markdown, or written to --out. --where keeps the runs
with these settings.

  python experiments/draw.py --figure=success_rate \
    --sweeps=experiments/results/figure_7.json --out=figure_7.png
  python experiments/draw.py --figure=tasks --sweeps=runs/tasks
"""

import pathlib
import sys

import sweep_records
from absl import app, flags
from figures import (
  error_curves,
  generalisation,
  success_rate,
  tables,
  updates_to_solve,
)

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

_FIGURE = flags.DEFINE_enum(
  "figure", None, [*PICTURES, *TABLES], "What to draw.", required=True
)
_SWEEPS = flags.DEFINE_list(
  "sweeps", [], "Directories of sweep.py, or files of collect.py."
)
_WHERE = flags.DEFINE_list(
  "where", [], "Settings of the runs to keep, such as learning_rate=0.01."
)
_OUT = flags.DEFINE_string("out", None, "File to write.")


def main(argv: list[str]) -> None:
  name, out = _FIGURE.value, _OUT.value
  try:
    if argv[1:] or not _SWEEPS.value:
      raise ValueError(f"sweeps must name at least one, got {_SWEEPS.value}")
    runs = sweep_records.read(*_SWEEPS.value)
    runs = sweep_records.keep(runs, _WHERE.value)
    if name in PICTURES:
      if not (out or "").endswith(".png"):
        raise ValueError(f"out must be a file *.png, got {out}")
      PICTURES[name](runs, out)
    else:
      table = TABLES[name](runs)
      pathlib.Path(out).write_text(table + "\n") if out else print(table)
  except (OSError, ValueError) as e:
    sys.exit(f"draw.py: {e}")
  if out:
    print(out)


if __name__ == "__main__":
  app.run(main)
