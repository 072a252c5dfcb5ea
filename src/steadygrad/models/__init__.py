"""Models: a cell and a readout, and what a model makes of its own outputs."""

from steadygrad.models.attention import attention_readout
from steadygrad.models.recurrent import linear_readout, recurrent
from steadygrad.models.sampling import compose

__all__ = ["attention_readout", "compose", "linear_readout", "recurrent"]
