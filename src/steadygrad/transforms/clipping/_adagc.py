"""AdaGC: each leaf's norm by its own running mean."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from steadygrad import _validate, trees
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array


class LeafNorms(NamedTuple):
  """Memory of `adagc`: a running norm of each leaf.

  Attributes:
    norms: inf of a leaf whose gradient was always zero, [leaves].
    count: updates seen, int32 [].
  """

  norms: Array
  count: Array


def adagc(
  max_norm: float | Array = 1.0,
  *,
  ratio: float | Array = 1.05,
  decay: float | Array = 0.98,
  warm_up: int | Array = 100,
) -> optax.GradientTransformationExtraArgs:
  """AdaGC: each leaf's norm at most `ratio` times its own running mean.

    h_l = min(1, ratio gamma_l / ‖g_l‖);   g_l <- h_l g_l
    gamma_l <- decay gamma_l + (1 - decay) ‖h_l g_l‖

  The first `warm_up` - 1 updates are those of Algorithm 1 at `max_norm` on the
  joint norm, and gamma_l is the smallest norm of leaf l after it.

  Source: arXiv 2502.11034 and kozistr/pytorch_optimizer, whose defaults these
  are. One deviation: a leaf whose gradient is zero once in the warm-up, as of
  a symbol that does not occur, has gamma 0 there and never moves again. Here
  zeros of the warm-up do not count, and a leaf that has had nothing else is
  not clipped until its first other gradient, which becomes gamma_l.

  ======================================  ====================================
  updates                                 result
  ======================================  ====================================
  the first `warm_up` - 1                 Algorithm 1 at max_norm
  after a small norm in the warm-up       gamma grows by .1 % an update at most
  a leaf of zeros                         zeros
  norms of 1e-30 or 1e30                  as any other
  the joint norm inf or NaN               the updates, to the bit; gamma stays
  an integer leaf, a boolean one          as it is; it has no gamma
  ======================================  ====================================

  Args:
    max_norm: absolute bound of the warm-up, a number or a traced value.
    ratio: relative bound.
    decay: of the running norms, under 1.
    warm_up: the update with which the rule begins, counted from 1.

  Returns:
    An Optax transformation with state `RuleState`, its memory `LeafNorms`. In
    the warm-up `measured` is the joint norm, later the largest
    ‖g_l‖ / gamma_l; `threshold` is max_norm, then `ratio`.
  """
  _validate.check_number("max_norm", max_norm, finite=False)
  _validate.check_number("ratio", ratio, above=0)
  _validate.check_number("decay", decay, below=1)
  _validate.check_integer("warm_up", warm_up, traced=True)

  def init(params):
    size = len(trees.inexact_leaves(params))
    return _measured.start(
      params,
      lambda dtype: LeafNorms(
        jnp.full([size], jnp.inf, dtype), jnp.zeros([], jnp.int32)
      ),
    )

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    _common.check_arrays("updates", updates)
    norm, gammas = _measured.measure(updates), state.memory.norms
    dtype = gammas.dtype
    warming_up = state.memory.count + 1 < warm_up
    bound = _measured.at_least_0(max_norm, norm.value).astype(dtype)
    share = jnp.asarray(ratio, dtype)
    over = norm.finite & ~(norm.value.astype(dtype) <= bound)
    early = _measured.rescale(
      updates, norm, bound.astype(norm.value.dtype), over
    )
    leaves = [_measured.measure(u) for u in trees.inexact_leaves(updates)]
    norms = [n.value.astype(dtype) for n in leaves]
    sizes = jnp.stack(norms) if norms else jnp.zeros([0], dtype)
    limits = share * gammas
    above = norm.finite & ~(sizes <= limits)
    late = _measured.mapped(
      lambda u, own, limit, where: _measured.rescale(
        u, own, limit.astype(own.value.dtype), where
      ),
      updates, leaves, limits, above,
    )  # fmt: skip
    # The norms after Algorithm 1.
    joint = jnp.where(over, norm.value.astype(dtype), 1)
    after = jnp.where(over, bound * (sizes / joint), sizes)
    first = jnp.where(after > 0, jnp.minimum(gammas, after), gammas)
    later = _later_norms(gammas, sizes, limits, jnp.asarray(decay, dtype))
    new = jnp.where(norm.finite, jnp.where(warming_up, first, later), gammas)
    relative = jnp.max(sizes / jnp.where(gammas > 0, gammas, 1), initial=0)
    state = _measured.told(
      state,
      norm,
      measured=jnp.where(warming_up, norm.value.astype(dtype), relative),
      threshold=jnp.where(warming_up, bound, share),
      clipped=jnp.where(warming_up, over, jnp.any(above)),
      warming_up=warming_up,
      memory=LeafNorms(new, _common.counted(state.memory.count, norm.finite)),
    )
    return _common.choose(warming_up, early, late), state

  return optax.GradientTransformationExtraArgs(init, update)


def _later_norms(
  gammas: Array, sizes: Array, limits: Array, decay: Array
) -> Array:
  """Running norms after the warm-up; inf until the first that is not 0."""
  kept = jnp.minimum(sizes, limits)
  new = decay * gammas + (1 - decay) * kept
  begun = jnp.where(sizes > 0, sizes, jnp.inf)
  return jnp.where(jnp.isinf(gammas), begun, new)
