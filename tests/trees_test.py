"""Trees: leaves without a derivative, names in mappings of any type."""

import collections
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import FrozenDict

from steadygrad import trees


class Record(Mapping):
  """A mapping whose children JAX knows by their order alone."""

  def __init__(self, **items):
    self._items = items

  def __getitem__(self, name):
    return self._items[name]

  def __iter__(self):
    return iter(self._items)

  def __len__(self):
    return len(self._items)


jax.tree_util.register_pytree_node(
  Record,
  lambda r: (tuple(r.values()), tuple(r)),
  lambda names, values: Record(**dict(zip(names, values, strict=True))),
)


def _backwards(items):
  return dict(sorted(items.items(), reverse=True))


# Of {name: tree}; two of them hold their names in an order of their own.
MAPPINGS = {
  "dict": dict,
  "frozen": FrozenDict,
  "ordered": lambda items: collections.OrderedDict(_backwards(items)),
  "record": lambda items: Record(**_backwards(items)),
  "state": nnx.State,
}

every_mapping = pytest.mark.parametrize("mapping", sorted(MAPPINGS))


def converted(mapping: str, tree, depth: int = 9):
  """Nested dicts as nested mappings of a type, down to a depth."""
  if not isinstance(tree, dict) or not depth:
    return tree
  below = {k: converted(mapping, v, depth - 1) for k, v in tree.items()}
  return MAPPINGS[mapping](below)


TREE = {"a": {"x": 1.0, "y": [2.0, {"z": 3.0}]}, "b": {"x": 4.0}}


@every_mapping
def test_leaves_are_found_by_name(mapping):
  tree = converted(mapping, TREE | {"none": None})
  named = dict(trees.named_leaves(tree))
  assert named == {
    ("a", "x"): 1.0,
    ("a", "y", "0"): 2.0,
    ("a", "y", "1", "z"): 3.0,
    ("b", "x"): 4.0,
  }
  assert trees.as_dicts(converted(mapping, {"a": {"x": 1}})) == {"a": {"x": 1}}


@every_mapping
def test_parts_are_placed_by_name(mapping):
  tree = converted(mapping, TREE)
  placed = trees.place(tree, {"b": converted(mapping, {"x": 7.0})}, lambda _: 0)
  assert jax.tree.structure(placed) == jax.tree.structure(tree)
  named = dict(trees.named_leaves(placed))
  assert named.pop(("b", "x")) == 7.0
  assert set(named.values()) == {0}


def test_a_part_of_another_shape_is_refused():
  with pytest.raises(ValueError):
    trees.place(TREE, {"b": {"x": 1.0, "more": 2.0}})


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint32"])
def test_pull_back_through_leaves_without_a_derivative(dtype):
  """They have zeros of their own dtype; the others what `jax.grad` gives."""
  mask = jnp.array([1, 0, 1], dtype)
  w = jnp.array([2.0, 3.0, 5.0])

  def fn(tree, scale):
    kept = tree["w"] * tree["mask"] * scale
    return {"kept": kept, "mask": tree["mask"]}

  outputs, pull = trees.vjp(fn, {"w": w, "mask": mask}, 2.0)
  given = {"kept": jnp.ones(3), "mask": jnp.ones(3, dtype)}
  tree, scale = pull(given)
  assert outputs["mask"].dtype == tree["mask"].dtype == dtype
  np.testing.assert_array_equal(tree["mask"], np.zeros(3, dtype))
  np.testing.assert_array_equal(tree["w"], [2.0, 0.0, 2.0])
  assert scale == 7.0


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_prng_key_is_named(impl):
  key = jax.random.key(0, impl=impl)
  with pytest.raises(ValueError, match=r"params.*key<.*params\['a'\]\[1\]"):
    trees.check_no_keys("params", {"a": [1.0, key]})
  trees.check_no_keys("params", {"a": [1.0, 2, jax.random.key_data(key)]})
