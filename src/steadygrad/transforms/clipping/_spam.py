"""SPAM: clipped elements, and moments that start anew."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array, PyTree


class Roots(NamedTuple):
  """Memory of `spam`.

  Attributes:
    roots: of the running mean of abs(g_i)^2, for each leaf with a derivative.
    count: updates seen, int32 [].
    inner: state of the wrapped transformation.
  """

  roots: tuple[Array, ...]
  count: Array
  inner: PyTree


def spam(
  inner: optax.GradientTransformation | None = None,
  *,
  threshold: float | Array = 5000.0,
  decay: float | Array = 0.999,
  every: int | Array = 500,
  warm_up: int | Array = 150,
  grace: int | Array = 20,
) -> optax.GradientTransformationExtraArgs:
  """SPAM: elements far above their root mean square; moments that start anew.

    if abs(g_i)^2 > threshold v_i:  g_i <- sign(g_i) sqrt(threshold v_i)
    v_i <- decay v_i + (1 - decay) abs(g_i)^2

  Every `every` updates v and the moments of `inner` become zero. The rule on
  elements waits for `grace` updates after the start and after each of these,
  and the updates of `inner` are multiplied by

    1 - .99 (1 + cos(pi s / (warm_up + 1))) / 2   for s = 1 ... warm_up

  Source: Huang et al., arXiv 2501.06842, and kozistr/pytorch_optimizer. There
  the rule is a part of Adam. Here v is the rule's own, so that it composes with
  any optimiser, and the optimiser is an argument, since a link before it cannot
  reset what it holds. Adam's v is the same while its decay is. Of `inner` the
  fields mu and nu of `optax.ScaleByAdamState` and trace of `optax.TraceState`
  become zero, wherever they are. Counts stay, as in the source. Other states
  stay, and so do schedules. The source's masks, which move a part of the
  parameters, are a method of their own. One deviation: an element whose
  gradient was zero so far, as of a symbol that did not occur, has v_i = 0, and
  the source makes zeros of all its gradients until the next reset. Here it is
  not clipped before its first gradient that is not zero.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  within `grace`                          what `inner` makes of them
  an element whose gradient was always 0  passes, and is v_i's first value
  inner None                              the rule on elements, with the warm-up
                                          on gradients; no moment is reset
  elements of 1e-30 or 1e30               as any other: sqrt(v) is kept, not v
  the joint norm inf or NaN               go to `inner` as they are; v stays
  an integer leaf, a boolean one          go to `inner`; it has no v
  ======================================  ====================================

  Args:
    inner: the optimiser; None for the rule alone.
    threshold: theta, a number or a traced value.
    decay: of v, under 1; Adam's.
    every: updates from one reset to the next.
    warm_up: updates of the cosine after a reset; the source's code has 50.
    grace: updates before the rule on elements.

  Returns:
    An Optax transformation with state `RuleState`, its memory `Roots`.
    `measured` is the largest abs(g_i) / sqrt(v_i), `threshold` sqrt(theta).
  """
  inner = _measured.wrapped(inner)
  _validate.check_number("threshold", threshold, above=0)
  _validate.check_number("decay", decay, below=1)
  _validate.check_integer("every", every, traced=True)
  _validate.check_integer("warm_up", warm_up, traced=True)
  _validate.check_integer("grace", grace, 0, traced=True)

  def init(params):
    def memory(dtype):
      del dtype
      roots = [
        jnp.zeros(p.shape, numerics.accumulator_dtype(p))
        for p in trees.inexact_leaves(params)
      ]
      count = jnp.zeros([], jnp.int32)
      return Roots(tuple(roots), count, inner.init(params))

    return _measured.start(params, memory)

  def update(updates, state, params=None, **extra_args):
    _common.check_arrays("updates", updates)
    norm, memory = _measured.measure(updates), state.memory
    count = jnp.asarray(optax.safe_increment(memory.count))
    since = jnp.asarray(count % every)
    reset = since == 0
    roots = [jnp.where(reset, 0, r) for r in memory.roots]
    limit = jnp.sqrt(jnp.asarray(threshold, norm.value.dtype))
    active = norm.finite & (since >= grace)
    leaves = trees.inexact_leaves(updates)
    sizes = [
      jnp.abs(u).astype(r.dtype) for u, r in zip(leaves, roots, strict=True)
    ]
    ratios = [
      jnp.where(r > 0, x / jnp.where(r > 0, r, 1), 0)
      for x, r in zip(sizes, roots, strict=True)
    ]
    overs = [
      active & (r > 0) & (x > limit.astype(r.dtype) * r)
      for x, r in zip(sizes, roots, strict=True)
    ]

    def one(u, r, over):
      small = jnp.sign(u) * (limit.astype(r.dtype) * r).astype(u.dtype)
      return jnp.where(over, small, u)

    clipped = _measured.mapped(one, updates, roots, overs)
    kept = [
      jnp.where(over, limit.astype(r.dtype) * r, x)
      for x, r, over in zip(sizes, roots, overs, strict=True)
    ]
    new = tuple(
      jnp.where(norm.finite, _later_root(r, x, decay), r)
      for r, x in zip(roots, kept, strict=True)
    )
    out, inner_state = inner.update(
      clipped, _without_moments(memory.inner, reset), params, **extra_args
    )
    scale = _warmed(count, since, every, warm_up, norm.value.dtype)
    out = _measured.mapped(
      lambda u: jnp.where(scale < 1, u * scale.astype(u.dtype), u), out
    )
    state = _measured.told(
      state,
      norm,
      measured=_measured.largest(ratios, norm.value),
      threshold=jnp.where(active, limit, jnp.inf),
      clipped=_any(overs),
      warming_up=(since < grace) | (scale < 1),
      memory=Roots(new, count, inner_state),
    )
    return out, state

  return optax.GradientTransformationExtraArgs(init, update)


def _later_root(root: Array, size: Array, decay: float | Array) -> Array:
  decay = jnp.asarray(decay, root.dtype)
  return jnp.hypot(jnp.sqrt(decay) * root, jnp.sqrt(1 - decay) * size)


def _warmed(count: Array, since: Array, every, warm_up, dtype) -> Array:
  """What updates are multiplied by: 1 before the first reset, too."""
  length = jnp.asarray(warm_up, dtype) + 1
  phase = jnp.pi * (since.astype(dtype) + 1) / length
  scale = 1 - 0.99 * (1 + jnp.cos(phase)) / 2
  return jnp.where((count >= every) & (since < warm_up), scale, 1)


_MOMENTS = (optax.ScaleByAdamState, optax.TraceState)


def _without_moments(state: PyTree, reset: Array) -> PyTree:
  """The state of an optimiser, its moments zero where `reset` is true."""

  def one(node):
    if not isinstance(node, _MOMENTS):
      return node
    names = {"mu", "nu", "trace"} & {*node._fields}
    return node._replace(
      **{
        name: jax.tree.map(
          lambda x: jnp.where(reset, jnp.zeros_like(x), x), getattr(node, name)
        )
        for name in names
      }
    )

  return jax.tree.map(one, state, is_leaf=lambda x: isinstance(x, _MOMENTS))


def _any(masks: list[Array]) -> Array:
  found = [jnp.any(m) for m in masks]
  return jnp.any(jnp.stack(found)) if found else jnp.array(False)
