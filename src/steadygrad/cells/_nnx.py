"""A Flax NNX `RNNCellBase` as a `Cell`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax import nnx as flax_nnx

from steadygrad import trees
from steadygrad.cells import _flax
from steadygrad.types import Array, Cell, PyTree


def nnx(
  module: flax_nnx.RNNCellBase | Callable[..., flax_nnx.RNNCellBase],
  input_size: int,
  *,
  output: Callable[[PyTree], Array] | None = None,
  seed: int = 0,
) -> Cell:
  """Adapts a Flax NNX cell: the carry is the state, parameters are its own.

  They are its `nnx.Param`s, a dict of dicts of arrays. The module itself is
  never written: it is split once, and each step runs on a copy that is merged
  from its structure and the parameters that come. Hence a `State` of it,
  `nnx.state(module, nnx.Param)`, serves for `params` too.

  Refused, as `linen` does: random numbers at every step, as of dropout, and
  variables that are no parameters, as `nnx.BatchStat`. Streams of random
  numbers may be there that no step draws from, as of a deterministic
  `nnx.Dropout`. The sequences of a batch must not see each other.

  Args:
    module: the cell, or a function that makes it of `rngs=nnx.Rngs(...)`, as
      `functools.partial(nnx.GRUCell, 3, 32)`. Of a function `Cell.init` makes
      new parameters for every key. Of a module it gives those that it has
      now, whatever the key: seeds need the function.
    input_size: M.
    output: carry -> [B, N], what the readout sees. If None it is the leaf of
      the carry that the cell also returns as its output.
    seed: of the key that Flax wants for the initial carry.

  Returns:
    A `Cell` without a fused pair. Its Omega uses the joint norm over the leaves
    of the carry and differentiates the whole step.

  Raises:
    ValueError: if `module` is no NNX cell and makes none, has other than one
      feature axis, no parameters, other variables than parameters, or random
      numbers in its step; if its carry is not [B, ...] or changes its shape; or
      if its output is no leaf of its new carry and no `output` was given.
      Nothing is compiled before.

  >>> import functools, jax
  >>> from flax import nnx
  >>> from steadygrad import cells
  >>> cell = cells.nnx(functools.partial(nnx.GRUCell, 3, 4), 3)
  >>> params = cell.init(jax.random.key(0))
  >>> params["dense_h"]["kernel"].shape
  (4, 12)
  >>> x_0 = cell.initial_state(params, 2)
  >>> cell.step(params, x_0, jax.numpy.ones((2, 3))).shape
  (2, 4)
  """
  make = None if isinstance(module, flax_nnx.Module) else module
  own_module: Any = module if make is None else _made(make, flax_nnx.Rngs(0))
  _flax.check_arguments(own_module, flax_nnx.RNNCellBase, "an NNX", input_size)
  name = type(own_module).__name__
  split: Any = flax_nnx.split(own_module, flax_nnx.Param, ...)
  structure, own, rest = split
  _check_variables(name, own, rest)
  params, rest = map(flax_nnx.to_pure_dict, (own, rest))

  def merged(params) -> Any:
    return flax_nnx.merge(structure, trees.as_dicts(params), rest)

  def init(key):
    if make is None:
      return jax.tree.map(jnp.copy, params)
    new = _made(make, flax_nnx.Rngs(key))
    return flax_nnx.to_pure_dict(flax_nnx.state(new, flax_nnx.Param))

  def initial_state(params, batch_size):
    rngs = flax_nnx.Rngs(seed)
    return merged(params).initialize_carry((batch_size, input_size), rngs)

  def step(params, x_tm1, u_t):
    return merged(params)(x_tm1, u_t)[0]

  drew = []  # Whether the step drew random numbers, which Flax counts.

  def watched(params, x_tm1, u_t):
    copy = merged(params)
    result = copy(x_tm1, u_t)
    after: Any = flax_nnx.split(copy, flax_nnx.Param, ...)[2]
    after = flax_nnx.to_pure_dict(after)
    same = jax.tree.map(lambda x, y: x is y, after, rest)
    drew.append(not all(jax.tree.leaves(same)))
    return result

  leaf = _flax.find_output(name, params, initial_state, watched, input_size)
  if any(drew):
    raise _flax.no_random_numbers(name, "its RngState changed")
  output = _flax.output_of(name, output, leaf)
  return Cell(init, initial_state, step, output)


def _made(make: Any, rngs: flax_nnx.Rngs) -> Any:
  """The cell of a function; itself where it is none."""
  if not callable(make) or isinstance(make, type | linen.Module):
    return make
  return make(rngs=rngs)


def _check_variables(name, params, rest) -> None:
  """ValueError unless there are parameters, and nothing that steps write."""
  others = sorted(
    {
      type(variable).__name__
      for _, variable in flax_nnx.to_flat_state(rest)
      if not isinstance(variable, flax_nnx.RngState)
    }
  )
  if others:
    raise ValueError(
      f"{name} must have no variables but parameters, got {others}: a Cell"
      " carries none from step to step"
    )
  if not jax.tree.leaves(params):
    raise ValueError(f"{name} must have parameters, got none")
