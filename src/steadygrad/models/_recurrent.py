"""A cell and a readout make a model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad._unroll import (
  as_read,
  batch_size,
  check_lengths,
  step_mask,
  unroll,
)
from steadygrad.numerics import add, promoted
from steadygrad.types import Array, Cell, Model, Readout, as_it_is


def linear_readout(
  input_size: int,
  output_size: int,
  *,
  reads: str = "last",
  initializer: Callable[..., Array] | None = None,
  use_bias: bool = True,
  dtype: jnp.dtype = jnp.float32,
) -> Readout:
  """y_t w_out + b_out, of the last step or of every step.

  Parameters are `{"w_out": [N, O], "b_out": [O]}`; biases start at zero.

  Args:
    input_size: N.
    output_size: O.
    reads: "last" for outputs [B, O] from each sequence's last state, "every"
      for [T, B, O].
    initializer: of w_out, (key, shape, dtype) -> array; N(0, 1/N) if None.
    use_bias: whether there is a `b_out`.
    dtype: of the parameters.

  Raises:
    ValueError: on a size under 1, another `reads`, or a dtype that is not
      floating-point.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from steadygrad.models import linear_readout
    >>> readout = linear_readout(input_size=4, output_size=2, reads="every")
    >>> params = readout.init(jax.random.key(0))
    >>> readout.apply(params, jnp.ones((5, 3, 4))).shape  # [T, B, O].
    (5, 3, 2)
  """
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("output_size", output_size)
  _validate.check_one_of("reads", reads, ("last", "every"))
  _validate.check_one_of("use_bias", use_bias, (True, False))
  _validate.check_floating("dtype", dtype)
  if initializer is None:
    initializer = jax_initializers.lecun_normal()
  if not callable(initializer):
    raise ValueError(f"initializer must be a function, got {initializer!r}")

  def init(key):
    params = {"w_out": initializer(key, (input_size, output_size), dtype)}
    if use_bias:
      params["b_out"] = jnp.zeros(output_size, dtype)
    return params

  def apply(params, ys):
    # Beyond its length a state stays as it was, so the last row serves all.
    ys = ys[-1] if reads == "last" else ys
    product = jnp.matmul(
      *promoted(ys, params["w_out"]), precision=jax.lax.Precision.HIGHEST
    )
    return add(product, params["b_out"]) if use_bias else product

  return Readout(init, apply, reads)


def recurrent(cell: Cell, readout: Readout) -> Model:
  """The model that unrolls `cell` and applies `readout` to its outputs.

  Raises:
    ValueError: if they are no `Cell` and no `Readout`. `apply` raises it where
      `unroll` does, and on inputs of no steps for a readout of the last.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from steadygrad.cells import elman
    >>> from steadygrad.models import linear_readout, recurrent
    >>> model = recurrent(elman(2, 4), linear_readout(4, 3))
    >>> params = model.init(jax.random.key(0))
    >>> lengths = jnp.array([5, 3])
    >>> model.apply(params, jnp.ones((5, 2, 2)), lengths).shape  # [B, O].
    (2, 3)
  """
  return unrolled(cell, readout, as_it_is)


def unrolled(
  cell: Cell, readout: Readout, before: Callable[..., Array]
) -> Model:
  """`recurrent`, with the model's `before`."""
  for name, part, kind in (("cell", cell, Cell), ("readout", readout, Readout)):
    if not isinstance(part, kind):
      raise ValueError(
        f"{name} must be a steadygrad {kind.__name__}, got {type(part)}"
      )

  def init(key):
    key_cell, key_readout = jax.random.split(key)
    return {"cell": cell.init(key_cell), "readout": readout.init(key_readout)}

  def apply(params, us, lengths=None, x_0=None):
    _validate.check_params(params)
    batch_size(us)  # Which says whether us are an array at all.
    if readout.reads == "last" and not len(us):
      raise ValueError("us must have at least one step to be read, got 0")
    lengths = check_lengths(lengths, *us.shape[:2])
    read = before(as_read(cell, us), lengths)
    xs = unroll(cell, params["cell"], read, x_0=x_0, lengths=lengths)
    mask = step_mask(lengths, *us.shape[:2]) if readout.masked else None
    return readout.read(params["readout"], cell.output(xs), mask)

  return Model(init, apply, cell, readout, before)
