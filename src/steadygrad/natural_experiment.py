"""What a run on music or text is made of: model, encoding, cost, chain."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from steadygrad import cells, models, transforms
from steadygrad.initializers import INITIALIZERS
from steadygrad.natural_config import MUSIC, NaturalConfig
from steadygrad.tasks import music, text
from steadygrad.types import Array, Batch, Model
from steadygrad.unroll import step_mask


class Hyper(NamedTuple):
  """Numbers of a configuration that may be traced, each []."""

  learning_rate: float | Array
  max_norm: float | Array
  omega_weight: float | Array
  omega_min_squared_norm: float | Array


class Experiment(NamedTuple):
  """What a run needs, built from a configuration.

  Attributes:
    config: the `NaturalConfig`.
    model: the `Model`.
    encode: rows of the stream -> inputs [..., M].
    step_losses: (outputs, target rows) -> nats, [...].
    chain: (learning rate, Ω's weight) -> the Optax chain; both may be traced.
    hyper: `Hyper`.
  """

  config: NaturalConfig
  model: Model
  encode: object
  step_losses: object
  chain: object
  hyper: Hyper


def hyper(config: NaturalConfig) -> Hyper:
  """The numbers of a configuration that choose no program."""
  return Hyper(*[getattr(config, name) for name in Hyper._fields])


def experiment(
  config: NaturalConfig,
  num_symbols: int,
  traced: Hyper | None = None,
  *,
  implementation: str | None = None,
) -> Experiment:
  """Model, encoding, cost and chain of a configuration.

  Args:
    config: the configuration.
    num_symbols: M = O, notes or symbols of the vocabulary.
    traced: numbers in place of the configuration's, traced ones too.
    implementation: of the fused passes, see `kernels.elman_scan`.
  """
  if config.data in MUSIC:
    step_losses, encode = music.step_losses, _as_float
  else:
    step_losses = text.step_losses
    encode = functools.partial(jax.nn.one_hot, num_classes=num_symbols)
  cell = _cell(config, num_symbols, implementation)
  readout = models.linear_readout(
    config.hidden_size,
    num_symbols,
    reads="every",
    initializer=INITIALIZERS[config.init]().w_out,
    use_bias=config.use_bias,
  )
  numbers = traced or hyper(config)
  chain = functools.partial(_chain, config, cell, numbers)
  model = models.recurrent(cell, readout)
  return Experiment(config, model, encode, step_losses, chain, numbers)


def _as_float(rows: Array) -> Array:
  return rows.astype(jnp.float32)


def _cell(config, num_symbols, implementation):
  if config.cell == "lstm":
    return cells.linen(
      nn.OptimizedLSTMCell(features=config.hidden_size), num_symbols
    )
  return cells.elman(
    num_symbols,
    config.hidden_size,
    form=config.form,
    activation=config.activation,
    initializers=INITIALIZERS[config.init](),
    use_bias=config.use_bias,
    implementation=implementation,
  )


def _chain(config, cell, numbers, rate, weight):
  links = []
  if config.algorithm == "msgd_cr":
    add_omega = transforms.add_omega_gradient(
      cell,
      weight,
      ratio=config.omega_ratio,
      reduction=config.omega_reduction,
      min_squared_norm=numbers.omega_min_squared_norm,
      # The gradients go from `adjoints` straight to the chain.
      merged=cell.fused is not None,
    )
    links.append(("omega", add_omega))
  max_norm = jnp.inf if config.algorithm == "msgd" else numbers.max_norm
  links.append(("clip", transforms.clip_by_global_norm(max_norm)))
  last = {
    "sgd": optax.sgd,
    "nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "adam": _adam,
  }[config.optimizer]
  links.append((config.optimizer, last(rate)))
  return optax.with_extra_args_support(optax.named_chain(*links))


def _adam(rate) -> optax.GradientTransformation:
  """Optax's takes powers of an integer, which JAX's strict mode refuses."""
  tx = optax.adam(rate)

  def update(updates, state, params=None):
    with jax.numpy_dtype_promotion("standard"):
      return tx.update(updates, state, params)

  return optax.GradientTransformation(tx.init, update)


def masked_losses(exp: Experiment, outputs: Array, batch: Batch) -> Array:
  """Nats [T, B], zero beyond the lengths."""
  losses = exp.step_losses(outputs, batch.targets)
  mask = step_mask(batch.lengths, *losses.shape)
  return jnp.where(mask, losses, 0)


def chunk_cost(
  exp: Experiment, outputs: Array, batch: Batch
) -> tuple[Array, Array]:
  """(cost, sum of the steps' losses), both in nats.

  With `cost` "mean" the cost is the mean over all steps of the chunks of the
  update, each step with the same weight; with "sum" it is the sum over the
  steps of a chunk, and the mean over the chunks with any.
  """
  total = jnp.sum(masked_losses(exp, outputs, batch))
  if exp.config.cost == "mean":
    count = jnp.sum(batch.lengths)
  else:
    count = jnp.sum(batch.lengths > 0)
  return total / jnp.maximum(count, 1).astype(total.dtype), total


def omega_weight(exp: Experiment, epoch: Array) -> Array:
  """α in pass `epoch` + 1, see `omega_decay`."""
  weight = jnp.asarray(exp.hyper.omega_weight, jnp.float32)
  if exp.config.omega_decay == "epoch":
    weight = weight / (epoch + 1).astype(weight.dtype)
  return weight
