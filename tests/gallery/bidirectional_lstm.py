"""Flax linen: an LSTM in each direction, a label for each step."""

import jax
import optax
from flax import linen as nn


class Tagger(nn.Module):
  @nn.compact
  def __call__(self, x):
    back = nn.RNN(nn.OptimizedLSTMCell(5), reverse=True, keep_order=True)
    x = nn.Bidirectional(nn.RNN(nn.OptimizedLSTMCell(5)), back)(x)
    return nn.Dense(3)(x)


def make():
  model = Tagger()
  x = jax.random.normal(jax.random.key(0), (4, 20, 3))
  labels = jax.random.randint(jax.random.key(1), (4, 20), 0, 3)
  params = jax.jit(model.init)(jax.random.key(2), x)

  def loss_fn(params, batch):
    losses = optax.softmax_cross_entropy_with_integer_labels(
      model.apply(params, batch["x"]), batch["labels"]
    )
    return losses.mean()

  return loss_fn, params, {"x": x, "labels": labels}
