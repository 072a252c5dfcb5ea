"""Omega on both directions of a tagger: new lines say `# steadygrad`.

Sequences have lengths of their own; each is turned within its length. The
target of a step is the mean of what came before and what comes after it.
"""

import jax
import jax.numpy as jnp
import optax

from steadygrad import adjoints  # steadygrad
from steadygrad import cells, losses, models, transforms
from steadygrad.types import Batch

T, B, N = 20, 16, 16
readout = models.linear_readout(2 * N, 1, reads="every")
model = models.bidirectional(cells.elman(1, N), cells.elman(1, N), readout)
tx = optax.chain(
  transforms.add_omega_gradient(model.cell),  # steadygrad
  transforms.clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


def plain_loss(params, batch):
  outputs = model.apply(params, batch.us, batch.lengths)
  return losses.squared_error(outputs, batch)


@jax.jit
def train_step(params, state, batch):
  # was: loss, grads = jax.value_and_grad(plain_loss)(params, batch)
  run = adjoints(model, losses.squared_error)  # steadygrad
  loss, grads, seen = run(params, batch)  # steadygrad
  # was: new, state = tx.update(grads, state, params)
  new, state = tx.update(grads, state, params, trajectory=seen)  # steadygrad
  return optax.apply_updates(params, new), state, loss, grads


def draw(key):
  us = jax.random.normal(key, (T, B, 1))
  lengths = jax.random.randint(key, (B,), 5, T + 1)
  us = jnp.where(jnp.arange(T)[:, None, None] < lengths[:, None], us, 0)
  return Batch(us, (jnp.sum(us, 0) - us) / lengths[:, None], lengths)


def main(num_updates=100):
  params = model.init(jax.random.key(0))
  state = tx.init(params)
  for i in range(num_updates):
    batch = draw(jax.random.key(i))
    params, state, loss, grads = train_step(params, state, batch)
  return loss, grads
