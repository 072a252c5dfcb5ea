"""Models: a cell and a readout, and what a model makes of its own outputs."""

from steadygrad.models._bidirectional import bidirectional, reverse
from steadygrad.models.recurrent import linear_readout, recurrent
from steadygrad.models.sampling import compose

__all__ = [
  "bidirectional",
  "compose",
  "linear_readout",
  "recurrent",
  "reverse",
]
