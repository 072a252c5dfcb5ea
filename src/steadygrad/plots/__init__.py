"""Pictures: the one look of them, and the curves of a run."""

import pathlib
from typing import Any

from steadygrad.plots import corpus, style, training

__all__ = ["corpus", "draw", "style", "training"]


def draw(record: dict[str, Any], path: str | pathlib.Path) -> None:
  """Writes the curves of a run, every seed a line.

  Args:
    record: of a run, see `runs.load` and `runs.train`.
    path: of the PNG.
  """
  kind = training if record["kind"] == "training" else corpus
  kind.draw(record, path)
