"""Models by the name that they have on the command line.

`MODELS` maps it to a function (config, input_size, output_size, reads,
implementation) -> `Model`. A configuration has `hidden_size`, `form`,
`activation`, `init` and `use_bias`; a model looks at what it has use for.
"""

from typing import Any

from flax import linen as nn

from steadygrad import cells, models
from steadygrad.initializers import INITIALIZERS
from steadygrad.types import Cell, Model


def _elman(config: Any, input_size: int, implementation: str | None) -> Cell:
  return cells.elman(
    input_size,
    config.hidden_size,
    form=config.form,
    activation=config.activation,
    initializers=INITIALIZERS[config.init](),
    use_bias=config.use_bias,
    implementation=implementation,
  )


def _lstm(config: Any, input_size: int, implementation: str | None) -> Cell:
  del implementation  # Flax has one.
  return cells.linen(
    nn.OptimizedLSTMCell(features=config.hidden_size), input_size
  )


def _recurrent(make_cell):
  def make(config, input_size, output_size, reads, implementation) -> Model:
    readout = models.linear_readout(
      config.hidden_size,
      output_size,
      reads=reads,
      initializer=INITIALIZERS[config.init]().w_out,
      use_bias=config.use_bias,
    )
    cell = make_cell(config, input_size, implementation)
    return models.recurrent(cell, readout)

  return make


MODELS = {"elman": _recurrent(_elman), "lstm": _recurrent(_lstm)}
