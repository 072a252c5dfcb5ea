"""What the chain measures, in TensorBoard: lines for Omega and clip are marked.

`telemetry` reads the norm before clipping, Omega, and whether a step was
clipped, as scalars that any writer takes. A launcher's measurements go the same
way: `runs.train(config, directory, on_check=...)`.
"""

import tempfile

import jax
import optax
from tensorboardX import SummaryWriter

from steadygrad import adjoints  # steadygrad
from steadygrad import cells, models, tasks, transforms

task = tasks.temporal_order(length=20)
cell = cells.elman(task.input_size, 32)
model = models.recurrent(cell, models.linear_readout(32, task.output_size))
tx = optax.chain(
  transforms.add_omega_gradient(cell, weight=4.0),  # steadygrad
  transforms.clip_by_global_norm(1.0),  # steadygrad
  optax.sgd(0.01),
)


@jax.jit
def loss_fn(params, batch):
  return task.loss(model.apply(params, batch.us), batch)


@jax.jit
def train_step(params, state, batch):
  # was: loss, grads = jax.value_and_grad(loss_fn)(params, batch)
  loss, grads, seen = adjoints(model, task.loss)(params, batch)  # steadygrad
  # was: new, state = tx.update(grads, state, params)
  new, state = tx.update(grads, state, params, trajectory=seen)  # steadygrad
  return optax.apply_updates(params, new), state, loss, grads


def main(num_updates=100, folder=None):
  params = model.init(jax.random.key(0))
  state = tx.init(params)
  with SummaryWriter(folder or tempfile.mkdtemp()) as writer:
    for i in range(num_updates):
      batch = task.sample(jax.random.key(i), 20)
      params, state, loss, grads = train_step(params, state, batch)
      told = transforms.telemetry(state) | {"loss": loss}
      for name, value in told.items():
        writer.add_scalar(name, float(value), i)
  return loss, grads
