"""Initialisations of the paper, standard ones, and some for long memories.

Each factory returns `Initializers(w_rec, w_in, w_out)`, three functions
`(key, shape, dtype) -> array` as in `jax.nn.initializers`. Weights are in
row-vector form, `w_rec[i, j]` from unit i to unit j. Biases are zero. The
paper's N(0, s) takes s as the standard deviation, as its code does.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate, numerics
from steadygrad.types import Array


class Initializers(NamedTuple):
  """How the three weight matrices start: (key, shape, dtype) -> array each."""

  w_rec: Callable[..., Array]
  w_in: Callable[..., Array]
  w_out: Callable[..., Array]


def _normal(stddev: float) -> Callable[..., Array]:
  return jax_initializers.normal(stddev)


def sigmoid() -> Initializers:
  """All three matrices N(0, 0.01); for sigmoid units. ICML, section 4.1."""
  return Initializers(*[_normal(0.01)] * 3)


def basic_tanh() -> Initializers:
  """All three matrices N(0, 0.1); for tanh units. ICML, section 4.1."""
  return Initializers(*[_normal(0.1)] * 3)


def sparse_spectral(
  *, connections: int = 15, radius: float = 0.95, per: str = "target"
) -> Callable[..., Array]:
  """N(0, 1) with few connections a unit, scaled to a spectral radius.

  Args:
    connections: non-zero weights a unit; all of them where N is smaller.
    radius: spectral radius after scaling.
    per: "target": so many incoming weights a unit, as the paper says; "source":
      so many outgoing ones, as the authors' code keeps per row of W_hh.

  Returns:
    (key, shape [N, N], dtype) -> array. The radius holds to about 1e-5 in
    float32, times the condition number of the largest eigenvalue. A matrix
    whose radius is 0 stays as it was drawn. One whose radius cannot be had, and
    is NaN, becomes NaN: a wrong scale would not be seen.
  """
  _validate.check_integer("connections", connections)
  _validate.check_number("radius", radius, above=0)
  _validate.check_one_of("per", per, ("target", "source"))

  def init(key, shape, dtype=jnp.float32):
    if len(shape) != 2 or shape[0] != shape[1]:
      raise ValueError(f"w_rec must be square, got shape {shape}")
    key_values, key_places = jax.random.split(key)
    w = jax.random.normal(key_values, shape, dtype)
    # The rank of a uniform draw within a column picks exactly `connections`.
    order = jax.random.uniform(key_places, shape).argsort(0).argsort(0)
    w = jnp.where(order < connections, w, 0)
    w = w if per == "target" else w.T
    rho = numerics.spectral_radius(w)
    return w * jnp.where(rho == 0, 1, radius / jnp.where(rho == 0, 1, rho))

  return init


def smart_tanh(
  *, connections: int = 15, radius: float = 0.95, per: str = "target"
) -> Initializers:
  """W_in, W_out N(0, 0.01); W_rec sparse with spectral radius .95. ICML 4.1.

  Args:
    connections: non-zero weights a unit in W_rec.
    radius: spectral radius of W_rec.
    per: "target" (the paper's text: incoming) or "source" (the authors' code:
      outgoing).
  """
  w_rec = sparse_spectral(connections=connections, radius=radius, per=per)
  return Initializers(w_rec, _normal(0.01), _normal(0.01))


def smart_tanh_code() -> Initializers:
  """`smart_tanh` with 15 outgoing weights a unit, as the authors' code."""
  return smart_tanh(per="source")


def orthogonal(scale: float = 1.0) -> Initializers:
  """W_rec = scale · a random orthogonal matrix; W_in, W_out N(0, 1/fan-in)."""
  _validate.check_number("scale", scale, least=None)
  fan_in = jax_initializers.lecun_normal()
  draw = jax_initializers.orthogonal(scale)

  def w_rec(key, shape, dtype=jnp.float32):
    # There is no QR decomposition in half precision.
    wide = numerics.common_dtype(dtype, jnp.float32)
    return draw(key, shape, wide).astype(dtype)

  return Initializers(w_rec, fan_in, fan_in)


def orthogonal_quiet() -> Initializers:
  """W_rec orthogonal, W_in N(0, .01), W_out N(0, 1/fan-in); for tanh units.

  An orthogonal W_rec keeps the norm of error signals where tanh' is near one.
  It keeps that of states too, so that inputs of size s add up in them like a
  random walk, to s √T. `orthogonal` has s near .4 for the six symbols of
  temporal order, so that tanh' is .76 on average and less than 1e-17 of an
  error is left after 200 steps. With s = .01 tanh' is .995, and about .4 of an
  error's norm (median) is left after 200 steps, .2 after 300.
  """
  start = orthogonal()
  return Initializers(start.w_rec, _normal(0.01), start.w_out)


def orthogonal_sigmoid() -> Initializers:
  """W_rec = 4 (I − 1 1ᵀ/N) Q with Q orthogonal, for sigmoid units.

  σ(x) = ½ + x/4 + O(x³). With columns that sum to zero the state ½ stays where
  it is without an input, biases or none, and a small ε about it becomes
  ε (I − 1 1ᵀ/N) Q: error signals neither grow nor vanish there, where with Q
  itself they shrink by four a step (γ = 1/4 in the paper's section 2.1). W_in
  is N(0, 4/fan-in), as much for the drive as lecun_normal is for a tanh unit;
  W_out N(0, 1/fan-in).
  """
  orthogonal_4 = orthogonal(4.0)

  def w_rec(key, shape, dtype=jnp.float32):
    w = orthogonal_4.w_rec(key, shape, dtype)
    return w - w.mean(0)[None]

  def w_in(key, shape, dtype=jnp.float32):
    return 2 * orthogonal_4.w_in(key, shape, dtype)

  return Initializers(w_rec, w_in, orthogonal_4.w_out)


def identity(scale: float = 1.0) -> Initializers:
  """W_rec = scale · I; W_in, W_out N(0, 0.001). Le, Jaitly, Hinton 2015."""
  _validate.check_number("scale", scale, least=None)

  def eye(key, shape, dtype=jnp.float32):
    del key
    return scale * jnp.eye(*shape, dtype=dtype)

  return Initializers(eye, _normal(0.001), _normal(0.001))


def identity_quiet() -> Initializers:
  """W_rec = I, W_in N(0, .01), W_out N(0, 1/fan-in); for tanh units.

  `orthogonal_quiet` with a W_rec that does not turn states. A network that
  remembers in states that turn answers rightly after some numbers of steps
  only, which is what networks of random permutation from `orthogonal_quiet` do
  (`evaluate.py --test=every_step`); from the identity one network learned
  lengths of 50 to 200 of it and of temporal order with two and three symbols.
  Equal inputs add up in one direction, so that tanh' falls to .96 and about .2
  of an error's norm (median) is left after 200 steps of temporal order.
  """
  return Initializers(
    identity().w_rec, _normal(0.01), jax_initializers.lecun_normal()
  )


def irnn() -> Initializers:
  """W_rec = I and small inputs, for ReLU units; Le, Jaitly, Hinton's IRNN."""

  def same(key, shape, dtype=jnp.float32):
    del key
    return jnp.eye(*shape, dtype=dtype)

  return Initializers(same, _normal(0.001), jax_initializers.lecun_normal())


INITIALIZERS = {
  f.__name__: f
  for f in (
    sigmoid,
    basic_tanh,
    smart_tanh,
    smart_tanh_code,
    orthogonal,
    orthogonal_quiet,
    orthogonal_sigmoid,
    identity,
    identity_quiet,
    irnn,
  )
}
