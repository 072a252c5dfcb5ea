"""The error of trained networks when they are asked after every single step.

For the random permutation: its answer, the first symbol, is the same whenever
it is asked for, so that one pass over long sequences gives the error at all
lengths. Takes records or directories of sweep.py, as generalise.py does, and
writes --out, a PNG, and the record it is drawn from beside it.

  python experiments/every_step.py --runs=runs/tasks --out=every_step.png
"""

import pathlib
import sys

import every_step_loop
import host_loop
from absl import app, flags, logging
from figures import every_step as figure

from steadygrad import records
from steadygrad.options import INT32

_RUNS = flags.DEFINE_list("runs", [], "Records or directories of sweep.py.")
_STEPS = flags.DEFINE_integer(
  "steps", 400, "Steps to ask after.", lower_bound=1, upper_bound=10_000
)
_SIZE = flags.DEFINE_integer(
  "size", 1000, "Sequences.", lower_bound=1, upper_bound=INT32
)
_OUT = flags.DEFINE_string("out", "runs/every_step.png", "PNG to write.")


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  try:
    if argv[1:] or not _RUNS.value:
      raise ValueError(f"runs must name at least one run, got {_RUNS.value}")
    if out.suffix != ".png":
      raise ValueError(f"out must be a file *.png, got {out}")
    host_loop.use_compilation_cache()
    record = every_step_loop.measure(_RUNS.value, _STEPS.value, _SIZE.value)
  except (OSError, ValueError) as e:
    sys.exit(f"every_step.py: {e}")
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_json(out.with_suffix(".json"), record)
    figure.draw(records.read_json(out.with_suffix(".json")), out)
  except OSError as e:
    sys.exit(f"every_step.py: out {out} cannot be written: {e}")
  print(out)


if __name__ == "__main__":
  app.run(main)
