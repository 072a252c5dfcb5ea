"""Rules against spikes that work on the optimiser too: they wrap it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array, PyTree


class Recent(NamedTuple):
  """Memory of `skip_spikes`.

  Attributes:
    values: rings of the last losses and norms, [2, window].
    counts: how many of each were seen, int32 [2].
    inner: state of the wrapped transformation.
  """

  values: Array
  counts: Array
  inner: PyTree


def skip_spikes(
  inner: optax.GradientTransformation | None = None,
  *,
  deviations: float | Array = 6.0,
  window: int = 128,
) -> optax.GradientTransformationExtraArgs:
  """No step where loss or norm is far above its last values.

    skip if  x > mean + deviations std  of the `window` values before,
    for x the loss, if `update` is given `value=`, or the norm

  A skipped update is zero and leaves the state of `inner` as it was. The rule
  begins when half a window, or 20 values if that is more, was seen; the values
  of skipped updates are in the window too, so that a new level is soon usual.

  Source: OLMo 2, arXiv 2501.00656, and allenai/OLMo-core, whose defaults these
  are. Two deviations. It compares the distance from the mean, and so skips
  steps whose loss or norm is too small. And where all values were equal it
  divides 0 by 0 and skips every step; here an equal value passes.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  before the rule begins                  what `inner` makes of them
  a loss or a norm far above              zeros; the state of `inner` stays
  a loss or a norm far below              what `inner` makes of them
  `update` without value=                 the norm alone decides
  a loss inf or NaN                       does not decide; in no window
  a norm inf or NaN                       goes to `inner`; in no window
  all zero                                go to `inner`; the norm counts
  norms of 1e-30 or 1e30                  as any other
  ======================================  ====================================

  Args:
    inner: what a skipped step must not change, usually the optimiser; None for
      a link that only makes zeros.
    deviations: a number or a traced value.
    window: values that are kept; static.

  Returns:
    An Optax transformation with state `RuleState`, its memory `Recent`.
    `threshold` is the norm's.
  """
  inner = _inner(inner)
  _validate.check_number("deviations", deviations, above=0)
  _validate.check_integer("window", window, 2)
  least = max(20, window // 2) - 1  # Values before this one.

  def init(params):
    return _measured.start(
      params,
      lambda dtype: Recent(
        jnp.zeros([2, window], dtype),
        jnp.zeros([2], jnp.int32),
        inner.init(params),
      ),
    )

  def update(updates, state, params=None, *, value=None, **extra_args):
    _common.check_arrays("updates", updates)
    norm, memory = _measured.measure(updates), state.memory
    dtype = memory.values.dtype
    loss = jnp.nan if value is None else value
    now = jnp.stack([jnp.asarray(x, dtype) for x in (loss, norm.value)])
    limits = _limits(memory, jnp.asarray(deviations, dtype))
    ready = memory.counts >= least
    limits = jnp.where(ready, limits, jnp.inf)
    # A NaN lies above nothing; an infinite norm goes its own way.
    over = jnp.isfinite(now) & (now > limits)
    skipped = norm.finite & jnp.any(over)
    extra = extra_args if value is None else extra_args | {"value": value}
    new, inner_state = inner.update(updates, memory.inner, params, **extra)
    new = _common.choose(skipped, _common.zeros(new), new)
    inner_state = _common.choose(skipped, memory.inner, inner_state)
    seen = jnp.isfinite(now)
    place = memory.counts % window
    values = memory.values.at[jnp.arange(2), place].set(now)
    values = jnp.where(seen[:, None], values, memory.values)
    counts = _common.counted(memory.counts, seen, wrap=window)
    state = _measured.told(
      state, norm, threshold=limits[1], skipped=skipped,
      warming_up=~ready[1], memory=Recent(values, counts, inner_state),
    )  # fmt: skip
    return new, state

  return optax.GradientTransformationExtraArgs(init, update)


def _limits(memory: Recent, deviations: Array) -> Array:
  """mean + deviations std of each ring, [2]."""
  dtype, window = memory.values.dtype, memory.values.shape[1]
  known = jnp.arange(window, dtype=jnp.int32)[None] < memory.counts[:, None]
  number = jnp.minimum(memory.counts, window).astype(dtype)
  share = jnp.where(known, memory.values, 0) / jnp.maximum(number, 1)[:, None]
  mean = jnp.sum(share, 1)
  apart = jnp.where(known, memory.values - mean[:, None], 0)
  std = numerics.joint_norm(apart, 1) / jnp.sqrt(jnp.maximum(number - 1, 1))
  return mean + deviations * std


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
  inner = _inner(inner)
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


def _inner(
  inner: optax.GradientTransformation | None,
) -> optax.GradientTransformationExtraArgs:
  """The transformation to wrap, with extra arguments; identity for None."""
  if inner is None:
    inner = optax.identity()
  _common.check_transformation("inner", inner)
  return optax.with_extra_args_support(inner)
