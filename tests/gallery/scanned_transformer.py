"""Flax linen: a causal transformer with its layers in one scan."""

import jax
import jax.numpy as jnp
from flax import linen as nn

LAYERS = 4


class Block(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    mask = nn.make_causal_mask(jnp.ones(x.shape[:2]))
    normal = nn.LayerNorm()(x)
    x = x + nn.MultiHeadDotProductAttention(2)(normal, mask=mask)
    return x + nn.Dense(6)(nn.gelu(nn.Dense(12)(nn.LayerNorm()(x)))), None


class Transformer(nn.Module):
  @nn.compact
  def __call__(self, x):
    layers = nn.scan(
      Block,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      length=LAYERS,
    )
    x, _ = layers(name="blocks")(nn.Dense(6)(x), None)
    return nn.Dense(1)(x[:, -1])


def make():
  model = Transformer()
  x = jax.random.normal(jax.random.key(0), (4, 10, 3))
  params = jax.jit(model.init)(jax.random.key(1), x)
  return lambda p, x: jnp.mean(model.apply(p, x) ** 2), params, x
