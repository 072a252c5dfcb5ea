"""States of any structure as vectors, and the checks that analyses share."""

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


def is_concrete(*trees: PyTree) -> bool:
  """Whether no leaf is traced, so that values may be looked at."""
  leaves = jax.tree.leaves(trees)
  return not any(isinstance(x, jax.core.Tracer) for x in leaves)


def check_finite(name: str, tree: PyTree) -> None:
  """ValueError if a concrete leaf holds inf or NaN; traced ones pass."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if is_concrete(leaf) and not np.isfinite(leaf).all():
      where = jax.tree_util.keystr(path)
      raise ValueError(f"{name}{where} is not finite")


def check_square(name: str, w: Array, ndim: int | None = 2) -> None:
  """ValueError unless w is [..., N, N], with `ndim` axes where given."""
  shape = jnp.shape(w)
  fits = ndim is None or len(shape) == ndim
  if not fits or len(shape) < 2 or shape[-1] != shape[-2]:
    raise ValueError(f"{name} must be square [..., N, N], got shape {shape}")


def check_positive(name: str, value: int) -> None:
  """ValueError unless a static count is an integer of at least 1."""
  if isinstance(value, bool) or int(value) != value or value < 1:
    raise ValueError(f"{name} must be an integer of at least 1, got {value}")
