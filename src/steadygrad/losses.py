"""Losses and success criteria, (outputs, batch) -> array each.

Outputs are [B, O] where a task reads the last step, [T, B, O] where it reads
every step; steps beyond a length do not count.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from steadygrad.types import Array, Batch
from steadygrad.unroll import step_mask


def _mask(outputs: Array, batch: Batch) -> Array | None:
  """bool [T, B] of the steps that count; None where all do."""
  if outputs.ndim == 2:
    return None
  return step_mask(batch.lengths, *outputs.shape[:2])


def cross_entropy(
  outputs: Array, batch: Batch, smoothing: float = 0.0
) -> Array:
  """Mean softmax cross-entropy in nats, over sequences (and steps): [].

  Args:
    outputs: logits [B, O] or [T, B, O].
    batch: `targets` are classes, integers [B] or [T, B].
    smoothing: s in [0, 1); the target of the right class is 1 − s + s/O, that
      of the others s/O. At the least loss, which is the entropy of that, logits
      differ by a fixed amount: a right answer with a larger or smaller margin
      has a gradient.
  """
  if smoothing:
    classes = jax.nn.one_hot(batch.targets, outputs.shape[-1])
    targets = optax.smooth_labels(classes, smoothing)
    losses = optax.softmax_cross_entropy(outputs, targets)
  else:
    losses = optax.softmax_cross_entropy_with_integer_labels(
      outputs, batch.targets
    )
  return jnp.mean(losses, where=_mask(outputs, batch))


def squared_error(outputs: Array, batch: Batch) -> Array:
  """|y − target|², summed over outputs, mean over sequences (and steps): [].

  Args:
    outputs: [B, O] or [T, B, O].
    batch: `targets` of the same shape.
  """
  errors = _squared_errors(outputs, batch)
  return jnp.mean(errors, where=_mask(outputs, batch))


def _squared_errors(outputs: Array, batch: Batch) -> Array:
  """[B] or [T, B]; targets of another shape would be broadcast unseen."""
  if outputs.shape != batch.targets.shape:
    raise ValueError(
      f"targets must have the outputs' shape {outputs.shape}, got"
      f" {batch.targets.shape}"
    )
  return jnp.sum(jnp.square(outputs - batch.targets), -1)


def misclassified(outputs: Array, batch: Batch) -> Array:
  """Which sequences are answered wrongly, bool [B].

  Where every step is read a sequence is wrong if any of its steps is. A NaN
  among the logits is a wrong answer.

  Args:
    outputs: logits [B, O] or [T, B, O].
    batch: `targets` are classes, integers [B] or [T, B].
  """
  wrong = jnp.argmax(outputs, -1) != batch.targets
  wrong |= ~jnp.all(jnp.isfinite(outputs), -1)
  return _any_step(wrong, outputs, batch)


def off_by_more(limit: float, outputs: Array, batch: Batch) -> Array:
  """Which sequences have a squared error above `limit`, bool [B].

  Where every step is read a sequence is wrong if any of its steps is. NaN is a
  wrong answer.

  Args:
    limit: on |y − target|², summed over outputs; exactly the limit is right.
    outputs: [B, O] or [T, B, O].
    batch: `targets` of the same shape.
  """
  wrong = ~(_squared_errors(outputs, batch) <= limit)
  return _any_step(wrong, outputs, batch)


# The paper's rule for addition and multiplication. Hochreiter & Schmidhuber
# (1997) ask for an *absolute* error of .04, a stricter rule.
off_by_a_fifth = functools.partial(off_by_more, 0.04)


def _any_step(wrong: Array, outputs: Array, batch: Batch) -> Array:
  """bool [B]: wrong at any step that counts."""
  mask = _mask(outputs, batch)
  if mask is not None:
    wrong &= mask
  return wrong if wrong.ndim == 1 else jnp.any(wrong, 0)
