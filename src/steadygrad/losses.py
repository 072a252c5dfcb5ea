"""Losses and success criteria, (outputs, batch) -> array each.

Outputs are [B, O] where a task reads the last step, [T, B, O] where it reads
every step; steps beyond a length do not count.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate
from steadygrad._unroll import check_lengths, step_mask
from steadygrad.numerics import common_dtype, promoted
from steadygrad.types import Array, Batch


def _mask(outputs: Array, batch: Batch) -> Array | None:
  """bool [T, B] of the steps that count; None where all do."""
  if outputs.ndim == 2:
    return None
  lengths = check_lengths(batch.lengths, *outputs.shape[:2])
  return step_mask(lengths, *outputs.shape[:2])


def _mean(losses: Array, mask: Array | None) -> Array:
  """Mean over what counts, []; 0 where nothing does, with gradient 0."""
  mean = jnp.mean(losses, where=mask)
  return mean if mask is None else jnp.where(jnp.any(mask), mean, 0)


def cross_entropy(
  outputs: Array, batch: Batch, smoothing: float = 0.0
) -> Array:
  """Mean softmax cross-entropy in nats, over sequences (and steps): [].

  Of a batch in which no step counts it is 0. Where a target that counts is no
  class, as −1, the loss and the gradient are NaN.

  Args:
    outputs: logits [B, O] or [T, B, O].
    batch: `targets` are classes, integers [B] or [T, B] in 0..O−1; beyond a
      length they may be anything.
    smoothing: s in [0, 1); the target of the right class is 1 − s + s/O, that
      of the others s/O. At the least loss, which is the entropy of that, logits
      differ by a fixed amount: a right answer with a larger or smaller margin
      has a gradient.

  Raises:
    ValueError: if the targets are not integers of the outputs' shape but for
      its last axis, there is no sequence, or smoothing is outside [0, 1).

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.losses import cross_entropy
    >>> from steadygrad.types import Batch
    >>> batch = Batch(us=jnp.zeros((5, 2, 1)), targets=jnp.array([0, 2]))
    >>> logits = jnp.zeros((2, 3))  # All three classes are as likely: log 3.
    >>> print(cross_entropy(logits, batch).round(4))
    1.0986
  """
  _validate.check_number("smoothing", smoothing, below=1)
  classes, mask = _classes(outputs, batch), _mask(outputs, batch)
  wrong = (classes < 0) | (classes >= outputs.shape[-1])
  if mask is not None:
    wrong &= mask
  # Added to the logits, so that their gradient is NaN too.
  nan = jnp.where(wrong, jnp.nan, 0).astype(outputs.dtype)
  outputs = outputs + nan[..., None]
  if _validate.is_concrete(smoothing) and not smoothing:
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, classes)
  else:
    targets = jax.nn.one_hot(classes, outputs.shape[-1])
    targets = optax.smooth_labels(targets, smoothing)
    outputs, targets = promoted(outputs, targets)
    losses = optax.softmax_cross_entropy(outputs, targets)
  return _mean(losses, mask)


def squared_error(outputs: Array, batch: Batch) -> Array:
  """|y − target|², summed over outputs, mean over sequences (and steps): [].

  Of a batch in which no step counts it is 0.

  Args:
    outputs: [B, O] or [T, B, O].
    batch: `targets` of the same shape; beyond a length they may be anything.

  Raises:
    ValueError: if the targets have another shape, or there is no sequence.
  """
  targets, mask = _values(outputs, batch), _mask(outputs, batch)
  return _mean(_squared_errors(outputs, targets, mask), mask)


def _targets(outputs: Array, batch: Batch, shape: tuple[int, ...]) -> Array:
  """The batch's targets; of another shape they would be broadcast unseen."""
  _validate.check_batch(batch)
  targets = batch.targets
  if not hasattr(targets, "dtype"):
    targets = jnp.asarray(targets)
  if outputs.ndim not in (2, 3) or not outputs.size:
    raise ValueError(
      "outputs must be [B, O] or [T, B, O] with at least one sequence, got"
      f" shape {outputs.shape}"
    )
  if targets.shape != shape:
    hint = _validate.batch_major_hint(batch, targets.shape)
    raise ValueError(
      f"targets must have the shape {shape} for outputs of {outputs.shape}, got"
      f" {targets.shape}{hint}"
    )
  return targets


def _classes(outputs: Array, batch: Batch) -> Array:
  """Integers [B] or [T, B], wide enough to be compared with numbers."""
  targets = _targets(outputs, batch, outputs.shape[:-1])
  if not jnp.issubdtype(targets.dtype, jnp.integer):
    raise ValueError(
      f"targets must be classes, integers, got dtype {targets.dtype}"
    )
  return jnp.asarray(targets, common_dtype(targets, jnp.int32))


def _values(outputs: Array, batch: Batch) -> Array:
  """As the outputs."""
  return _targets(outputs, batch, outputs.shape)


def _squared_errors(outputs: Array, targets: Array, mask=None) -> Array:
  """[B] or [T, B]."""
  outputs, targets = promoted(outputs, targets)
  errors = outputs - targets
  if mask is not None:
    # Of a target that is not finite zero times the error would be NaN.
    errors = jnp.where(mask[..., None], errors, 0)
  return jnp.sum(jnp.square(errors), -1)


def misclassified(outputs: Array, batch: Batch) -> Array:
  """Which sequences are answered wrongly, bool [B].

  Where every step is read a sequence is wrong if any of its steps is. A NaN
  among the logits is a wrong answer, and where a target is no class every
  answer is.

  Args:
    outputs: logits [B, O] or [T, B, O].
    batch: `targets` are classes, integers [B] or [T, B].

  Raises:
    ValueError: as `cross_entropy`.
  """
  classes = _classes(outputs, batch)
  wrong = jnp.argmax(outputs, -1).astype(classes.dtype) != classes
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

  Raises:
    ValueError: as `squared_error`, or if the limit is no number.
  """
  _validate.check_number("limit", limit, finite=False)
  wrong = ~(_squared_errors(outputs, _values(outputs, batch)) <= limit)
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
