"""Cells: pure functions in a `Cell`.

Flax, which takes as long to import as all the rest, comes with `linen`, `nnx`,
`lstm` and `gru`, once one of them is used.
"""

import importlib
from typing import TYPE_CHECKING

from steadygrad.cells._elman import elman, faster
from steadygrad.cells._embedding import embedding
from steadygrad.cells._minimal import mingru, mingru_in_parallel
from steadygrad.cells._residual import highway, layer_norm, leaky, residual
from steadygrad.cells._stack import stack
from steadygrad.cells.diagonal import lru, lru_in_parallel
from steadygrad.cells.gated import gru, lstm

if TYPE_CHECKING:
  from steadygrad.cells._linen import linen
  from steadygrad.cells._nnx import nnx

__all__ = [
  "elman",
  "embedding",
  "faster",
  "gru",
  "highway",
  "layer_norm",
  "leaky",
  "linen",
  "lru",
  "lru_in_parallel",
  "lstm",
  "mingru",
  "mingru_in_parallel",
  "nnx",
  "residual",
  "stack",
]


def __getattr__(name: str):
  if name in ("linen", "nnx"):
    return getattr(importlib.import_module(f"{__name__}._{name}"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted(__all__)
