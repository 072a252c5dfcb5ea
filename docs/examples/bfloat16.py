"""Products in bfloat16: new lines say `# steadygrad`.

With `dtype` a Flax cell multiplies in bfloat16 and keeps parameters and states
in float32. Norms and Omega are formed in float32. No loss scale is needed, for
bfloat16 has the range of float32.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from steadygrad import adjoints  # steadygrad
from steadygrad import cells, models, transforms
from steadygrad.types import Batch

T, B, N = 30, 16, 32
cell = cells.linen(nn.GRUCell(N, dtype=jnp.bfloat16), 1)
model = models.recurrent(cell, models.linear_readout(N, 1))
tx = optax.chain(
  transforms.add_omega_gradient(cell),  # steadygrad
  transforms.clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


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
