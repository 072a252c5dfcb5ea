"""AdamW with a schedule, and a step from the mean of four gradients.

New lines say `# steadygrad`. Omega's mean is a ratio of two sums over the
batch, and is not the mean of those of parts of it: it stands outside of
`optax.MultiSteps`, and adds to each of the four gradients.
"""

import jax
import jax.numpy as jnp
import optax

from steadygrad import adjoints  # steadygrad
from steadygrad import cells, models, transforms
from steadygrad.types import Batch

T, B, N = 30, 16, 32
cell = cells.elman(1, N)
model = models.recurrent(cell, models.linear_readout(N, 1))
rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 10, 100)
steps = optax.MultiSteps(
  optax.chain(
    transforms.clip_by_global_norm(1.0),  # steadygrad
    optax.adamw(rate, weight_decay=1e-4),
  ),
  every_k_schedule=4,
).gradient_transformation()
# was: tx = optax.chain(steps)
tx = optax.chain(transforms.add_omega_gradient(cell), steps)  # steadygrad


def loss_fn(outputs, batch):
  return jnp.mean((outputs - batch.targets) ** 2)


def plain_loss(params, batch):
  return loss_fn(model.apply(params, batch.us), batch)


@jax.jit
def train_step(params, state, batch):
  # was: loss, grads = jax.value_and_grad(plain_loss)(params, batch)
  loss, grads, seen = adjoints(model, loss_fn)(params, batch)  # steadygrad
  # was: new, state = tx.update(grads, state, params)
  new, state = tx.update(grads, state, params, trajectory=seen)  # steadygrad
  return optax.apply_updates(params, new), state, loss, grads


def main(num_updates=100):
  params = model.init(jax.random.key(0))
  state = tx.init(params)
  for i in range(num_updates):
    us = jax.random.normal(jax.random.key(i), (T, B, 1))
    batch = Batch(us, us[0])
    params, state, loss, grads = train_step(params, state, batch)
  return loss, grads
