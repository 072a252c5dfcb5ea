"""Where networks of temporal order fail: the error against each wait.

A sequence has three waits: before the first symbol, between the two, and after
the second. Each is made shorter and longer with the others as usual, so that
the error tells which state of the network does not last. Takes records or
directories of sweep.py, as generalise.py does, and writes --out, a PNG, and the
record it is drawn from beside it.

  python experiments/waits.py --runs=runs/one_model --out=waits.png
"""

import pathlib
import sys

import host_loop
import waits_loop
from absl import app, flags, logging
from figures import waits as figure

from steadygrad import records

_RUNS = flags.DEFINE_list("runs", [], "Records or directories of sweep.py.")
_SIZE = flags.DEFINE_integer(
  "size", 500, "Sequences a point.", lower_bound=1, upper_bound=10_000
)
_OUT = flags.DEFINE_string("out", "runs/waits.png", "PNG to write.")


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  try:
    if argv[1:] or not _RUNS.value:
      raise ValueError(f"runs must name at least one run, got {_RUNS.value}")
    if out.suffix != ".png":
      raise ValueError(f"out must be a file *.png, got {out}")
    host_loop.use_compilation_cache()
    record = waits_loop.measure(_RUNS.value, _SIZE.value)
  except (OSError, ValueError) as e:
    sys.exit(f"waits.py: {e}")
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_json(out.with_suffix(".json"), record)
    figure.draw(records.read_json(out.with_suffix(".json")), out)
  except OSError as e:
    sys.exit(f"waits.py: out {out} cannot be written: {e}")
  print(out)


if __name__ == "__main__":
  app.run(main)
