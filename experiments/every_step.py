"""The error of trained networks when they are asked after every single step.

For the random permutation: its answer, the first symbol, is the same whenever
it is asked for, so that one pass over long sequences gives the error at all
lengths. Takes records or directories of sweep.py, as generalise.py does, and
writes --out, a PNG, and the record it is drawn from beside it.

  python experiments/every_step.py --runs=runs/tasks --out=every_step.png
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import every_step_loop
from absl import flags
from figures import every_step as figure

from steadygrad import records
from steadygrad.options import INT32
from steadygrad.runs import commands

_RUNS = commands.paths_flag("runs", [], "Records or directories of sweep.py.")
_STEPS = flags.DEFINE_integer(
  "steps", 400, "Steps to ask after.", lower_bound=1, upper_bound=10_000
)
_SIZE = flags.DEFINE_integer(
  "size", 1000, "Sequences.", lower_bound=1, upper_bound=INT32
)
_OUT = commands.path_flag("out", "runs/every_step.png", "PNG to write.")


def main() -> str:
  if not _RUNS.value:
    raise ValueError("runs must name at least one run, got none")
  out = commands.writable("out", _OUT.value, suffix=".png")
  launch.use_jax(all_cores=False)
  record = every_step_loop.measure(_RUNS.value, _STEPS.value, _SIZE.value)
  records.write_json(out.with_suffix(".json"), record)
  figure.draw(records.read_json(out.with_suffix(".json")), out)
  return str(out)


if __name__ == "__main__":
  launch.main(main)
