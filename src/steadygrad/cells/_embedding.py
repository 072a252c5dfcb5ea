"""A cell without memory: the state is the input of the step, embedded."""

import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.numerics import add, matmul
from steadygrad.types import Cell


def embedding(input_size: int, hidden_size: int) -> Cell:
  """x_t = u_t w_in + b, for a readout that looks at all steps.

  Nothing is sent back through it: its error signals are those of the readout.

  Args:
    input_size: M.
    hidden_size: N.

  Raises:
    ValueError: on a size under 1.
  """
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("hidden_size", hidden_size)

  def init(key):
    fan_in = jax_initializers.lecun_normal()
    return {
      "w_in": fan_in(key, (input_size, hidden_size)),
      "b": jnp.zeros(hidden_size),
    }

  def initial_state(params, batch_size):
    return jnp.zeros((batch_size, hidden_size), params["w_in"].dtype)

  def step(params, x_tm1, u_t):
    x_t = add(matmul(u_t, params["w_in"]), params["b"])
    return x_t.astype(x_tm1.dtype)

  return Cell(init, initial_state, step, lambda x: x)
