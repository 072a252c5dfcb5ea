"""Trees of parameters and states: leaves of any dtype, mappings of any type.

Leaves that are neither floating nor complex (counters, clock phases, masks)
have no derivative. JAX stands for that with arrays of a dtype of their own,
float0, which can neither be added nor be the carry of a scan. Here it is zeros
of the leaf's own dtype, as `jax.tree.map(jnp.zeros_like, tree)` gives them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import PyTree


def is_inexact(leaf) -> bool:
  """Whether a leaf is floating or complex, so that it has a derivative."""
  dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
  return jnp.issubdtype(dtype, jnp.inexact)


def inexact_leaves(tree: PyTree) -> list:
  """The leaves that have a derivative, and hence count in norms."""
  return [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]


def check_no_keys(name: str, tree: PyTree) -> None:
  """ValueError if a leaf is a typed PRNG key: no zero is of its dtype."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
      raise ValueError(
        f"{name} must hold no PRNG keys, got {dtype} at"
        f" {name}{jax.tree_util.keystr(path)}; the integers that"
        " jax.random.key_data makes of a key are allowed"
      )


def zeros_where_exact(cotangents: PyTree, primals: PyTree) -> PyTree:
  """Cotangents as JAX gives them, with zeros like the primal for float0."""
  return jax.tree.map(
    lambda x, c: c if is_inexact(x) else jnp.zeros_like(x), primals, cotangents
  )


def vjp(fn: Callable, *primals: PyTree) -> tuple[PyTree, Callable]:
  """`jax.vjp` for trees with leaves of any dtype, on both sides.

  Args:
    fn: a function of `primals`.
    *primals: trees of arrays.

  Returns:
    (outputs, pull), where `pull` takes a tree like the outputs to a tuple of
    trees like the primals, leaves in the dtypes of these. What it is given at
    leaves without a derivative is not looked at, and what it gives is zero.
  """
  outputs, pull = jax.vjp(fn, *primals)

  def pull_back(cotangents):
    cotangents = jax.tree.map(
      lambda y, c: c if is_inexact(y) else np.zeros(y.shape, jax.dtypes.float0),
      outputs,
      cotangents,
    )
    return zeros_where_exact(pull(cotangents), primals)

  return outputs, pull_back


def is_mapping(node: PyTree) -> bool:
  """Whether a node has names: a dict, a FrozenDict, a State of Flax NNX."""
  return hasattr(node, "keys") and hasattr(node, "__getitem__")


def as_dicts(tree: PyTree) -> PyTree:
  """A mapping of mappings as a dict of dicts."""
  if not is_mapping(tree):
    return tree
  # Not every mapping iterates over its names.
  names = tree.keys()
  return {name: as_dicts(tree[name]) for name in names}


def numbered(tree: PyTree) -> tuple[list, PyTree]:
  """(leaves, a tree like `tree` of their numbers in that list).

  With it leaves are found by name, where JAX itself knows the children of a
  registered mapping by their order alone.
  """
  leaves, structure = jax.tree.flatten(tree)
  return leaves, jax.tree.unflatten(structure, range(len(leaves)))


def place(
  tree: PyTree,
  parts: dict[str, PyTree],
  otherwise: Callable[[Any], Any] = jnp.zeros_like,
) -> PyTree:
  """A tree like `tree` with `parts[name]` where that has `tree[name]`.

  Args:
    tree: any mapping that JAX knows as a tree.
    parts: {name: a tree like tree[name]}.
    otherwise: leaf of `tree` -> what stands in its place where no part does.
  """
  leaves, numbers = numbered(tree)
  found = {}
  for name, part in parts.items():
    own, structure = jax.tree.flatten(numbers[name])
    found.update(zip(own, structure.flatten_up_to(part), strict=True))
  return jax.tree.map(
    lambda i: found[i] if i in found else otherwise(leaves[i]), numbers
  )


def named_leaves(tree: PyTree) -> Iterator[tuple[tuple[str, ...], Any]]:
  """(path, leaf) of each leaf, where a path is the names on the way to it."""
  if is_mapping(tree):
    names = tree.keys()  # Not every mapping iterates over its names.
    for name in names:
      for path, leaf in named_leaves(tree[name]):
        yield (str(name), *path), leaf
    return
  flat = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_mapping)
  for keys, node in flat:
    names = tuple(jax.tree_util.keystr((k,), simple=True) for k in keys)
    if not is_mapping(node):
      yield names, node
      continue
    for path, leaf in named_leaves(node):
      yield names + path, leaf
