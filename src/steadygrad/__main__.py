"""Recurrent networks whose gradients neither explode nor vanish.

  python -m steadygrad PROGRAM --flags
  python -m steadygrad PROGRAM --help

PROGRAM is one of

  train      one configuration, several seeds
  sweep      grids of configurations
  evaluate   trained networks, tested: at other lengths and otherwise
  report     how far back the gradients of a trained network reach
  draw       pictures and tables made of records
  collect    a sweep's records in one file

and in a clone, which has experiments/, also

  analyse    the theory, computed and drawn
  benchmark  updates against what users would write

The command `steadygrad` is the same.
"""

import sys

from steadygrad.runs import launch, parents

PROGRAMS = ("train", "sweep", "evaluate", "report", "draw", "collect")
OF_CLONES = ("analyse", "benchmark")
# Those whose flags take one value, and the one where they take several.
_SEVERAL = {"train": "sweep.py"}


def main(name: str) -> None:
  """Runs a program with the flags of `sys.argv`, and ends the process.

  Args:
    name: one of `PROGRAMS`.
  """
  if parents.wanted(sys.argv):
    sys.exit(parents.run())
  parents.watch()
  launch.begin()  # Answers Ctrl-C while the rest is imported.
  import importlib

  try:
    program = importlib.import_module(f"steadygrad.programs.{name}")
  except ModuleNotFoundError as e:
    launch.signals.say(launch.missing(e))
    sys.exit(launch.MISTAKE)
  launch.main(program.main, about=program.__doc__, several=_SEVERAL.get(name))


def run() -> None:
  """What the command `steadygrad` does."""
  name = sys.argv[1] if len(sys.argv) > 1 else ""
  if name in PROGRAMS:
    sys.argv[:2] = [f"steadygrad {name}"]
    main(name)
  elif name in OF_CLONES:
    _run_of_clone(name)
  else:
    rest = sys.argv[1:] if name.startswith("-") else []
    sys.argv[:] = ["steadygrad", *rest]
    launch.main(lambda: _tell(name), about=__doc__)


def _run_of_clone(name: str) -> None:
  import runpy

  from steadygrad.programs import clone

  sys.argv[:2] = [f"steadygrad {name}"]
  try:
    script = clone.experiments(name) / f"{name}.py"
  except ValueError as e:
    launch.signals.say(e)
    sys.exit(launch.MISTAKE)
  runpy.run_path(str(script), run_name="__main__")


def _tell(name: str) -> str:
  if name and not name.startswith("-"):
    allowed = ", ".join((*PROGRAMS, *OF_CLONES))
    raise ValueError(f"the program must be one of {allowed}, got {name!r}")
  return (__doc__ or "").strip()


if __name__ == "__main__":
  run()
