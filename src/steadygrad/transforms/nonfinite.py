"""What to do with a gradient that is not finite: three named rules.

Each is a link of its own and stands *before* the clipping, which passes inf and
NaN through. The rule of the authors' code also fires above a norm of 1e10, so
an exploding gradient that a clip would have rescaled is replaced instead: their
precedence, kept by the order of the links.

Leaves that are neither floating nor complex, as of integer parameters, always
count as finite and pass as they are.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees, varying
from steadygrad.transforms import _common
from steadygrad.types import Array, PyTree


class NonfiniteState(NamedTuple):
  """State of the three rules.

  Attributes:
    finite: whether the last updates were left alone, bool [].
    nonfinite_count: how often they were not, int32 [].
    inner: state of the wrapped transformation; () where none is.
  """

  finite: Array
  nonfinite_count: Array
  inner: PyTree = ()

  def metrics(self) -> dict[str, Array]:
    """What `telemetry` shows."""
    return {
      "updates_finite": self.finite,
      "nonfinite_count": self.nonfinite_count,
    }


def _init(params, inner=()):
  state = NonfiniteState(jnp.array(True), jnp.zeros([], jnp.int32), inner)
  return varying.alike(state, params)


def _next(state, finite, inner=()):
  count = jnp.where(
    finite, state.nonfinite_count, optax.safe_increment(state.nonfinite_count)
  )
  return NonfiniteState(finite, count, inner)


def _all_finite(updates):
  return numerics.all_finite(trees.inexact_leaves(updates))


def zero_nonfinite() -> optax.GradientTransformationExtraArgs:
  """Replaces the whole gradient by zeros if any element is inf or NaN.

  Later links still run: momentum decays, counts advance. Unlike
  `optax.zero_nans`, which zeroes single elements, it never changes a direction.
  """

  def init(params):
    return _init(params)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    finite = _all_finite(updates)
    kept = _common.choose(finite, updates, _common.zeros(updates))
    return kept, _next(state, finite)

  return optax.GradientTransformationExtraArgs(init, update)


def skip_nonfinite(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Runs `inner` on finite gradients only; else nothing changes at all.

  A skipped update is zero and leaves the state of `inner` as it was, counts and
  moments included. Unlike `optax.apply_if_finite` it never lets one through.

  Args:
    inner: the transformation to protect, usually a whole chain.
  """
  _common.check_transformation("inner", inner)
  inner = optax.with_extra_args_support(inner)

  def init(params):
    return _init(params, inner.init(params))

  def update(updates, state, params=None, **extra_args):
    finite = _all_finite(updates)
    safe = _common.choose(finite, updates, _common.zeros(updates))
    new, inner_state = inner.update(safe, state.inner, params, **extra_args)
    new = _common.choose(finite, new, _common.zeros(new))
    inner_state = _common.choose(finite, inner_state, state.inner)
    return new, _next(state, finite, inner_state)

  return optax.GradientTransformationExtraArgs(init, update)


def shrink_if_nonfinite(
  rate: float | Array = 0.02,
  *,
  max_norm: float | Array = 1e10,
  at: tuple[str, ...] = ("cell", "w_rec"),
) -> optax.GradientTransformationExtraArgs:
  """The authors' rule: all gradients 0 but W_rec's, which is rate · W_rec.

  With SGD that is a step of weight decay. It fires where the joint norm is NaN,
  inf, or above `max_norm`, and needs `params` in `update`.

  Args:
    rate: not negative; the authors' 0.02.
    max_norm: a norm above it counts as not finite; the authors' 1e10.
    at: path of W_rec in the parameters.
  """
  _validate.check_number("rate", rate)
  _validate.check_number("max_norm", max_norm, finite=False)
  _common.check_path("at", at)

  def init(params):
    return _init(params)

  def update(updates, state, params=None, **extra_args):
    del extra_args
    if params is None:
      raise ValueError("shrink_if_nonfinite needs params in update")
    norm = numerics.joint_norm(trees.inexact_leaves(updates))
    finite = jnp.isfinite(norm) & (norm <= max_norm)
    decay = {
      path: leaf
      for path, leaf in _common.leaves_by_path(params).items()
      if path[: len(at)] == tuple(at)
    }
    shrink = _common.write_paths(
      _common.zeros(updates), decay, lambda zero, w: zero + rate * w
    )
    return _common.choose(finite, updates, shrink), _next(state, finite)

  return optax.GradientTransformationExtraArgs(init, update)
