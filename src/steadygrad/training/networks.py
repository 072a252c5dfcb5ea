"""Models by the name that they have on the command line.

`MODELS` maps it to a function (config, input_size, output_size, reads,
implementation) -> `Model`. A configuration, resolved, has the fields of
`config.Network`; a model looks at what it has use for.
"""

from collections.abc import Callable
from typing import Any

from steadygrad import cells, models
from steadygrad.initializers import INITIALIZERS, irnn
from steadygrad.types import Cell, Model

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
    precision=config.precision,
  )


def _like_elman(make: Callable[..., Cell], **fields: str) -> MakeCell:
  """Of a cell with the Elman network's weights; {argument: field} besides."""

  def cell(config, input_size, implementation) -> Cell:
    del implementation  # It has one.
    return make(
      input_size,
      config.hidden_size,
      activation=config.activation,
      initializers=INITIALIZERS[config.init](),
      **{name: getattr(config, field) for name, field in fields.items()},
    )

  return cell


def _gated(make: Callable[..., Cell]) -> MakeCell:
  """Of Flax's cells; a memory of the longest sequences."""

  def cell(config, input_size, implementation) -> Cell:
    del implementation
    return make(input_size, config.hidden_size, **_gate(config))

  return cell


def _gate(config: Any) -> dict[str, Any]:
  """How a gate that keeps the old state starts."""
  if config.forget_bias == "chrono":
    return {"forget_bias": "chrono", "memory": config.memory}
  return {"forget_bias": float(config.forget_bias)}


def _mingru(config: Any, input_size: int, _: str | None) -> Cell:
  size, gate = config.hidden_size, _gate(config)
  sizes = [input_size, *[size] * (config.layers - 1)]
  return cells.stack([cells.mingru(m, size, **gate) for m in sizes])


def _irnn(config: Any, input_size: int, implementation: str | None) -> Cell:
  return cells.elman(
    input_size,
    config.hidden_size,
    form="h",
    activation="relu",
    initializers=irnn(),
    implementation=implementation,
    precision=config.precision,
  )


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
    config.hidden_size, config.layers, config.heads, config.num_steps
  )
  readout = models.transformer_readout(
    size,
    output_size,
    positions=config.positions,
    reads=reads,
    checkpoint=config.checkpoint_every is not None,
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
  "leaky": _recurrent(
    _like_elman(cells.leaky, rate="leak", form="form", use_bias="use_bias")
  ),
  "residual": _recurrent(
    _like_elman(cells.residual, rate="leak", use_bias="use_bias")
  ),
  "irnn": _recurrent(_irnn),
  "highway": _recurrent(_like_elman(cells.highway)),
  "layer_norm": _recurrent(_like_elman(cells.layer_norm)),
  "lstm": _recurrent(_gated(cells.lstm)),
  "gru": _recurrent(_gated(cells.gru)),
  "mingru": _recurrent(_mingru),
  "lru": _recurrent(_lru),
  "attention": _attention,
  "transformer": _transformer,
}
