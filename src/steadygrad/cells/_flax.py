"""What the adapters of both APIs of Flax ask of a cell."""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import errors

from steadygrad import _validate
from steadygrad.types import PyTree


def check_arguments(cell, kind: type, api: str, input_size: int) -> None:
  """ValueError unless it is a cell of that API with one feature axis."""
  if not isinstance(cell, kind):
    raise ValueError(f"cell must be {api} RNNCellBase, got {type(cell)}")
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


def no_random_numbers(name: str, told) -> ValueError:
  """What is raised of a cell that draws some at every step."""
  return ValueError(
    f"{name} wants random numbers at every step, as dropout does, and a Cell"
    f" has none: {told}"
  )


@contextlib.contextmanager
def traced(name: str):
  """What a trace of the cell raises, as a ValueError that names the cell."""
  try:
    yield
  except errors.InvalidRngError as error:
    raise no_random_numbers(name, error) from error
  except Exception as error:
    raise ValueError(f"{name} does not run as a Cell: {error}") from error


def find_output(
  name: str,
  params: PyTree,
  initial_state: Callable,
  apply: Callable,
  input_size: int,
) -> int | None:
  """Which leaf of the new carry is the output, found in a jaxpr; or None.

  ValueError unless the leaves of the carry are [B, ...] and stay so.
  """
  sizes = (2, 3)
  u_t = jax.ShapeDtypeStruct((sizes[0], input_size), jnp.result_type(float))
  with traced(name):
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


def output_of(name: str, output: Callable | None, leaf: int | None) -> Callable:
  """The function from the carry to what the readout sees."""
  if output is not None:
    return output
  if leaf is None:
    raise ValueError(
      f"the output of {name} is no leaf of its carry; pass output=, a function"
      " from the carry to what the readout shall see"
    )
  return lambda x: jax.tree.leaves(x)[leaf]


def _shapes(tree):
  return jax.tree.map(lambda x: x.shape, tree)
