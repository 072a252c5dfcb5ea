"""Any Flax linen `RNNCellBase` as a `Cell`."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from steadygrad import _validate
from steadygrad.types import Cell


def linen(
  cell: nn.RNNCellBase, input_size: int, *, output=None, seed: int = 0
) -> Cell:
  """Adapts a Flax cell: the carry is the state, the parameters are its own.

  Args:
    cell: e.g. `nn.GRUCell(features=32)`; LSTM carries are tuples.
    input_size: M.
    output: carry -> [B, N], what the readout sees. If None it is the leaf of
      the carry that the cell also returns as its output, which is looked for
      in a trace (it exists in every cell that Flax brings).
    seed: of the key that Flax wants for the initial carry.

  Returns:
    A `Cell` without a fused pair. Its Omega uses the joint norm over the leaves
    of the carry and differentiates the whole step.

  Raises:
    ValueError: if `cell` is not a Flax cell, or the cell's output is no leaf of
      its new carry and no `output` was given.
  """
  if not isinstance(cell, nn.RNNCellBase):
    raise ValueError(f"cell must be a linen RNNCellBase, got {type(cell)}")
  _validate.check_integer("input_size", input_size)
  key_carry = jax.random.key(seed)

  def carry(batch_size):
    return cell.initialize_carry(key_carry, (batch_size, input_size))

  def init(key):
    return cell.init(key, carry(1), jnp.zeros((1, input_size)))["params"]

  def initial_state(params, batch_size):
    del params
    return carry(batch_size)

  def step(params, x_tm1, u_t):
    return cell.apply({"params": params}, x_tm1, u_t)[0]

  if output is None:
    leaf = _output_leaf(cell, init, carry, input_size)

    def output(x_t):
      return jax.tree.leaves(x_t)[leaf]

  return Cell(init, initial_state, step, output)


def _output_leaf(cell, init, carry, input_size) -> int:
  """Which leaf of the new carry is the cell's output, found in a jaxpr."""

  def apply(params, x_tm1, u_t):
    x_t, y_t = cell.apply({"params": params}, x_tm1, u_t)
    return jax.tree.leaves(x_t), y_t

  params = jax.eval_shape(init, jax.random.key(0))
  u_t = jax.ShapeDtypeStruct((1, input_size), jnp.result_type(float))
  x_tm1 = jax.eval_shape(lambda: carry(1))
  *leaves, y_t = jax.make_jaxpr(apply)(params, x_tm1, u_t).jaxpr.outvars
  for i, leaf in enumerate(leaves):
    if leaf is y_t:
      return i
  raise ValueError(
    f"the output of {type(cell).__name__} is no leaf of its carry; pass"
    " output=, a function from the carry to what the readout shall see"
  )
