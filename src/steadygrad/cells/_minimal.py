"""The minimal gated recurrent unit (minGRU, arXiv 2410.01201), in a block.

Its gate and its candidate do not look at the state, so that the recurrence is
linear in it:

  z_t = sigmoid(v_t w_z + b_z)
  x_t = (1 - z_t) ∘ x_{t-1} + z_t ∘ g(v_t w_h),   g(a) = a + 1/2 for a >= 0,
                                                  else sigmoid(a)
  s_t = gelu(x_t w_out + d ∘ v_t)

with v_t and y_t as in the block around `lru`. One layer cannot choose what it
keeps by what it has kept: that takes a second one on top, `cells.stack`.
"""

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.cells import _block, gated
from steadygrad.numerics import add, matmul, times
from steadygrad.types import Array, Cell, PyTree


def mingru(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float | str = 1.0,
  memory: int | None = None,
) -> Cell:
  """A block around a minimal gated recurrent unit, see the module docstring.

  The state is `{"x": [B, N], "y": [B, N]}`; what is read, "y", does not feed
  back.

  Args:
    input_size: M.
    hidden_size: N, width of the block and of the state.
    forget_bias: where -b_z starts, as of `gru`: a number, or "chrono".
    memory: T, for "chrono" alone.

  Raises:
    ValueError: as `gru`.
  """
  _validate.check_integer("input_size", input_size)
  gated.check_bias(hidden_size, forget_bias, memory)
  fan_in = jax_initializers.lecun_normal()
  square = hidden_size, hidden_size

  def init(key):
    keys = jax.random.split(key, 6)
    bias = gated.draw_bias(keys[5], hidden_size, forget_bias, memory)
    return _block.init_block(keys[0], keys[1], input_size, hidden_size) | {
      "w_z": fan_in(keys[2], square),
      "b_z": -bias,
      "w_h": fan_in(keys[3], square),
      "w_out": fan_in(keys[4], square),
      "d": jnp.ones(hidden_size),
    }

  def initial_state(params, batch_size):
    zeros = jnp.zeros((batch_size, hidden_size), params["w_z"].dtype)
    return {"x": zeros, "y": zeros}

  def step(params, state, u_t):
    e, v, kept, new = _before(params, u_t)
    x_t = (times(kept, state["x"]) + new).astype(state["x"].dtype)
    y_t = _after(params, e, v, x_t)
    return {"x": x_t, "y": y_t.astype(state["y"].dtype)}

  feeds = {"x": True, "y": False}
  return Cell(init, initial_state, step, lambda x: x["y"], feeds_back=feeds)


def mingru_in_parallel(params: PyTree, us: Array) -> Array:
  """Outputs of `mingru` from a state of zeros, all steps at once, [T, B, N].

  By an associative scan over pairs (a_t, b_t) of x_t = a_t ∘ x_{t-1} + b_t. The
  factors lie in [0, 1] and nothing is divided by their product, so that they
  need no logarithms: a product that underflows is a part of the state that is
  forgotten. (The paper takes logarithms for a sum over b_t / Π a.)

  `adjoints` goes step by step, and this function is an oracle for it. On one
  core of a CPU steps are faster, since the numbers of a step stay in its cache:
  with passes of this form an update of `lru` (N = 50, B = 20) took 1.4 times as
  long at T = 100, and 2.1 times at T = 1000. On a GPU it is not measured.

  Args:
    params: of the cell.
    us: [T, B, M].
  """
  e, v, kept, new = _before(params, us)

  def after(left, right):
    (a_1, b_1), (a_2, b_2) = left, right
    return a_2 * a_1, a_2 * b_1 + b_2

  _, xs = jax.lax.associative_scan(after, (kept, new))
  return _after(params, e, v, xs)


def _before(params: PyTree, us: Array) -> tuple[Array, ...]:
  """(e, v, 1 - z, z ∘ g) of inputs [..., M]."""
  e, v = _block.enter(params, us)
  opened = add(matmul(v, params["w_z"]), params["b_z"])
  a = matmul(v, params["w_h"])
  candidate = jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))
  # 1 - z by itself would lose what is left of it where z is nearly 1.
  kept = jax.nn.sigmoid(-opened)
  return e, v, kept, jax.nn.sigmoid(opened) * candidate


def _after(params: PyTree, e: Array, v: Array, xs: Array) -> Array:
  """y of states [..., N]."""
  through = matmul(xs, params["w_out"]) + times(v, params["d"])
  return _block.leave(params, e, jax.nn.gelu(through))
