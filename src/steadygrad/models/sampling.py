"""Sequences that a model makes: its prediction is its next input."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad.types import Array, Model, PyTree


def compose(
  model: Model,
  params: PyTree,
  key: Array,
  first: Array,
  *,
  num_steps: int,
  encode: Callable[[Array], Array],
  draw: Callable[[Array, Array], Array],
) -> Array:
  """Draws rows one after the other, each from the prediction after the last.

    x_t   = step(x_{t-1}, encode(row_{t-1}))
    row_t ~ draw(readout(x_t))

  A row is one step of data: a symbol [], or the notes of a chord [88]. The
  state x_0 is the cell's initial state.

  Example, of symbols 0 to 4 and a network that is not trained:

    >>> import functools, jax
    >>> from steadygrad import cells, models
    >>> readout = models.linear_readout(16, 5, reads="every")
    >>> model = models.recurrent(cells.elman(5, 16), readout)
    >>> params = model.init(jax.random.key(0))
    >>> encode = functools.partial(jax.nn.one_hot, num_classes=5)
    >>> rows = compose(
    ...   model, params, jax.random.key(1), jax.numpy.int32(0),
    ...   num_steps=20, encode=encode, draw=jax.random.categorical,
    ... )
    >>> rows.shape
    (20,)

  Args:
    model: a `Model`.
    params: its parameters.
    key: of the draws.
    first: row_0, an array of any shape, which is not among the rows returned.
    num_steps: T.
    encode: row -> inputs of one step, [M].
    draw: (key, outputs [O]) -> a row. It is cast to the dtype of `first`.

  Returns:
    row_1 to row_T, [T, ...].

  Raises:
    ValueError: if `model` is no `Model`, `num_steps` no integer of at least 1,
      or `encode` or `draw` no function; or if a drawn row has not the shape of
      `first`.
  """
  if not isinstance(model, Model):
    raise ValueError(f"model must be a steadygrad Model, got {type(model)}")
  _validate.check_params(params)
  _validate.check_integer("num_steps", num_steps)
  for name, function in (("encode", encode), ("draw", draw)):
    if not callable(function):
      raise ValueError(f"{name} must be a function, got {function!r}")
  if model.readout.masked:
    raise ValueError(
      "model must have a readout of one step at a time, got one that looks at"
      " all of them"
    )
  cell, theta = model.cell, params["cell"]
  first = jnp.asarray(first)

  def step(carry, key):
    x, row = carry
    x = cell.step(theta, x, encode(row)[None])
    outputs = model.readout.apply(params["readout"], cell.output(x)[None])
    outputs = outputs[0] if model.readout.reads == "last" else outputs[0, 0]
    drawn = draw(key, outputs)
    if jnp.shape(drawn) != first.shape:
      raise ValueError(
        f"draw must give a row of the shape of first, {first.shape}, got"
        f" {jnp.shape(drawn)}"
      )
    row = drawn.astype(first.dtype)
    return (x, row), row

  start = cell.initial_state(theta, 1), first
  return jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]
