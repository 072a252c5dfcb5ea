"""A Flax linen `RNNCellBase` as a `Cell`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from steadygrad import trees
from steadygrad.cells import _flax
from steadygrad.types import Array, Cell, PyTree


def linen(
  cell: nn.RNNCellBase,
  input_size: int,
  *,
  output: Callable[[PyTree], Array] | None = None,
  seed: int = 0,
) -> Cell:
  """Adapts a Flax cell: the carry is the state, the parameters are its own.

  The carry may begin with parameters, if `setup` makes them. What a cell needs
  beside parameters, carry and input has no place in a `Cell`, and is refused
  here: random numbers at every step, as of dropout, and variables that are no
  parameters, as the statistics of `nn.BatchNorm`.

  A cell must not let the sequences of a batch see each other, as one would that
  subtracts their mean. Of that only what follows from its axes is found out;
  otherwise the gradients are those of another function wherever sequences have
  lengths of their own.

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
    ValueError: if `cell` is not a Flax cell, has other than one feature axis
      (`nn.ConvLSTMCell`, whose axes of space would be the batch), no
      parameters, other variables than parameters, or random numbers in its
      step; if its carry is not [B, ...] or changes its shape; or if its output
      is no leaf of its new carry and no `output` was given. Nothing is compiled
      before.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> from steadygrad.cells import linen
    >>> cell = linen(nn.GRUCell(features=8), input_size=3)
    >>> params = cell.init(jax.random.key(0))  # As Flax has them.
    >>> cell.step(params, cell.initial_state(params, 2), jnp.ones((2, 3))).shape
    (2, 8)
  """
  _flax.check_arguments(cell, nn.RNNCellBase, "a linen", input_size)
  key_carry = jax.random.key(seed)

  def carry(module, batch_size):
    return module.initialize_carry(key_carry, (batch_size, input_size))

  def first_step(module):
    # In one method with the step, for the carry may have parameters too.
    return module(carry(module, 1), jnp.zeros((1, input_size)))

  def variables(key):
    return cell.init(key, method=first_step)

  def init(key):
    return variables(key)["params"]

  def initial_state(params, batch_size):
    params = trees.as_dicts(params)
    return cell.apply({"params": params}, batch_size, method=carry)

  def apply(params, x_tm1, u_t):
    return cell.apply({"params": trees.as_dicts(params)}, x_tm1, u_t)

  def step(params, x_tm1, u_t):
    return apply(params, x_tm1, u_t)[0]

  name = type(cell).__name__
  params = _check_variables(name, variables)
  leaf = _flax.find_output(name, params, initial_state, apply, input_size)
  output = _flax.output_of(name, output, leaf)
  return Cell(init, initial_state, step, output)


def _check_variables(name, variables):
  """Shapes of the parameters."""
  with _flax.traced(name):
    found = jax.eval_shape(variables, jax.random.key(0))
  others = sorted(set(found) - {"params"})
  if others:
    raise ValueError(
      f"{name} must have no variables but parameters, got the collections"
      f" {others}: a Cell carries none from step to step"
    )
  if not jax.tree.leaves(found):
    raise ValueError(f"{name} must have parameters, got none")
  return found["params"]
