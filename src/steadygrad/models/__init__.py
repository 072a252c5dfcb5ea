"""Models: a cell and a readout, and what a model makes of its own outputs."""

from steadygrad.models.recurrent import linear_readout, recurrent
from steadygrad.models.sampling import compose

__all__ = ["compose", "linear_readout", "recurrent"]
