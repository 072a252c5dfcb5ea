"""Cells: pure functions in a `Cell`."""

from steadygrad.cells.elman import elman
from steadygrad.cells.linen import linen

__all__ = ["elman", "linen"]
