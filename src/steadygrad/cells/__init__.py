"""Cells: pure functions in a `Cell`."""

from steadygrad.cells._nnx import nnx
from steadygrad.cells._stack import stack
from steadygrad.cells.elman import elman, faster
from steadygrad.cells.linen import linen

__all__ = ["elman", "faster", "linen", "nnx", "stack"]
