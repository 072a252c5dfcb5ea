"""What links need: checks of arguments and updates, writing at paths."""

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import trees
from steadygrad.types import Array


def check_not_negative(name: str, value) -> None:
  """ValueError if a concrete value is negative or NaN; traced ones pass."""
  if isinstance(value, jax.core.Tracer):
    return
  if np.ndim(value) != 0 or not np.asarray(value) >= 0:
    raise ValueError(
      f"{name} must be a number that is not negative, got {value}"
    )


def leaves_by_path(tree, below: tuple[str, ...] = ()) -> dict:
  """{path: leaf} with paths as tuples of names, moved below a prefix.

  None leaves and `optax.MaskedNode`s hold no leaf and do not appear.
  """
  return {tuple(below) + path: x for path, x in trees.named_leaves(tree)}


def write_paths(updates, additions: dict, combine):
  """`combine(update, addition)` at the leaves whose path is in `additions`.

  Args:
    updates: any tree; its structure and dtypes are kept. Leaves missing from it
      (as under `optax.masked`) are left missing, and those without a derivative
      as they are.
    additions: {path: leaf}, see `leaves_by_path`.
    combine: (update, addition) -> update.

  Returns:
    A tree like `updates`.

  Raises:
    ValueError: if no leaf is in both, which would silently do nothing.
  """
  leaves, numbers = trees.numbered(updates)
  paths = leaves_by_path(numbers)
  if not set(paths) & set(additions):
    raise ValueError(
      f"the updates have none of the leaves {sorted(additions)}; they have"
      f" {sorted(paths)}. Does `at` name the path of the parameters?"
    )
  for path, number in paths.items():
    leaf = leaves[number]
    if path in additions and trees.is_inexact(leaf):
      leaves[number] = combine(leaf, additions[path]).astype(leaf.dtype)
  return jax.tree.map(leaves.__getitem__, numbers)


def points_down(updates, gradients: dict) -> Array:
  """Whether the updates are steps down the loss already: bool [].

  So it is at the first update of every usual optimiser. A gradient that was
  clipped, or averaged over batches, has some sign in common with this one.

  Args:
    updates: any tree.
    gradients: {path: leaf}, see `leaves_by_path`; other leaves are left aside.
  """
  signs = [
    jnp.sign(u) * jnp.sign(gradients[path]).astype(u.dtype)
    for path, u in trees.named_leaves(updates)
    if path in gradients and jnp.issubdtype(u.dtype, jnp.floating)
  ]
  along, against = jnp.array(False), jnp.array(False)
  for sign in signs:
    along |= jnp.any(sign > 0)
    against |= jnp.any(sign < 0)
  return against & ~along
