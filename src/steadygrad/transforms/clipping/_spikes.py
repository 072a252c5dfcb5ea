"""Skipped steps: the optimiser knows nothing of a spike."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics
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
  inner = _measured.wrapped(inner)
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
