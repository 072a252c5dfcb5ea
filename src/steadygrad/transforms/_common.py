"""What several links need: argument checks, and writing at paths of a tree."""

import jax
import numpy as np

from steadygrad import trees


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
