"""Losses and success criteria, (outputs, batch) -> array each.

Outputs are [B, O] where a task reads the last step, [T, B, O] where it reads
every step; steps beyond a length do not count.
"""

import jax.numpy as jnp
import optax

from steadygrad.types import Array, Batch
from steadygrad.unroll import step_mask


def _mask(outputs: Array, batch: Batch) -> Array | None:
  """bool [T, B] of the steps that count; None where all do."""
  if outputs.ndim == 2:
    return None
  return step_mask(batch.lengths, *outputs.shape[:2])


def cross_entropy(outputs: Array, batch: Batch) -> Array:
  """Mean softmax cross-entropy in nats, over sequences (and steps): [].

  Args:
    outputs: logits [B, O] or [T, B, O].
    batch: `targets` are classes, integers [B] or [T, B].
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(
    outputs, batch.targets
  )
  return jnp.mean(losses, where=_mask(outputs, batch))


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
  mask = _mask(outputs, batch)
  if mask is not None:
    wrong &= mask
  return wrong if wrong.ndim == 1 else jnp.any(wrong, 0)
