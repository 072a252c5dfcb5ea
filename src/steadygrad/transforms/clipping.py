"""Algorithm 1: rescaling the gradient when its norm passes a threshold."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees, varying
from steadygrad.transforms import _common
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
    scale, squares = numerics.scaled_squares(trees.inexact_leaves(updates))
    zero = squares == 0
    root = jnp.sqrt(jnp.where(zero, 1, squares))
    norm = jnp.where(zero, 0 * squares, scale * root)
    finite = jnp.isfinite(norm)
    limit = jnp.maximum(jnp.asarray(max_norm, norm.dtype), 0)
    clipped = finite & ~(norm <= limit)
    # u / scale lies in [-4, 4] and limit / root in the range of limit: neither
    # overflows, where limit / norm might underflow and u · limit overflow.
    # A threshold of inf has a derivative too: 0, and not 0 · inf.
    factor = jnp.where(clipped, jnp.where(clipped, limit, 1) / root, 1)

    def rescale(u):
      if not trees.is_inexact(u):
        return u
      wide = _wide(u, norm)
      small = jnp.where(clipped, u.astype(wide) / scale.astype(wide), 0)
      small *= factor.astype(wide)
      return jnp.where(clipped, small.astype(u.dtype), u)

    state = ClipState(norm.astype(state.gradient_norm.dtype), clipped, finite)
    return jax.tree.map(rescale, updates), state

  return optax.GradientTransformationExtraArgs(init, update)


def _wide(u: Array, norm: Array) -> jnp.dtype:
  return numerics.common_dtype(u.dtype, norm.dtype)


# Rules of clipping by name: threshold -> Optax transformation, whose telemetry
# has `gradient_norm`.
CLIPS = {"by_norm": clip_by_global_norm}
