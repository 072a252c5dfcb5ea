"""Cells: pure functions in a `Cell`."""

from steadygrad.cells._elman import elman, faster
from steadygrad.cells._embedding import embedding
from steadygrad.cells._linen import linen
from steadygrad.cells._minimal import mingru, mingru_in_parallel
from steadygrad.cells._nnx import nnx
from steadygrad.cells._residual import highway, layer_norm, leaky, residual
from steadygrad.cells._stack import stack
from steadygrad.cells.diagonal import lru, lru_in_parallel
from steadygrad.cells.gated import gru, lstm

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
