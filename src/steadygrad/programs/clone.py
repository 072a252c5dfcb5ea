"""The folder experiments/ of a clone, which no wheel has."""

import pathlib
import sys


def experiments(what: str) -> pathlib.Path:
  """The folder; what is in it can be imported from then on.

  Args:
    what: the thing that needs it, for the error.

  Raises:
    ValueError: if steadygrad is not that of a clone.
  """
  path = pathlib.Path(__file__).parents[3] / "experiments"
  if not (path / "presets").is_dir():
    raise ValueError(
      f"{what} must be run in a clone of steadygrad, which has experiments/;"
      f" got the package in {path.parent}"
    )
  if str(path) not in sys.path:
    sys.path.insert(0, str(path))
  return path
