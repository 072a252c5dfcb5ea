"""Values that differ from device to device inside `jax.shard_map`.

There JAX knows over which axes of the mesh each value varies, and refuses a
loop whose carry begins as a constant, or as the same on all devices, and then
depends on a device's own sequences. What a loop begins with is made `alike`
here. Outside of `shard_map`, and under its check_vma=False, nothing varies and
every function of this module returns what it is given.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from steadygrad.types import Array, PyTree


def axes(*trees: PyTree) -> frozenset:
  """The mesh axes over which a leaf varies; leaves may be abstract."""
  # Where a JAX does not tell, it has no check that could fail either.
  kinds = [
    getattr(jax.typeof(x), "manual_axis_type", None)
    for x in jax.tree.leaves(trees)
    if hasattr(x, "dtype")
  ]
  return frozenset().union(*[k.varying for k in kinds if k is not None])


def alike(tree: PyTree, *others: PyTree) -> PyTree:
  """`tree` with leaves that vary wherever one of it or of the others does.

  It moves no data. Its transpose is a sum over the devices, as it is where JAX
  casts by itself: once for all steps of a loop, if it is done before the loop.
  """
  wanted = axes(tree, others)

  def cast(x):
    missing = tuple(sorted(wanted - axes(x))) if hasattr(x, "dtype") else ()
    return jax.lax.pcast(x, missing, to="varying") if missing else x

  return jax.tree.map(cast, tree) if wanted else tree


def abstract_like(
  shapes: Sequence[jax.ShapeDtypeStruct], x: Array
) -> list[jax.ShapeDtypeStruct]:
  """Shapes of results that vary as `x` does; Pallas wants to be told."""
  kind = getattr(jax.typeof(x), "manual_axis_type", None)
  if kind is None:
    return list(shapes)
  return [shape.update(manual_axis_type=kind) for shape in shapes]


def summed(x: Array, over: frozenset) -> Array:
  """Sum of the devices' arrays over some axes of the mesh."""
  return jax.lax.psum(x, tuple(sorted(over))) if over else x


def summed_like(cotangents: PyTree, primals: PyTree) -> PyTree:
  """The devices' shares of a cotangent, summed where the primal is shared.

  What `jax.grad` does by itself. Integers and booleans are zeros of their own.
  """

  def total(x, primal):
    over = axes(x) - axes(primal)
    if over and not jnp.issubdtype(x.dtype, jnp.inexact):
      return jnp.zeros_like(primal)
    return summed(x, over)

  return jax.tree.map(total, cotangents, primals)


def num_devices(over: frozenset) -> int:
  """How many devices lie along some axes of the mesh."""
  return math.prod(jax.lax.axis_size(axis) for axis in over)
