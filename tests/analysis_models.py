"""Small models, one of each kind of cell, for the tests of `analysis`."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from steadygrad import models
from steadygrad.cells import elman, linen
from steadygrad.types import Batch

KINDS = ("elman_x", "elman_h", "gru", "lstm")


def cell_of(kind, *, inputs=2, hidden=4, activation="tanh"):
  """A cell in the default float type."""
  dtype = jnp.zeros(()).dtype
  if kind.startswith("elman"):
    return elman(
      inputs, hidden, form=kind[-1], activation=activation, dtype=dtype
    )
  flax_cell = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}[kind]
  return linen(
    flax_cell(features=hidden, dtype=dtype, param_dtype=dtype), inputs
  )


def model_of(kind, *, reads="every", inputs=2, hidden=4, outputs=3, **options):
  dtype = jnp.zeros(()).dtype
  cell = cell_of(kind, inputs=inputs, hidden=hidden, **options)
  readout = models.linear_readout(hidden, outputs, reads=reads, dtype=dtype)
  return models.recurrent(cell, readout)


def params_of(module, seed=0, scale=0.6):
  """Parameters of a cell or model, drawn by NumPy: nothing to compile."""
  rng = np.random.default_rng(seed)
  dtype = jnp.zeros(()).dtype
  shapes = jax.eval_shape(module.init, jax.random.key(0))
  return jax.tree.map(
    lambda s: jnp.asarray(scale * rng.normal(size=s.shape), dtype), shapes
  )


def batch_of(seed=1, *, steps=6, size=3, inputs=2, outputs=3, lengths=None):
  rng = np.random.default_rng(seed)
  dtype = jnp.zeros(()).dtype
  us = jnp.asarray(rng.normal(size=(steps, size, inputs)), dtype)
  targets = jnp.asarray(rng.normal(size=(steps, size, outputs)), dtype)
  return Batch(us, targets, lengths)


def squared_error(outputs, batch):
  """Sum over steps, mean over the batch; reads "last" or "every"."""
  targets = batch.targets[-1] if outputs.ndim == 2 else batch.targets
  return jnp.sum(jnp.square(outputs - targets)) / outputs.shape[-2]
