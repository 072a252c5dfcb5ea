"""Cells: pure functions in a `Cell`."""

from steadygrad.cells.elman import elman, faster
from steadygrad.cells.linen import linen
from steadygrad.cells.nnx import nnx
from steadygrad.cells.stack import stack

__all__ = ["elman", "faster", "linen", "nnx", "stack"]
