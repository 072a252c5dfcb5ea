"""What links need: checks of arguments and updates, writing at paths."""

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, trees
from steadygrad.types import Array, PyTree


def check_rate(name: str, value) -> None:
  """ValueError unless it is a schedule, or a finite number of at least 0."""
  if not callable(value):
    _validate.check_number(name, value)


def check_path(name: str, path) -> None:
  """ValueError unless it is a tuple of names."""
  if not isinstance(path, tuple) or not all(isinstance(n, str) for n in path):
    raise ValueError(f"{name} must be a tuple of names, got {path!r}")


def check_names(name: str, value) -> None:
  """ValueError for a text where a collection of names is meant."""
  if isinstance(value, str):
    raise ValueError(f"{name} must be a collection of names, got {value!r}")


def check_transformation(name: str, value) -> None:
  """ValueError unless it is an Optax transformation."""
  if not isinstance(value, optax.GradientTransformation):
    raise ValueError(
      f"{name} must be an Optax transformation, got {type(value)}"
    )


def choose(condition: Array, tree: PyTree, otherwise: PyTree) -> PyTree:
  """The one tree or the other; nothing is done for leaves that are one."""
  return jax.tree.map(
    lambda x, y: x if x is y else jnp.where(condition, x, y), tree, otherwise
  )


def zeros(updates: PyTree) -> PyTree:
  """Zeros for the leaves that have a derivative; the others stay."""
  return jax.tree.map(
    lambda u: jnp.zeros_like(u) if trees.is_inexact(u) else u, updates
  )


def counted(count: Array, seen: Array, wrap: int | None = None) -> Array:
  """A counter of what was seen, int32; of a ring it stays within two rounds."""
  more = jnp.asarray(optax.safe_increment(count))
  if wrap is not None:  # Twice the window and once mean the same.
    more = jnp.where(more >= 2 * wrap, more - wrap, more)
  return jnp.where(seen, more, count)


def check_arrays(name: str, tree) -> None:
  """ValueError if a leaf is no array, as a Python number is none."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not hasattr(leaf, "dtype"):
      raise ValueError(
        f"{name} must be arrays, got {leaf!r} at {jax.tree_util.keystr(path)}"
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
