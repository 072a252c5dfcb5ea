"""Cells: pure functions in a `Cell`."""

from steadygrad.cells._elman import elman, faster
from steadygrad.cells._embedding import embedding
from steadygrad.cells._linen import linen
from steadygrad.cells._nnx import nnx
from steadygrad.cells._residual import highway, layer_norm, leaky, residual
from steadygrad.cells._stack import stack
from steadygrad.cells.diagonal import in_parallel, lru
from steadygrad.cells.gated import gru, lstm

__all__ = [
  "elman",
  "embedding",
  "faster",
  "gru",
  "highway",
  "in_parallel",
  "layer_norm",
  "leaky",
  "linen",
  "lru",
  "lstm",
  "nnx",
  "residual",
  "stack",
]
