"""What all rules of clipping share: the norm, a rescaling, and the state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import numerics, trees, varying
from steadygrad.transforms import _common
from steadygrad.types import Array, PyTree


class Norm(NamedTuple):
  """A joint norm in factors that neither overflow nor underflow.

  Attributes:
    scale: largest magnitude [], see `numerics.scaled_squares`.
    root: norm / scale, 1 where the norm is zero, [].
    value: the norm [], in float32 (float64 for float64).
    finite: whether it is, bool [].
  """

  scale: Array
  root: Array
  value: Array
  finite: Array


class RuleState(NamedTuple):
  """State of the rules but for Algorithm 1: the last update, and a memory.

  Attributes:
    gradient_norm: joint norm before the rule, float32 (float64 for float64) [].
    measured: what the rule compares with its threshold, as `gradient_norm`.
    threshold: what it was compared with, likewise; inf where nothing yet.
    clipped: whether the rule changed the updates, bool [].
    skipped: whether it made zeros of them, bool [].
    warming_up: whether its statistics are still too few to act on, bool [].
    finite: whether `gradient_norm` was finite, bool [].
    memory: what the rule knows of earlier updates; () where nothing.
  """

  gradient_norm: Array
  measured: Array
  threshold: Array
  clipped: Array
  skipped: Array
  warming_up: Array
  finite: Array
  memory: PyTree = ()

  def metrics(self) -> dict[str, Array]:
    """What `telemetry` shows."""
    shown = self._asdict()
    del shown["memory"]
    return shown


def start(params: PyTree, memory: Callable | None = None) -> RuleState:
  """The state before the first update; memory: dtype of norms -> tree."""
  dtype = numerics.accumulator_dtype(*trees.inexact_leaves(params))
  zero, no, yes = jnp.zeros([], dtype), jnp.array(False), jnp.array(True)
  state = RuleState(zero, zero, zero, no, no, no, yes)
  if memory is not None:
    state = state._replace(memory=memory(dtype))
  return varying.alike(state, params)


def told(state: RuleState, norm: Norm, **changes) -> RuleState:
  """`state` after an update with this norm, in the dtypes that it has.

  What is not in `changes` is False, the norm, or the memory as it was.
  """
  blank = {"clipped": False, "skipped": False, "warming_up": False}
  blank |= {"gradient_norm": norm.value, "measured": norm.value}
  blank |= {"finite": norm.finite, "memory": state.memory}
  new = state._replace(**blank | changes)
  new = jax.tree.map(lambda old, x: jnp.asarray(x, old.dtype), state, new)
  return varying.alike(new, state)


def measure(tree: PyTree) -> Norm:
  """The joint norm over the leaves that have a derivative."""
  scale, squares = numerics.scaled_squares(trees.inexact_leaves(tree))
  zero = squares == 0
  root = jnp.sqrt(jnp.where(zero, 1, squares))
  value = jnp.where(zero, 0 * squares, scale * root)
  return Norm(scale, root, value, jnp.isfinite(value))


def rescale(tree: PyTree, norm: Norm, limit: Array, where: Array) -> PyTree:
  """The tree at norm `limit` where `where` says so, else to the bit.

  u / scale lies in [-4, 4] and limit / root in the range of limit: neither
  overflows, where limit / norm might underflow and u · limit overflow. A limit
  of inf has a derivative too: 0, and not 0 · inf.

  Args:
    tree: updates, or one leaf of them.
    norm: theirs; `scale` and `root` may have the shape of a leaf.
    limit: not negative, in the norm's dtype.
    where: bool, of the limit's shape.
  """
  factor = jnp.where(where, jnp.where(where, limit, 1) / norm.root, 1)

  def one(u):
    if not trees.is_inexact(u):
      return u
    wide = numerics.common_dtype(u.dtype, norm.value.dtype)
    small = jnp.where(where, u.astype(wide) / norm.scale.astype(wide), 0)
    small *= factor.astype(wide)
    return jnp.where(where, small.astype(u.dtype), u)

  return jax.tree.map(one, tree)


def mapped(fn: Callable, updates: PyTree, *others) -> PyTree:
  """`fn(leaf, *one of each other)` at the leaves that have a derivative.

  Args:
    fn: (update, ...) -> update.
    updates: any tree; its other leaves stay as they are.
    *others: sequences, with an entry for each such leaf.
  """
  leaves, structure = jax.tree.flatten(updates)
  entries = iter(zip(*others, strict=True)) if others else None
  for i, leaf in enumerate(leaves):
    if trees.is_inexact(leaf):
      leaves[i] = fn(leaf, *(next(entries) if entries is not None else ()))
  return structure.unflatten(leaves)


def largest(values: list[Array], like: Array) -> Array:
  """The largest of some arrays, in the dtype of `like`; 0 of none."""
  found = [jnp.max(x, initial=0).astype(like.dtype) for x in values]
  return jnp.max(jnp.stack(found)) if found else jnp.zeros_like(like)


def at_least_0(value: float | Array, like: Array) -> Array:
  """A threshold, perhaps traced: 0 where it is negative; NaN stays."""
  return jnp.maximum(jnp.asarray(value, like.dtype), 0)


def wrapped(
  inner: optax.GradientTransformation | None,
) -> optax.GradientTransformationExtraArgs:
  """The transformation to wrap, with extra arguments; identity for None."""
  if inner is None:
    inner = optax.identity()
  _common.check_transformation("inner", inner)
  return optax.with_extra_args_support(inner)
