"""Largest Lyapunov exponents of the scans of a function."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from steadygrad.numerics import joint_norm
from steadygrad.reports import _jaxprs, _taps
from steadygrad.types import Array, PyTree


def growth(fn: Callable[..., Array], *args: PyTree) -> list[Array]:
  """Largest Lyapunov exponents of the scans at the top, [B] or [1] each.

  A random difference in the state is pushed on by the body's own Jacobian, and
  brought back to size 1 at every step: the mean of ln of its growth, from the
  second step on. NaN where the body has a rule for reverse mode alone.
  """
  program = _jaxprs.flattened(jax.make_jaxpr(fn)(*args))
  env = program.constants | dict(
    zip(program.inputs, jax.tree.leaves(args), strict=True)
  )
  found = []
  for step in program.steps:
    values = [_jaxprs.value_of(env, a) for a in step.reads]
    if _jaxprs.is_scan(step.eqn):
      found.append(_growth_of(step.eqn, values))
    env.update(zip(step.writes, _jaxprs.bind(step.eqn, values), strict=True))
  return found


def _growth_of(eqn, values: Sequence) -> Array:
  """The exponents of one scan."""
  consts, carry, _ = _jaxprs.sizes(eqn)
  body = _jaxprs.flattened(_jaxprs.jaxprs_of(eqn)[0])
  at = _jaxprs.states_of(eqn, body)
  length = int(eqn.params["length"])
  first = [jnp.asarray(x) for x in values[consts : consts + carry]]
  if not at or length < 2 or _only_backward(eqn):
    return jnp.full(1, jnp.nan)
  keys = jax.random.split(jax.random.key(0), len(at))
  start = [_normal(k, first[i]) for k, i in zip(keys, at, strict=True)]

  def step(inputs, rows):
    x_tm1, pushed, total, count = inputs

    def move(leaves):
      x = list(x_tm1)
      for i, leaf in zip(at, leaves, strict=True):
        x[i] = leaf
      arguments = [*values[:consts], *x, *rows]
      return _taps.run(body, arguments, _no_taps(body), isolate=False)[0][
        :carry
      ]

    x_t, ahead = jax.jvp(move, ([x_tm1[i] for i in at],), (pushed,))
    ahead = [ahead[i] for i in at]
    size = _size(ahead)
    ahead = [_over(x, size) for x in ahead]
    own = jnp.where(count > 0, jnp.log(size), 0)
    return (x_t, ahead, total + own, count + 1), None

  size = _size(start)
  begin = first, [_over(x, size) for x in start], 0 * size, jnp.int32(0)
  rows = list(values[consts + carry :])
  (_, _, total, _), _ = jax.lax.scan(
    step, begin, rows, length=length, reverse=eqn.params["reverse"]
  )
  return total / (length - 1)


def _only_backward(eqn) -> bool:
  """Whether there is a rule for reverse mode alone in it."""
  return eqn.primitive.name.startswith("custom_vjp") or any(
    _only_backward(inner)
    for j in _jaxprs.jaxprs_of(eqn)
    for inner in _jaxprs.opened(j)[0].eqns
  )


def _no_taps(program: _jaxprs.Program) -> list[_taps.Tap]:
  """Zeros for the scans of a body."""
  return _taps.zeros(
    [_taps.scan_of(s.eqn) for s in program.steps if _jaxprs.is_scan(s.eqn)]
  )


def _normal(key: Array, like: Array) -> Array:
  return jax.random.normal(key, like.shape, like.dtype)


def _size(leaves: Sequence[Array]) -> Array:
  """Joint norms of leaves [B, ...], [B]; [1] where they have no one B."""
  first = {x.shape[0] if x.ndim > 1 else None for x in leaves}
  if len(first) > 1 or None in first:
    return joint_norm([x.ravel()[None] for x in leaves], batch_ndim=1)
  return joint_norm(list(leaves), batch_ndim=1)


def _over(leaf: Array, size: Array) -> Array:
  """The leaf over the norm of its sequence; zeros stay zeros."""
  safe = jnp.where(size > 0, size, 1).astype(jnp.abs(leaf).dtype)
  if len(size) == 1:
    return leaf / safe.reshape((1,) * leaf.ndim)
  return leaf / safe.reshape((-1,) + (1,) * (leaf.ndim - 1))
