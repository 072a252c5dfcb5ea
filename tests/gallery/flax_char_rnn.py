"""Flax linen: a language model of characters, an error at every step."""

import jax
import optax
from flax import linen as nn


class CharRNN(nn.Module):
  symbols: int = 11

  @nn.compact
  def __call__(self, text):  # [B, T] integers
    x = nn.Embed(self.symbols, 6)(text)
    x = nn.RNN(nn.GRUCell(8))(x)
    return nn.Dense(self.symbols)(x)


def make():
  model = CharRNN()
  text = jax.random.randint(jax.random.key(0), (4, 21), 0, model.symbols)
  params = jax.jit(model.init)(jax.random.key(1), text[:, :-1])

  def loss_fn(params, text):
    logits = model.apply(params, text[:, :-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits, text[:, 1:]
    )
    return losses.mean()

  return loss_fn, params, text
