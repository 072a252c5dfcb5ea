"""Adaptive gradient clipping: a bound on each unit, by its weights."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees
from steadygrad.transforms import _common
from steadygrad.transforms.clipping import _measured
from steadygrad.types import Array, PyTree


def agc(
  ratio: float | Array = 0.01,
  *,
  min_norm: float | Array = 1e-3,
  spared: Collection[str] = ("readout",),
) -> optax.GradientTransformationExtraArgs:
  """AGC: the gradient of each unit at most a share of its weights' norm.

    g_i <- min(1, ratio max(‖w_i‖, min_norm) / ‖g_i‖) g_i   for each unit i

  Source: Brock et al., arXiv 2102.06171, section 4.1; its ratio is .01 to .16,
  and it spares the last layer. A unit is a column of a matrix [inputs, units],
  a vector as a whole, and of a convolution all that one channel reads, as in
  `optax.adaptive_grad_clip`. That one squares in the leaf's dtype: of a
  gradient of 1e30 it makes zeros, and one of 1e-30 it does not clip.

  ======================================  ====================================
  updates and parameters                  result
  ======================================  ====================================
  every unit under its bound              the updates, to the bit
  weights that begin at zero              a bound of ratio min_norm: a bias
                                          begins to move 1e-5 at a time
  a zero gradient                         zeros
  the joint norm inf or NaN               the updates, to the bit
  an integer leaf, a boolean one          as it is
  no params in `update`                   ValueError
  ======================================  ====================================

  Args:
    ratio: lambda, a number or a traced value.
    min_norm: epsilon, what counts as a unit's norm at least.
    spared: names of parameters that are not clipped, those below them too.

  Returns:
    An Optax transformation with state `RuleState`; `measured` is the largest
    ‖g_i‖ / max(‖w_i‖, min_norm).
  """
  _validate.check_number("ratio", ratio, finite=False)
  _validate.check_number("min_norm", min_norm)
  _common.check_names("spared", spared)

  def init(params):
    return _measured.start(params)

  def update(updates, state, params=None, **extra_args):
    del extra_args
    if params is None:
      raise ValueError("agc needs params in update")
    _common.check_arrays("updates", updates)
    norm = _measured.measure(updates)
    share = _measured.at_least_0(ratio, norm.value)
    leaves = trees.inexact_leaves(updates)
    weights = trees.inexact_leaves(params)
    kept = [not x for x in _spared(updates, spared)]
    pairs = zip(leaves, weights, strict=True)
    units = [(_unit_norm(u), _unit_norm(w).value) for u, w in pairs]
    bounds = [jnp.maximum(w, jnp.asarray(min_norm, w.dtype)) for _, w in units]
    ratios = [
      g.value / b
      for (g, _), b, keep in zip(units, bounds, kept, strict=True)
      if keep
    ]
    most = _measured.largest(ratios, norm.value)

    def one(u, own, bound, keep):
      limit = share.astype(bound.dtype) * bound
      own = jax.tree.map(lambda x: x.astype(bound.dtype), own)
      over = keep & norm.finite & ~(own.value <= limit)
      return _measured.rescale(u, own, limit, over)

    state = _measured.told(
      state, norm, measured=most, threshold=share,
      clipped=norm.finite & ~(most <= share),
    )  # fmt: skip
    grads = [g for g, _ in units]
    return _measured.mapped(one, updates, grads, bounds, kept), state

  return optax.GradientTransformationExtraArgs(init, update)


def _spared(tree: PyTree, names: Collection[str]) -> list[bool]:
  """Of each leaf with a derivative, whether one of its names is spared."""
  leaves, numbers = trees.numbered(tree)
  paths = {i: path for path, i in trees.named_leaves(numbers)}
  return [
    bool({*paths[i]} & {*names})
    for i, leaf in enumerate(leaves)
    if trees.is_inexact(leaf)
  ]


def _unit_norm(x: Array) -> _measured.Norm:
  """Norms of a leaf's units, which broadcast with it."""
  if x.ndim <= 1 or jnp.squeeze(x).ndim <= 1:
    return _measured.measure(x)
  # All axes but those that count the units.
  axes = (0,) if x.ndim <= 3 else tuple(range(x.ndim - 1))
  units = [a for a in range(x.ndim) if a not in axes]
  scale, squares = numerics.scaled_squares(
    jnp.transpose(x, (*units, *axes)), len(units)
  )
  scale, squares = (jnp.expand_dims(s, axes) for s in (scale, squares))
  zero = squares == 0
  root = jnp.sqrt(jnp.where(zero, 1, squares))
  value = jnp.where(zero, 0, scale * root)
  return _measured.Norm(scale, root, value, jnp.isfinite(value))
