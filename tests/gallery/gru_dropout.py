"""Flax linen: three GRUs with dropout between, the key in the batch."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Stack(nn.Module):
  @nn.compact
  def __call__(self, x):
    for _ in range(3):
      x = nn.RNN(nn.GRUCell(5))(x)
      x = nn.Dropout(0.1, deterministic=False)(x)
    return nn.Dense(1)(x[:, -1])


def make():
  model = Stack()
  x = jax.random.normal(jax.random.key(0), (4, 20, 3))
  keys = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
  params = jax.jit(model.init)(keys, x)

  def loss_fn(params, batch):
    out = model.apply(params, batch["x"], rngs={"dropout": batch["key"]})
    return jnp.mean(out**2)

  return loss_fn, params, {"x": x, "key": jax.random.key(3)}
