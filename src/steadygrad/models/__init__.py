"""Models: a cell and a readout, and what a model makes of its own outputs."""

from steadygrad.models._bidirectional import bidirectional, reverse
from steadygrad.models._recurrent import linear_readout, recurrent
from steadygrad.models.attention import attention_readout
from steadygrad.models.sampling import compose
from steadygrad.models.transformer import Size, transformer_readout

__all__ = [
  "Size",
  "attention_readout",
  "bidirectional",
  "compose",
  "linear_readout",
  "recurrent",
  "reverse",
  "transformer_readout",
]
