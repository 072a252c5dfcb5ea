"""Tests trained networks at lengths they have never seen.

Takes run directories of train.py, records of sweep.py, and sweeps' directories
for all their solved runs. Writes beside each run, generalisation.json or
generalisation/<name>.json, the error on fresh sequences at every length asked
for. Lengths that are there already are kept, so that it can be killed and
started again. The last line on standard output is one JSON object.

  python experiments/generalise.py --runs=runs/some-run --lengths=50,100,5000
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import generalise_loop
from absl import flags

from steadygrad import config as configuration
from steadygrad.options import INT32
from steadygrad.runs import commands

# ICML, section 4.1.
LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)

_RUNS = commands.paths_flag(
  "runs",
  [],
  "Run directories of train.py, records of sweep.py (*.json), or directories of"
  " sweep.py for all solved runs in them.",
)
_LENGTHS = flags.DEFINE_list(
  "lengths", [str(n) for n in LENGTHS], "Lengths to test at."
)
_SIZE = flags.DEFINE_integer(
  "size",
  10_000,
  "Fresh sequences at each length.",
  lower_bound=1,
  upper_bound=INT32,
)


def main() -> dict:
  if not _RUNS.value:
    raise ValueError("runs must name at least one run, got none")
  lengths = configuration.integers("lengths", _LENGTHS.value)
  runs = [run for word in _RUNS.value for run in generalise_loop.runs_of(word)]
  for run in runs:
    generalise_loop.check(run, lengths, _SIZE.value)
  launch.use_jax()
  made = {
    run: generalise_loop.generalise(run, lengths, _SIZE.value) for run in runs
  }
  errors = {run: [found[n] for n in lengths] for run, found in made.items()}
  return {"lengths": lengths, "errors": errors}


if __name__ == "__main__":
  launch.main(main)
