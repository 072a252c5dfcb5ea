"""Flax linen: an encoder's last state is where the decoder starts."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Seq2Seq(nn.Module):
  @nn.compact
  def __call__(self, source, target):
    carry, _ = nn.RNN(nn.LSTMCell(5), return_carry=True, name="encoder")(source)
    decode = nn.RNN(nn.LSTMCell(5), name="decoder")
    return nn.Dense(2)(decode(target, initial_carry=carry))


def make():
  model = Seq2Seq()
  keys = jax.random.split(jax.random.key(0), 3)
  source = jax.random.normal(keys[0], (4, 20, 3))
  target = jax.random.normal(keys[1], (4, 7, 2))
  params = jax.jit(model.init)(keys[2], source, target)

  def loss_fn(params, batch):
    source, target = batch
    fed = jnp.pad(target[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return jnp.mean((model.apply(params, source, fed) - target) ** 2)

  return loss_fn, params, (source, target)
