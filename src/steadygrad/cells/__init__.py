"""Cells: pure functions in a `Cell`."""

from steadygrad.cells.elman import elman, faster
from steadygrad.cells.gated import gru, lstm
from steadygrad.cells.linen import linen
from steadygrad.cells.residual import highway, layer_norm, leaky, residual

__all__ = [
  "elman",
  "faster",
  "gru",
  "highway",
  "layer_norm",
  "leaky",
  "linen",
  "lstm",
  "residual",
]
