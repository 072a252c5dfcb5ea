"""What the host does around training: runs, their files, locks, processes.

`train` runs all seeds of a configuration, `sweep` a grid of them, and `load`
reads a run that has ended.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from steadygrad.runs.directories import Directory
  from steadygrad.runs.loading import Run, load
  from steadygrad.runs.logs import csv_log
  from steadygrad.runs.queue import Check
  from steadygrad.runs.running import sweep, train

_PUBLIC = {
  "Check": "queue",
  "Directory": "directories",
  "Run": "loading",
  "csv_log": "logs",
  "load": "loading",
  "sweep": "running",
  "train": "running",
}
__all__ = [
  "Check",
  "Directory",
  "Run",
  "csv_log",
  "load",
  "sweep",
  "train",
]


def __getattr__(name: str):
  # JAX takes a second to import, and launchers answer Ctrl-C before that.
  if name not in _PUBLIC:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
  return getattr(module, name)
