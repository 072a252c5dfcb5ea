"""Flax NNX: a GRU under an LSTM, as one module."""

import jax
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
  def __init__(self, rngs):
    self.lower = nnx.RNN(nnx.GRUCell(3, 5, rngs=rngs))
    self.upper = nnx.RNN(nnx.OptimizedLSTMCell(5, 5, rngs=rngs))
    self.out = nnx.Linear(5, 1, rngs=rngs)

  def __call__(self, x):
    return self.out(self.upper(self.lower(x))[:, -1])


def make():
  x = jax.random.normal(jax.random.key(0), (4, 20, 3))
  loss_fn = lambda net, batch: jnp.mean((net(batch[0]) - batch[1]) ** 2)
  return loss_fn, Net(nnx.Rngs(0)), (x, x[:, 0, :1])
