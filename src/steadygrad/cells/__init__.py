"""Cells: pure functions in a `Cell`."""

from steadygrad.cells._nnx import nnx
from steadygrad.cells._stack import stack
from steadygrad.cells.diagonal import in_parallel, lru
from steadygrad.cells.elman import elman, faster
from steadygrad.cells.embedding import embedding
from steadygrad.cells.gated import gru, lstm
from steadygrad.cells.linen import linen
from steadygrad.cells.residual import highway, layer_norm, leaky, residual

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
