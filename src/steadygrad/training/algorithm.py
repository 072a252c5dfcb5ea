"""The chain of a configuration: Ω, a rule of clipping, the optimiser."""

import functools

import jax.numpy as jnp
import optax

from steadygrad import transforms
from steadygrad.cells.diagonal import EIGENVALUES
from steadygrad.training.config import CorpusConfig, Hyper, TaskConfig
from steadygrad.transforms import clipping
from steadygrad.types import Array, Cell

OPTIMIZERS = {
  "sgd": transforms.sgd,
  "nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
  "adam": transforms.adam,
  "adamw": functools.partial(transforms.adamw, spared=EIGENVALUES),
}


def chain(
  config: TaskConfig | CorpusConfig,
  cell: Cell,
  numbers: Hyper,
  rate: float | Array,
) -> optax.GradientTransformationExtraArgs:
  """Ω, a rule of clipping, the optimiser: what the algorithm has of them.

  Args:
    config: the configuration.
    cell: of the model; Ω is of its states.
    numbers: threshold and weights.
    rate: learning rate, before `learning_rate_half_life`.
  """
  links = []
  if config.algorithm == "msgd_cr":
    add_omega = transforms.add_omega_gradient(
      cell,
      numbers.omega_weight,
      ratio=config.omega_ratio,
      reduction=config.omega_reduction,
      min_squared_norm=numbers.omega_min_squared_norm,
      # The gradients go from `adjoints` straight to the chain.
      merged=cell.fused is not None,
    )
    links.append(("omega", add_omega))
  max_norm = jnp.inf if config.algorithm == "msgd" else numbers.max_norm
  last = OPTIMIZERS[config.optimizer]
  if config.optimizer == "adamw":
    last = functools.partial(last, weight_decay=config.resolved().weight_decay)
  optimizer = last(_falling(config, rate))
  rule = transforms.CLIPS[config.clip]
  if config.clip in clipping.WRAPPERS:
    links.append(("clip", rule(optimizer)))
  else:
    threshold = [max_norm] if config.clip in clipping.BOUNDED else []
    links.append(("clip", rule(*threshold)))
    links.append((config.optimizer, optimizer))
  tx = optax.named_chain(*links)
  if config.readout_learning_rate is not None:
    readout_rate = _falling(config, config.readout_learning_rate)
    tx = transforms.readout_apart(tx, readout_rate, max_norm)
  return optax.with_extra_args_support(tx)


def _falling(
  config: TaskConfig | CorpusConfig, rate: float | Array
) -> optax.ScalarOrSchedule:
  """The rate, or a schedule rate 2^(-t / half_life) in updates t."""
  if config.learning_rate_half_life is None:
    return rate
  return optax.exponential_decay(
    rate, config.learning_rate_half_life, decay_rate=0.5
  )


def omega_weight(
  config: CorpusConfig, weight: float | Array, epoch: Array
) -> Array:
  """α in pass `epoch` + 1, see `omega_decay`."""
  weight = jnp.asarray(weight, jnp.float32)
  if config.omega_decay == "epoch":
    weight = weight / (epoch + 1).astype(weight.dtype)
  return weight
