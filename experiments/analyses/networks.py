"""Small networks that the analyses look at, and data to run them on."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from steadygrad import adjoints, initializers, models
from steadygrad.cells import elman, linen
from steadygrad.tasks import temporal_order
from steadygrad.transforms.clipping import clip_by_global_norm
from steadygrad.transforms.omega import add_omega_gradient
from steadygrad.types import Batch

CELLS = ("elman", "gru", "lstm")
_FLAX = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


def cell_of(kind, inputs, hidden, gain=1.0):
  """A cell whose recurrent weights are `gain` times the usual size.

  Elman: w_rec N(0, gain² / N), tanh. GRU and LSTM: Flax's orthogonal recurrent
  matrices times gain.
  """
  dtype = jnp.zeros(()).dtype  # float64 where an analysis asks for it.
  if kind == "elman":
    fan_in = jax.nn.initializers.lecun_normal()
    normal = jax.nn.initializers.normal(gain / hidden**0.5)
    return elman(
      inputs,
      hidden,
      initializers=initializers.Initializers(normal, fan_in, fan_in),
      dtype=dtype,
    )
  orthogonal = jax.nn.initializers.orthogonal(gain)
  cell = _FLAX[kind](
    features=hidden,
    recurrent_kernel_init=orthogonal,
    dtype=dtype,
    param_dtype=dtype,
  )
  return linen(cell, inputs)


def noise_model(kind, gain, *, steps, hidden=32, size=8):
  """A model that reads every step, its parameters, and noise to run it on."""
  cell = cell_of(kind, 3, hidden, gain)
  model = models.recurrent(
    cell,
    models.linear_readout(hidden, 2, reads="every", dtype=jnp.zeros(()).dtype),
  )
  keys = jax.random.split(jax.random.key(1), 3)
  us = 0.3 * jax.random.normal(keys[0], (steps, size, 3))
  targets = jax.random.normal(keys[1], (steps, size, 2))
  return model, jax.jit(model.init)(keys[2]), Batch(us, targets)


def squared_error(outputs, batch):
  """Sum over steps and outputs, mean over the batch."""
  return jnp.sum(jnp.square(outputs - batch.targets)) / outputs.shape[1]


def task_model(kind, length, hidden):
  """Temporal order at one length, with a model that reads the last step."""
  task = temporal_order(length)
  if kind == "elman":
    basic = initializers.basic_tanh()
    cell = elman(task.input_size, hidden, initializers=basic)
  else:
    cell = cell_of(kind, task.input_size, hidden)
  readout = models.linear_readout(hidden, task.output_size, reads="last")
  return task, models.recurrent(cell, readout)


def descent(task, model, *, weight, learning_rate, max_norm, batch_size):
  """(init, update): SGD with Algorithm 1's clipping, and Omega at `weight`.

  `update` takes ((params, opt_state), key) and gives the next pair; it is the
  body of a `lax.scan`, so that an analysis can stop at chosen updates.
  """
  omega = add_omega_gradient(model.cell, weight=weight) if weight else None
  links = [omega] if omega else []
  tx = optax.chain(
    *links, clip_by_global_norm(max_norm), optax.sgd(learning_rate)
  )
  step = adjoints(model, task.loss)

  def init(key):
    params = model.init(key)
    return params, tx.init(params)

  def update(carry, key):
    params, state = carry
    loss, grads, trajectory = step(params, task.sample(key, batch_size))
    extra = {"trajectory": trajectory} if omega else {}
    updates, state = tx.update(grads, state, params, **extra)
    return (optax.apply_updates(params, updates), state), loss

  return init, update


def while_training(task, model, watch, keep, *, points, every):
  """What `watch` sees while two runs train: MSGD-C and MSGD-CR.

  Args:
    task: to train on, by batches of 20.
    model: to train.
    watch: (params, batch) -> what it sees; the batch is the same throughout.
    keep: (what is seen, losses of the next `every` updates) -> what to record.
    points: how often it looks.
    every: updates between two looks.

  Returns:
    {"msgd_c": kept, "msgd_cr": kept}, leaves [points, ...], and the settings.
  """
  kept = {}
  shared = dict(learning_rate=0.01, max_norm=1.0, batch_size=20)
  for name, weight in (("msgd_c", 0.0), ("msgd_cr", 4.0)):
    init, update = descent(task, model, weight=weight, **shared)

    @jax.jit
    def run(key, init=init, update=update):
      key_init, key_data, key_watch = jax.random.split(key, 3)
      batch = task.sample(key_watch, 20)

      def point(carry, key):
        seen = watch(carry[0], batch)
        keys = jax.random.split(key, every)
        carry, losses = jax.lax.scan(update, carry, keys)
        return carry, keep(seen, losses)

      keys = jax.random.split(key_data, points)
      return jax.lax.scan(point, init(key_init), keys)[1]

    kept[name] = run(jax.random.key(0))
  return kept, shared | {"omega_weight": 4.0}
