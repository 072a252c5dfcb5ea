"""States of any structure as vectors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import Array, Cell, PyTree


def flatten(state: PyTree, batch_ndim: int = 1) -> Array:
  """Leaves [*batch, ...] as one array [*batch, N].

  Raises:
    ValueError: if there is no leaf, or one is not real floating-point: a
      Jacobian in it would be wrong without a word.
  """
  leaves = jax.tree.leaves(state)
  if not leaves:
    raise ValueError("the state has no leaves")
  for leaf in leaves:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
      raise ValueError(
        f"states must be floating-point, got {jnp.result_type(leaf)}"
      )
  dtype = jnp.result_type(*leaves)
  flat = [
    jnp.reshape(x, jnp.shape(x)[:batch_ndim] + (-1,)).astype(dtype)
    for x in leaves
  ]
  return jnp.concatenate(flat, -1)


def unflattener(like: PyTree) -> Callable[[Array], PyTree]:
  """The inverse of `flatten` for batches of one: [N] -> leaves [1, ...].

  Args:
    like: a state, leaves [B, ...]; only shapes and dtypes are read.
  """
  leaves, structure = jax.tree.flatten(like)
  shapes = [(1,) + jnp.shape(x)[1:] for x in leaves]
  ends = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]

  def unflatten(x):
    pieces = jnp.split(x, ends)
    pieces = [
      p.reshape(s).astype(jnp.result_type(leaf))
      for p, s, leaf in zip(pieces, shapes, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, pieces)

  return unflatten


def flat_step(cell: Cell, params: PyTree, like: PyTree) -> Callable:
  """The cell's step for one sequence on vectors: (x [N], u [M]) -> [N].

  Args:
    cell: the cell.
    params: its parameters.
    like: a state of it, leaves [B, ...]; only shapes and dtypes are read.
  """
  unflatten = unflattener(like)

  def step(x_tm1, u_t):
    return flatten(cell.step(params, unflatten(x_tm1), u_t[None]))[0]

  return step
