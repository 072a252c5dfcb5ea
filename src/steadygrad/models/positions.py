"""How a transformer knows where in a sequence it is.

none        not at all, but for what may be seen
sinusoidal  sin and cos of t / 10000^(2 i / N), added to the inputs
learned     a vector for each step up to a largest, added
rotary      queries and keys turned by angles t / 10000^(2 i / D), a head's D
alibi       -slope (t - s) added to the scores, slopes 2^(-8 h / H), h = 1..H
"""

import math

import jax.numpy as jnp

from steadygrad.numerics import add, promoted
from steadygrad.types import Array

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi")
_BASE = 10_000.0


def added(kind: str, x: Array, places: Array | None) -> Array:
  """Inputs [B, T, N] with what is added to them.

  Raises:
    ValueError: at more steps than there are learned positions.
  """
  num_steps, width = x.shape[1:]
  if kind == "sinusoidal":
    return add(x, _sinusoids(num_steps, width))
  if kind == "learned" and places is not None:
    if num_steps > len(places):
      raise ValueError(
        f"us must have at most {len(places)} steps, the learned positions, got"
        f" {num_steps}"
      )
    return add(x, places[:num_steps])
  return x


def _sinusoids(num_steps: int, width: int) -> Array:
  angles = _angles(num_steps, -(-width // 2))
  both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1)
  return both.reshape(num_steps, -1)[:, :width]


def _angles(num_steps: int, pairs: int) -> Array:
  """t / 10000^(i / pairs), [T, pairs]."""
  numbers = jnp.arange(pairs, dtype=jnp.float32)
  rates = jnp.exp(-math.log(_BASE) / pairs * numbers)
  return jnp.arange(num_steps, dtype=jnp.float32)[:, None] * rates[None]


def turned(kind: str, q: Array, k: Array) -> tuple[Array, Array]:
  """Queries and keys [B, T, heads, D], turned where positions are rotary."""
  if kind != "rotary":
    return q, k
  angles = _angles(q.shape[1], q.shape[-1] // 2)[None, :, None]
  turns = jnp.cos(angles), jnp.sin(angles)

  def turn(x):
    x, cos, sin = promoted(x, *turns)
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

  return turn(q), turn(k)


def biases(kind: str, num_steps: int, heads: int) -> Array:
  """What is added to the scores, [heads, T, T]."""
  if kind != "alibi":
    return jnp.zeros((heads, 1, 1))
  slopes = 2.0 ** (-8 * jnp.arange(1, heads + 1, dtype=jnp.float32) / heads)
  steps = jnp.arange(num_steps)
  back = (steps[:, None] - steps[None]).astype(jnp.float32)
  return -slopes[:, None, None] * back[None]
