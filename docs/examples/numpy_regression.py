"""Own arrays of any length; lines for Omega and clip say `# steadygrad`."""

import jax
import numpy as np
import optax

from steadygrad import adjoints  # steadygrad
from steadygrad import cells, losses, models, transforms
from steadygrad.types import Batch

rng = np.random.default_rng(0)
sequences = [rng.normal(size=(n, 2)) for n in rng.integers(5, 20, 400)]
answers = np.stack([s[:3].sum(0) for s in sequences])

lengths = np.array([len(s) for s in sequences], np.int32)
padded = np.zeros((lengths.max(), len(sequences), 2), np.float32)  # [T, B, M]
for i, sequence in enumerate(sequences):
  padded[: len(sequence), i] = sequence


def batch_of(rows):
  return Batch(padded[:, rows], answers[rows].astype("float32"), lengths[rows])


cell = cells.elman(2, 32)
model = models.recurrent(cell, models.linear_readout(32, 2))
tx = optax.chain(
  transforms.add_omega_gradient(cell),  # steadygrad
  transforms.clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


@jax.jit
def loss_fn(params, batch):
  outputs = model.apply(params, batch.us, batch.lengths)
  return losses.squared_error(outputs, batch)


@jax.jit
def train_step(params, state, batch):
  # was: loss, grads = jax.value_and_grad(loss_fn)(params, batch)
  run = adjoints(model, losses.squared_error)  # steadygrad
  loss, grads, seen = run(params, batch)  # steadygrad
  # was: new, state = tx.update(grads, state, params)
  new, state = tx.update(grads, state, params, trajectory=seen)  # steadygrad
  return optax.apply_updates(params, new), state, loss, grads


def main(num_updates=200, size=40):
  train, valid = np.split(rng.permutation(len(sequences)), [320])
  params = model.init(jax.random.key(0))
  state, rows = tx.init(params), []
  for _ in range(num_updates):
    rows = rows if len(rows) else list(rng.permutation(train))
    rows, now = rows[size:], rows[:size]
    params, state, loss, grads = train_step(params, state, batch_of(now))
  return loss, grads, float(loss_fn(params, batch_of(valid)))
