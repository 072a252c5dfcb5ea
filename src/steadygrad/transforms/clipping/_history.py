"""Rules whose threshold follows the norms of earlier updates."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from steadygrad import _validate
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array


class History(NamedTuple):
  """Memory of `autoclip`: the last norms.

  Attributes:
    norms: a ring, NaN where nothing is yet, [window].
    count: norms seen, int32 [].
  """

  norms: Array
  count: Array


def autoclip(
  percentile: float | Array = 10.0, *, window: int = 1000
) -> optax.GradientTransformationExtraArgs:
  """AutoClip: Algorithm 1 at a percentile of the norms so far.

    threshold_t = the p-th percentile of ‖g_1‖ ... ‖g_t‖, as NumPy's

  Source: Seetharaman et al., arXiv 2007.14469, with percentile 10. There the
  history is a list without an end; here it is the last `window` norms, so that
  the state has a fixed size. Norms are those before the rule.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  the first                               the updates: they are the percentile
  of equal norms                          the updates, to the bit
  most of them                            clipped: 9 of 10 lie above the 10th
                                          percentile, which is a step size
  all zero                                zeros; the zero is in the history
  norm inf or NaN                         the updates, to the bit; the history
                                          stays
  an integer leaf, a boolean one          as it is; not counted in the norm
  ======================================  ====================================

  Args:
    percentile: 0 to 100, a number or a traced value; 10 is the paper's.
    window: norms that are kept; static.

  Returns:
    An Optax transformation with state `RuleState`, its memory `History`.
  """
  _validate.check_number("percentile", percentile)
  if _validate.is_concrete(percentile) and percentile > 100:
    raise ValueError(f"percentile must be at most 100, got {percentile}")
  _validate.check_integer("window", window)

  def init(params):
    return _measured.start(
      params,
      lambda dtype: History(
        jnp.full([window], jnp.nan, dtype), jnp.zeros([], jnp.int32)
      ),
    )

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm, memory = _measured.measure(updates), state.memory
    norms = memory.norms.at[memory.count % window].set(
      norm.value.astype(memory.norms.dtype)
    )
    norms = jnp.where(norm.finite, norms, memory.norms)
    # NaN stands for no norm yet; without any there is no threshold.
    limit = jnp.nanpercentile(norms, jnp.asarray(percentile, norms.dtype))
    limit = jnp.where(jnp.isnan(limit), jnp.inf, limit).astype(norm.value.dtype)
    clipped = norm.finite & (norm.value > limit)
    count = _common.counted(memory.count, norm.finite, wrap=window)
    state = _measured.told(
      state, norm, threshold=limit, clipped=clipped,
      memory=History(norms, count),
    )  # fmt: skip
    return _measured.rescale(updates, norm, limit, clipped), state

  return optax.GradientTransformationExtraArgs(init, update)


class Moments(NamedTuple):
  """Memory of `zclip`: running mean and standard deviation of the norms.

  Attributes:
    mean: [].
    deviation: [].
    count: norms seen, int32 [].
  """

  mean: Array
  deviation: Array
  count: Array


def zclip(
  max_norm: float | Array = 1.0,
  *,
  z_score: float | Array = 2.5,
  decay: float | Array = 0.97,
  warm_up: int | Array = 25,
) -> optax.GradientTransformationExtraArgs:
  """ZClip: norms far above their running mean are brought back towards it.

    z = (‖g‖ - m) / s;   if z > z_score:  limit = m + z_score s / (z / z_score)

  and ‖g‖ <= max_norm always, also in the warm-up. m and s are mean and standard
  deviation of the first `warm_up` norms, then exponential means of what the
  first part of the rule leaves of the norm:

    m <- decay m + (1 - decay) c;   s^2 <- decay s^2 + (1 - decay) (c - m)^2

  Source: Kumar et al., arXiv 2504.02507, and bluorion-com/ZClip, whose defaults
  these are. Two deviations. Its 1e-6 beside s, which no norm under 1e-6 can
  exceed by enough, is left out. And s is kept in place of s^2, which overflows
  for norms over 1e19.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  the first `warm_up`                     Algorithm 1 at max_norm
  max_norm inf                            without the absolute bound
  z <= z_score, ‖g‖ <= max_norm           the updates, to the bit
  norms constant until then: s = 0        any larger norm becomes m
  a norm of 1e-30 or 1e30                 as any other
  all zero                                zeros; the zero counts
  norm inf or NaN                         the updates, to the bit; m, s stay
  an integer leaf, a boolean one          as it is; not counted in the norm
  ======================================  ====================================

  Args:
    max_norm: absolute bound, a number or a traced value.
    z_score: from which a norm is a spike.
    decay: of the exponential means, under 1.
    warm_up: norms before the rule begins.

  Returns:
    An Optax transformation with state `RuleState`, its memory `Moments`.
  """
  _validate.check_number("max_norm", max_norm, finite=False)
  _validate.check_number("z_score", z_score, above=0)
  _validate.check_number("decay", decay, below=1)
  _validate.check_integer("warm_up", warm_up, traced=True)

  def init(params):
    return _measured.start(
      params,
      lambda dtype: Moments(
        jnp.zeros([], dtype), jnp.zeros([], dtype), jnp.zeros([], jnp.int32)
      ),
    )

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm, memory = _measured.measure(updates), state.memory
    dtype = memory.mean.dtype
    n, mean, s = norm.value.astype(dtype), memory.mean, memory.deviation
    z = jnp.asarray(z_score, dtype)
    warming_up = memory.count < warm_up
    excess = n - mean
    spike = norm.finite & ~warming_up & (excess > z * s)
    share = z * s / jnp.where(spike, excess, 1)
    limit = jnp.where(spike, mean + z * s * share, jnp.inf)
    first = _first_moments(memory, n)
    fed = jnp.where(spike, limit, n)
    later = _later_moments(memory, fed, jnp.asarray(decay, dtype))
    new = _common.choose(warming_up, first, later)
    mean, s = _common.choose(norm.finite, new, (mean, s))
    limit = jnp.minimum(limit, _measured.at_least_0(max_norm, limit))
    clipped = norm.finite & ~(n <= limit)
    count = _common.counted(memory.count, norm.finite)
    state = _measured.told(
      state, norm, threshold=limit, clipped=clipped, warming_up=warming_up,
      memory=Moments(mean, s, count),
    )  # fmt: skip
    limit = limit.astype(norm.value.dtype)
    return _measured.rescale(updates, norm, limit, clipped), state

  return optax.GradientTransformationExtraArgs(init, update)


def _first_moments(memory: Moments, n: Array) -> tuple[Array, Array]:
  """(mean, standard deviation) with one more norm, all of one weight."""
  weight = 1 / (memory.count + 1).astype(n.dtype)
  excess = n - memory.mean
  s = jnp.hypot(
    jnp.sqrt(1 - weight) * memory.deviation,
    jnp.sqrt((1 - weight) * weight) * jnp.abs(excess),
  )
  return memory.mean + weight * excess, s


def _later_moments(
  memory: Moments, n: Array, decay: Array
) -> tuple[Array, Array]:
  """(mean, standard deviation) with one more norm, of weight 1 - decay."""
  mean = decay * memory.mean + (1 - decay) * n
  s = jnp.hypot(
    jnp.sqrt(decay) * memory.deviation, jnp.sqrt(1 - decay) * jnp.abs(n - mean)
  )
  return mean, s
