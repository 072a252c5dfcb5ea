"""Recurrent networks whose gradients neither explode nor vanish, in JAX.

`adjoints` stands where `jax.value_and_grad` stood, and also returns the error
signals dE/dx_t. `add_omega_gradient` and `clip_by_global_norm` are links of an
Optax chain; `msgd_cr` is the paper's. `recurrent` makes a model of a cell and a
readout. The submodules have the rest: cells, models, losses, tasks, transforms,
analysis, training, runs, plots.

What is not used is not imported.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from steadygrad import (
    analysis,
    cells,
    initializers,
    losses,
    models,
    plots,
    runs,
    tasks,
    training,
    transforms,
    types,
  )
  from steadygrad._adjoints import adjoints
  from steadygrad._unroll import unroll
  from steadygrad.models import linear_readout, recurrent
  from steadygrad.reports import GradientWatch, gradient_report
  from steadygrad.trajectories import trajectory
  from steadygrad.transforms import (
    add_omega_gradient,
    choose_max_norm,
    clip_by_global_norm,
    msgd,
    msgd_c,
    msgd_cr,
    telemetry,
  )
  from steadygrad.types import (
    Batch,
    Cell,
    Model,
    Readout,
    Task,
    Trajectory,
  )

# Where each name is.
_NAMES = {
  "adjoints": "_adjoints",
  "unroll": "_unroll",
  "trajectory": "trajectories",
  "GradientWatch": "reports",
  "gradient_report": "reports",
  "linear_readout": "models",
  "recurrent": "models",
  "add_omega_gradient": "transforms",
  "choose_max_norm": "transforms",
  "clip_by_global_norm": "transforms",
  "msgd": "transforms",
  "msgd_c": "transforms",
  "msgd_cr": "transforms",
  "telemetry": "transforms",
  "Batch": "types",
  "Cell": "types",
  "Model": "types",
  "Readout": "types",
  "Task": "types",
  "Trajectory": "types",
}
_MODULES = (
  "analysis",
  "cells",
  "initializers",
  "losses",
  "models",
  "plots",
  "runs",
  "tasks",
  "training",
  "transforms",
  "types",
)
__all__ = [
  "Batch",
  "Cell",
  "GradientWatch",
  "Model",
  "Readout",
  "Task",
  "Trajectory",
  "add_omega_gradient",
  "adjoints",
  "analysis",
  "cells",
  "choose_max_norm",
  "clip_by_global_norm",
  "gradient_report",
  "initializers",
  "linear_readout",
  "losses",
  "models",
  "msgd",
  "msgd_c",
  "msgd_cr",
  "plots",
  "recurrent",
  "runs",
  "tasks",
  "telemetry",
  "training",
  "trajectory",
  "transforms",
  "types",
  "unroll",
]


def __getattr__(name: str):
  if name == "__version__":
    metadata = importlib.import_module("importlib.metadata")
    try:
      return metadata.version("steadygrad")
    except metadata.PackageNotFoundError:
      return "not installed"
  if name in _MODULES:
    return importlib.import_module(f"{__name__}.{name}")
  if name in _NAMES:
    module = importlib.import_module(f"{__name__}.{_NAMES[name]}")
    return getattr(module, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted([*__all__, "__version__"])
