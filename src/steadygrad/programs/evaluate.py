"""Tests trained networks.

--test says which test:

  lengths     the error at lengths never seen; writes it beside each run
  every_step  random permutation, asked after every step; writes --out, a PNG,
              and the record it is drawn from beside it
  waits       temporal order: at which of its waits it fails; writes the same
  lags        |dE/du_t| by lag, before training and after it; writes the same
  signals     music and text: |dE_t/dx_k| by lag; writes a record and a PNG into
              the directory --out
  samples     music and text: what the networks compose; writes text, or a PNG
              and a MIDI file, into the directory --out
  threshold   the threshold of clipping that a run's own norms suggest, by the
              paper's rule; prints it

The first four take records of sweep.py, or a directory of sweep.py for all
solved runs in it; lengths also run directories of train.py. signals and samples
take directories of train.py --data, all of one data set; threshold takes any of
these, and of a sweep all runs that ended. The last line on standard output is
the path of the PNG, or one JSON object.

  python -m steadygrad evaluate --test=lengths --runs=runs/a --lengths=50,5000
  python -m steadygrad evaluate --test=waits --runs=runs/one_model
  python -m steadygrad evaluate --test=signals --runs=runs/a,runs/b
  python -m steadygrad evaluate --test=threshold --runs=runs/a
"""

import inspect
from typing import Any

from absl import flags

from steadygrad.evaluations import (
  every_step,
  lags,
  lengths,
  samples,
  signals,
  threshold,
  waits,
)
from steadygrad.options import INT32
from steadygrad.runs import commands, launch
from steadygrad.training.config import MAX_SEED

TESTS = {
  "lengths": lengths.evaluate,
  "every_step": every_step.evaluate,
  "waits": waits.evaluate,
  "lags": lags.evaluate,
  "signals": signals.evaluate,
  "samples": samples.evaluate,
  "threshold": threshold.evaluate,
}


def options_of(test: str) -> dict[str, Any]:
  """{flag: default} of a test: what is keyword-only in its function."""
  arguments = inspect.signature(TESTS[test]).parameters.values()
  return {a.name: a.default for a in arguments if a.kind is a.KEYWORD_ONLY}


def _help(name: str, text: str) -> str:
  """What --help says of a flag: of which tests it is, and its default there."""
  owners = []
  for test in TESTS:
    if name in (options := options_of(test)):
      value = options[name]
      if isinstance(value, tuple):
        value = ",".join(map(str, value))
      owners.append(f"{test} (default: {value})")
  return f"{text} Of --test={', '.join(owners)}."


_TEST = flags.DEFINE_enum("test", None, list(TESTS), "Which.", required=True)
_RUNS = commands.paths_flag(
  "runs", [], "Records, run directories or directories of sweep.py; see above."
)
# None stands for the default of the test.
flags.DEFINE_list("lengths", None, _help("lengths", "Lengths to test at."))
flags.DEFINE_integer(
  "size",
  None,
  _help("size", "Sequences: at each length, in all, or for each wait."),
  lower_bound=1,
  upper_bound=INT32,
)
flags.DEFINE_integer(
  "steps",
  None,
  _help("steps", "Steps to ask after."),
  lower_bound=1,
  upper_bound=10_000,
)
flags.DEFINE_integer(
  "lags",
  None,
  _help("lags", "Steps that the error is sent back."),
  lower_bound=2,
  upper_bound=10_000,
)
flags.DEFINE_integer(
  "windows",
  None,
  _help("windows", "Stretches of the test set, at most."),
  lower_bound=1,
  upper_bound=1000,
)
flags.DEFINE_integer(
  "sample",
  None,
  _help("sample", "Steps to compose."),
  lower_bound=1,
  upper_bound=1_000_000,
)
flags.DEFINE_integer(
  "seed",
  None,
  _help("seed", "Of the sample."),
  lower_bound=0,
  upper_bound=MAX_SEED,
)
commands.path_flag("out", None, _help("out", "PNG or directory to write."))
commands.path_flag("data_dir", None, _help("data_dir", "As in train.py."))
flags.DEFINE_bool("check_data", None, _help("check_data", "As in train.py."))


def given(test: str) -> dict[str, Any]:
  """{flag: value} of the test's flags on the command line.

  Raises:
    ValueError: naming a flag that the test has not, and those that it has.
  """
  own = options_of(test)
  everyone = {name for other in TESTS for name in options_of(other)}
  present = {name for name in everyone if flags.FLAGS[name].present}
  for name in sorted(present - own.keys()):
    raise ValueError(
      f"{name} is no flag of --test={test}, which has"
      f" {', '.join(('runs', *own))}"
    )
  return {name: flags.FLAGS[name].value for name in own if name in present}


def main() -> dict | str:
  """Tests; what the last line says."""
  test = _TEST.value
  options = given(test)
  if not _RUNS.value:
    raise ValueError("runs must name at least one run, got none")
  # At given lengths each seed of a run has a core; the others test one seed.
  launch.use_jax(all_cores=test == "lengths")
  return TESTS[test](_RUNS.value, **options)
