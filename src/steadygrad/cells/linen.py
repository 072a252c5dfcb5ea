"""A Flax linen `RNNCellBase` as a `Cell`."""

import contextlib

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from steadygrad import _validate, trees
from steadygrad.types import Cell


def linen(
  cell: nn.RNNCellBase, input_size: int, *, output=None, seed: int = 0
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
  """
  _check_arguments(cell, input_size)
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
  leaf = _check_step(name, params, initial_state, apply, input_size)
  if output is not None:
    return Cell(init, initial_state, step, output)
  if leaf is None:
    raise ValueError(
      f"the output of {name} is no leaf of its carry; pass output=, a function"
      " from the carry to what the readout shall see"
    )
  return Cell(init, initial_state, step, lambda x: jax.tree.leaves(x)[leaf])


def _check_arguments(cell, input_size) -> None:
  if not isinstance(cell, nn.RNNCellBase):
    raise ValueError(f"cell must be a linen RNNCellBase, got {type(cell)}")
  _validate.check_integer("input_size", input_size)
  try:
    axes = cell.num_feature_axes
  except NotImplementedError:
    axes = "none"
  if axes != 1:
    raise ValueError(
      f"{type(cell).__name__} must have num_feature_axes 1, got {axes}: inputs"
      " are [B, M], and a cell with axes of space would take B for one of them"
    )


@contextlib.contextmanager
def _traced(name):
  """What a trace of the cell raises, as a ValueError that names the cell."""
  try:
    yield
  except errors.InvalidRngError as error:
    raise ValueError(
      f"{name} wants random numbers at every step, as dropout does, and a Cell"
      f" has none: {error}"
    ) from error
  except Exception as error:
    raise ValueError(f"{name} does not run as a Cell: {error}") from error


def _check_variables(name, variables):
  """Shapes of the parameters."""
  with _traced(name):
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


def _check_step(name, params, initial_state, apply, input_size) -> int | None:
  """Which leaf of the new carry is the output, found in a jaxpr; or None.

  ValueError unless the leaves of the carry are [B, ...] and stay so.
  """
  sizes = (2, 3)
  u_t = jax.ShapeDtypeStruct((sizes[0], input_size), jnp.result_type(float))
  with _traced(name):
    starts = [
      jax.eval_shape(lambda p, b=b: initial_state(p, b), params) for b in sizes
    ]
    x_0 = starts[0]
    jaxpr, (x_1, _) = jax.make_jaxpr(apply, return_shape=True)(params, x_0, u_t)
  for batch_size, start in zip(sizes, starts, strict=True):
    if any(x.shape[:1] != (batch_size,) for x in jax.tree.leaves(start)):
      raise ValueError(
        f"leaves of the carry of {name} must be [B, ...], got {_shapes(start)}"
        f" for B = {batch_size}"
      )
  if _shapes(x_0) != _shapes(x_1):
    raise ValueError(
      f"the carry of {name} must keep its shapes, got {_shapes(x_0)} before a"
      f" step and {_shapes(x_1)} after it"
    )
  outvars = jaxpr.jaxpr.outvars
  number = len(jax.tree.leaves(x_1))
  places = [i for i, leaf in enumerate(outvars[:number]) if leaf is outvars[-1]]
  return places[0] if places else None


def _shapes(tree):
  return jax.tree.map(lambda x: x.shape, tree)
