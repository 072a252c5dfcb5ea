"""Rules with a fixed threshold: Algorithm 1, and its relatives."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees, varying
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array


class ClipState(NamedTuple):
  """State of `clip_by_global_norm`: what it saw at the last update.

  Attributes:
    gradient_norm: norm before clipping, float32 (float64 for float64) [].
    clipped: whether the updates were rescaled, bool [].
    finite: whether the norm was finite, bool [].
  """

  gradient_norm: Array
  clipped: Array
  finite: Array

  def metrics(self) -> dict[str, Array]:
    """What `telemetry` shows."""
    return self._asdict()


def clip_by_global_norm(
  max_norm: float | Array,
) -> optax.GradientTransformationExtraArgs:
  """Algorithm 1 for every finite gradient the dtype holds; Optax's drop-in.

    ĝ ← ∂E/∂θ;   if ‖ĝ‖ > threshold:  ĝ ← (threshold / ‖ĝ‖) ĝ

  The norm is the joint one over all leaves. It is formed and kept in float32
  (float64 for float64), after a division by the largest element, so that it
  neither overflows nor underflows; the direction is kept. Differentiable in
  updates and threshold. Under `vmap` each seed has a norm of its own; on
  updates that were stacked over seeds by hand there is one norm for all.

  ======================================  ====================================
  updates and threshold                   result
  ======================================  ====================================
  ‖ĝ‖ ≤ max_norm                          the updates, to the bit
  ‖ĝ‖ > max_norm                          norm max_norm to rounding
  [1e20, 1e20, 0] at 1                    [.7071, .7071, 0] (Optax: zeros)
  [1e-25, 1e-25] at 1e-30                 norm 1e-30 (Optax: unclipped)
  all zero, any max_norm                  zeros; gradient of the link finite
  max_norm 0                              zeros (Optax: NaN for zero updates)
  max_norm inf                            the updates: the link only measures
  an element inf or NaN                   the updates, to the bit, whatever the
                                          threshold; `finite` is False
  an integer leaf, a boolean one          as it is; not counted in the norm
  a Python number as a leaf               ValueError
  no leaves                               no leaves; norm 0
  max_norm negative, NaN or no number     ValueError
  max_norm negative, traced               as 0 (Optax: gradient ascent)
  max_norm NaN, traced                    NaN updates, also under a small norm
  ======================================  ====================================

  A norm over the dtype's own maximum, as of [3e38, 3e38] in float32, is
  reported as inf with `finite` False, and passes as it is. What to do with a
  gradient that is not finite is the business of `transforms.nonfinite`.

  Args:
    max_norm: the threshold, a number or a traced value.

  Returns:
    An Optax transformation with state `ClipState`.

  Raises:
    ValueError: see the table.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.transforms import clip_by_global_norm
    >>> tx = clip_by_global_norm(1.0)
    >>> grads = {"w": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    >>> updates, state = tx.update(grads, tx.init(grads))
    >>> print(updates["w"], updates["b"], state.gradient_norm)
    [0.6 0. ] [0.8] 5.0
  """
  _validate.check_number("max_norm", max_norm, finite=False)

  def init(params):
    dtype = numerics.accumulator_dtype(*trees.inexact_leaves(params))
    zero, no, yes = jnp.zeros([], dtype), jnp.array(False), jnp.array(True)
    return varying.alike(ClipState(zero, no, yes), params)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm = _measured.measure(updates)
    limit = _measured.at_least_0(max_norm, norm.value)
    clipped = norm.finite & ~(norm.value <= limit)
    value = norm.value.astype(state.gradient_norm.dtype)
    updates = _measured.rescale(updates, norm, limit, clipped)
    return updates, ClipState(value, clipped, norm.finite)

  return optax.GradientTransformationExtraArgs(init, update)


def no_clip() -> optax.GradientTransformationExtraArgs:
  """No clipping: measures the norm, and passes the updates to the bit."""
  return clip_by_global_norm(jnp.inf)


def clip_by_value(
  max_value: float | Array = 1.0,
) -> optax.GradientTransformationExtraArgs:
  """Each element at most `max_value` in size: it changes the direction.

    g_i <- sign(g_i) min(abs(g_i), max_value)

  `optax.clip` makes float32 of bfloat16 where the threshold is traced, floats
  of integers, and `max_value` of inf; it refuses complex numbers.

  ======================================  ====================================
  updates and threshold                   result
  ======================================  ====================================
  no abs(g_i) > max_value                 the updates, to the bit
  max_value 0; inf                        zeros; the updates, to the bit
  a complex element                       its direction, with size max_value
  the joint norm inf or NaN               the updates, to the bit
  an integer leaf, a boolean one          as it is
  max_value negative, NaN or no number    ValueError; traced: as 0, NaN updates
  ======================================  ====================================

  Args:
    max_value: the threshold, a number or a traced value; 1 is customary.

  Returns:
    An Optax transformation with state `RuleState`; `measured` is the largest
    abs(g_i).
  """
  _validate.check_number("max_value", max_value, finite=False)

  def init(params):
    return _measured.start(params)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm = _measured.measure(updates)
    limit = _measured.at_least_0(max_value, norm.value)
    sizes = [jnp.abs(u) for u in trees.inexact_leaves(updates)]
    most = _measured.largest(sizes, norm.value)
    clipped = norm.finite & ~(most <= limit)

    def one(u):
      size = jnp.abs(u)
      over = norm.finite & ~(size <= limit.astype(size.dtype))
      return jnp.where(over, jnp.sign(u) * limit.astype(u.dtype), u)

    state = _measured.told(
      state, norm, measured=most, threshold=limit, clipped=clipped
    )
    return _measured.mapped(one, updates), state

  return optax.GradientTransformationExtraArgs(init, update)


def clip_by_leaf_norm(
  max_norm: float | Array = 1.0,
) -> optax.GradientTransformationExtraArgs:
  """Algorithm 1 on each leaf by itself: one large leaf does not shrink others.

    g_l <- min(1, max_norm / ‖g_l‖) g_l   for each leaf l

  The edge cases are those of `clip_by_global_norm`, leaf by leaf; where the
  joint norm is not finite the updates pass as they are.

  Args:
    max_norm: the threshold, a number or a traced value.

  Returns:
    An Optax transformation with state `RuleState`; `measured` is the largest
    norm of a leaf.
  """
  _validate.check_number("max_norm", max_norm, finite=False)

  def init(params):
    return _measured.start(params)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm = _measured.measure(updates)
    limit = _measured.at_least_0(max_norm, norm.value)
    norms = [_measured.measure(u) for u in trees.inexact_leaves(updates)]
    most = _measured.largest([n.value for n in norms], norm.value)

    def one(u, own):
      clipped = norm.finite & ~(own.value <= limit)
      return _measured.rescale(u, own, limit.astype(own.value.dtype), clipped)

    state = _measured.told(
      state, norm, measured=most, threshold=limit,
      clipped=norm.finite & ~(most <= limit),
    )  # fmt: skip
    return _measured.mapped(one, updates, norms), state

  return optax.GradientTransformationExtraArgs(init, update)


def normalise(
  norm: float | Array = 1.0,
) -> optax.GradientTransformationExtraArgs:
  """Normalised gradient descent: every gradient at one norm, small ones too.

    g <- norm g / ‖g‖

  The step then has the length learning rate times `norm`, however flat the
  loss is: let the rate fall. `optax.normalize_by_update_norm` adds 1e-6 to the
  norm, so that a gradient of 1e-30 stays at 1e-24, and makes zeros of one of
  1e30, whose square overflows.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  of any norm that the dtype holds        norm `norm` to rounding
  all zero                                zeros
  the joint norm inf or NaN               the updates, to the bit
  an integer leaf, a boolean one          as it is; not counted in the norm
  ======================================  ====================================

  Args:
    norm: a number that is not negative, or a traced value.

  Returns:
    An Optax transformation with state `RuleState`, `clipped` at every update
    that is not zero.
  """
  _validate.check_number("norm", norm)

  def init(params):
    return _measured.start(params)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    found = _measured.measure(updates)
    limit = _measured.at_least_0(norm, found.value)
    moved = found.finite & (found.value > 0)
    state = _measured.told(state, found, threshold=limit, clipped=moved)
    return _measured.rescale(updates, found, limit, moved), state

  return optax.GradientTransformationExtraArgs(init, update)
