"""Models by the name that they have on the command line.

`MODELS` maps it to a function (config, input_size, output_size, reads,
implementation) -> `Model`. A configuration has the fields of
`config.Network`; a model looks at what it has use for.
"""

from collections.abc import Callable
from typing import Any

from steadygrad import cells, models
from steadygrad.initializers import INITIALIZERS, Initializers, irnn
from steadygrad.types import Cell, Model

# Learned positions beyond the longest sequence, for what a task adds to it.
EXTRA = 64
MakeCell = Callable[[Any, int, str | None], Cell]


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


def _leaky(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.leaky(
    input_size,
    config.hidden_size,
    rate=config.leak,
    form=config.form,
    activation=config.activation,
    initializers=_weights(config),
    use_bias=config.use_bias,
  )


def _residual(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.residual(
    input_size,
    config.hidden_size,
    rate=config.leak,
    activation=config.activation,
    initializers=_weights(config),
    use_bias=config.use_bias,
  )


def _highway(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.highway(
    input_size,
    config.hidden_size,
    activation=config.activation,
    initializers=_weights(config),
  )


def _layer_norm(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.layer_norm(
    input_size,
    config.hidden_size,
    activation=config.activation,
    initializers=_weights(config),
  )


def _lstm(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.lstm(input_size, config.hidden_size, **_gate(config))


def _gru(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.gru(input_size, config.hidden_size, **_gate(config))


def _irnn(config: Any, input_size: int, implementation: str | None) -> Cell:
  return cells.elman(
    input_size,
    config.hidden_size,
    form="h",
    activation="relu",
    initializers=irnn(),
    implementation=implementation,
  )


def _weights(config: Any) -> Initializers:
  return INITIALIZERS[config.init]()


def _gate(config: Any) -> dict[str, Any]:
  """Where the gate's bias starts; a memory of the longest sequences."""
  if config.forget_bias == "chrono":
    return {"forget_bias": "chrono", "memory": config.memory}
  return {"forget_bias": float(config.forget_bias)}


def _lru(config: Any, input_size: int, _: str | None) -> Cell:
  return cells.lru(input_size, config.hidden_size)


def _attention(
  config: Any,
  input_size: int,
  output_size: int,
  reads: str,
  implementation: str | None,
) -> Model:
  cell = _elman(config, input_size, implementation)
  size = config.hidden_size
  readout = models.attention_readout(size, output_size, reads=reads)
  return models.recurrent(cell, readout)


def _transformer(
  config: Any, input_size: int, output_size: int, reads: str, _: str | None
) -> Model:
  size = models.Size(
    config.hidden_size, config.layers, config.heads, config.memory + EXTRA
  )
  readout = models.transformer_readout(
    size, output_size, positions=config.positions, reads=reads
  )
  cell = cells.embedding(input_size, config.hidden_size)
  return models.recurrent(cell, readout)


def _recurrent(make_cell: MakeCell) -> Callable[..., Model]:
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


MODELS = {
  "elman": _recurrent(_elman),
  "leaky": _recurrent(_leaky),
  "residual": _recurrent(_residual),
  "irnn": _recurrent(_irnn),
  "highway": _recurrent(_highway),
  "layer_norm": _recurrent(_layer_norm),
  "lstm": _recurrent(_lstm),
  "gru": _recurrent(_gru),
  "lru": _recurrent(_lru),
  "attention": _attention,
  "transformer": _transformer,
}
