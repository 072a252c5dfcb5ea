"""What several links need: argument checks, and writing at paths of a tree."""

import jax
import jax.numpy as jnp

from steadygrad import _validate


def check_rate(name: str, value) -> None:
  """ValueError unless it is a schedule, or a finite number of at least 0."""
  if not callable(value):
    _validate.check_number(name, value)


def check_path(name: str, path) -> None:
  """ValueError unless it is a tuple of names."""
  if not isinstance(path, tuple) or not all(isinstance(n, str) for n in path):
    raise ValueError(f"{name} must be a tuple of names, got {path!r}")


def check_arrays(name: str, tree) -> None:
  """ValueError if a leaf is no array, as a Python number is none."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not hasattr(leaf, "dtype"):
      raise ValueError(
        f"{name} must be arrays, got {leaf!r} at {jax.tree_util.keystr(path)}"
      )


def check_inexact(name: str, tree) -> None:
  """ValueError if a leaf is neither floating nor complex."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact):
      raise ValueError(
        f"{name} must be floating-point, got {dtype} at"
        f" {jax.tree_util.keystr(path)}"
      )


def _names(path) -> tuple[str, ...]:
  return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def leaves_by_path(tree, below: tuple[str, ...] = ()) -> dict:
  """{path: leaf} with paths as tuples of names, moved below a prefix.

  None leaves and `optax.MaskedNode`s hold no leaf and do not appear.
  """
  flat = jax.tree_util.tree_leaves_with_path(tree)
  return {tuple(below) + _names(path): leaf for path, leaf in flat}


def write_paths(updates, additions: dict, combine):
  """`combine(update, addition)` at the leaves whose path is in `additions`.

  Args:
    updates: any tree; its structure and dtypes are kept. Leaves missing from it
      (as under `optax.masked`) are left missing.
    additions: {path: leaf}, see `leaves_by_path`.
    combine: (update, addition) -> update.

  Returns:
    A tree like `updates`.

  Raises:
    ValueError: if no leaf is in both, which would silently do nothing.
  """
  paths = leaves_by_path(updates)
  if not set(paths) & set(additions):
    raise ValueError(
      f"the updates have none of the leaves {sorted(additions)}; they have"
      f" {sorted(paths)}. Does `at` name the path of the parameters?"
    )

  def write(path, leaf):
    addition = additions.get(_names(path))
    if addition is None:
      return leaf
    return combine(leaf, addition).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(write, updates)
