"""Plain JAX: the network of the paper, a dictionary and a scan."""

import jax
import jax.numpy as jnp


def make(scale=0.9):
  keys = jax.random.split(jax.random.key(0), 3)
  params = {
    "w": scale * jnp.eye(5),
    "b": jax.random.normal(keys[0], (3, 5)) / 2,
    "out": jax.random.normal(keys[1], (5, 1)),
  }
  us = jax.random.normal(keys[2], (20, 4, 3))

  def loss_fn(params, batch):
    us, targets = batch
    step = lambda x, u: (jnp.tanh(x @ params["w"] + u @ params["b"]), None)
    last, _ = jax.lax.scan(step, jnp.zeros((us.shape[1], 5)), us)
    return jnp.mean((last @ params["out"] - targets) ** 2)

  return loss_fn, params, (us, us[0, :, :1])
