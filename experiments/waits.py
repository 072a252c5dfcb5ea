"""Where networks of temporal order fail: the error against each wait.

A sequence has three waits: before the first symbol, between the two, and after
the second. Each is made shorter and longer with the others as usual, so that
the error tells which state of the network does not last. Takes records or
directories of sweep.py, as generalise.py does, and writes --out, a PNG, and the
record it is drawn from beside it.

  python experiments/waits.py --runs=runs/one_model --out=waits.png
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import waits_loop
from absl import flags
from figures import waits as figure

from steadygrad import records
from steadygrad.runs import commands

_RUNS = commands.paths_flag("runs", [], "Records or directories of sweep.py.")
_SIZE = flags.DEFINE_integer(
  "size", 500, "Sequences a point.", lower_bound=1, upper_bound=10_000
)
_OUT = commands.path_flag("out", "runs/waits.png", "PNG to write.")


def main() -> str:
  if not _RUNS.value:
    raise ValueError("runs must name at least one run, got none")
  out = commands.writable("out", _OUT.value, suffix=".png")
  launch.use_jax(all_cores=False)
  record = waits_loop.measure(_RUNS.value, _SIZE.value)
  records.write_json(out.with_suffix(".json"), record)
  figure.draw(records.read_json(out.with_suffix(".json")), out)
  return str(out)


if __name__ == "__main__":
  launch.main(main)
