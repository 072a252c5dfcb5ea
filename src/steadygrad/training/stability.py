"""How steady a run is: spikes of its loss, and what its clipping did.

A spike is a loss more than 7 standard deviations and .05 above the mean of the
200 before it, as in the spike score of OLMo 2 (arXiv 2501.00656) but for the
.05: without it a solved run, whose losses hardly vary, has spikes of nothing.
A spike is over with the first loss under the bound that it broke.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import Array

WINDOW = 200
DEVIATIONS = 7.0
FLOOR = 0.05  # Nats, or what else the loss is in.
# Learned is a run once 18 of 20 losses in a row are under .05.
LEARNED, OF, UNDER = 18, 20, 0.05


class Stability(NamedTuple):
  """What was counted so far; all zero at the start.

  Attributes:
    losses: a ring of the last ones, float32 [200].
    count: finite losses so far, int32 [].
    updates: that were looked at, int32 [].
    spikes: losses that were spikes, int32 [].
    nonfinite: losses that were inf or NaN, int32 []; they are no spikes.
    largest: the largest finite loss, float32 [].
    clipped: updates that a rule of clipping changed, int32 [].
    skipped: updates that one made zeros of, int32 [].
    bound: that the spike broke which is not over, float32 [].
    open_for: updates since that spike, 0 without one, int32 [].
    longest: updates that the longest spike took to be over, int32 [].
    under: one bit for each of the last 20 losses, set if it was under .05, the
      newest lowest, uint32 [].
    learned_at: updates when 18 of these were, 0 before, int32 [].
  """

  losses: Array
  count: Array
  updates: Array
  spikes: Array
  nonfinite: Array
  largest: Array
  clipped: Array
  skipped: Array
  bound: Array
  open_for: Array
  longest: Array
  under: Array
  learned_at: Array


def init() -> Stability:
  """Before the first update."""
  number, integer = jnp.zeros([], jnp.float32), jnp.zeros([], jnp.int32)
  blank = dict.fromkeys(Stability._fields, integer)
  blank |= {"losses": jnp.zeros([WINDOW], jnp.float32)}
  blank |= {"largest": number, "bound": number}
  blank |= {"under": jnp.zeros([], jnp.uint32)}
  return Stability(**blank)


def update(seen: Stability, info: dict[str, Array]) -> Stability:
  """With one more update.

  Args:
    seen: before it.
    info: what `training.update` tells: "loss", a total where there are
      "steps"; "clipped" and "skipped" where the chain tells them.
  """
  loss = info["loss"]
  if "steps" in info:
    loss = loss / jnp.maximum(info["steps"], 1)
  finite = jnp.isfinite(loss)
  limit = _limit(seen.losses)
  spike = finite & (seen.count >= WINDOW) & (loss > limit)
  open_before = seen.open_for > 0
  over = open_before & finite & (loss <= seen.bound)
  opens = spike & ~open_before
  goes_on = opens | (open_before & ~over)
  bit = (loss < UNDER).astype(jnp.uint32)
  under = ((seen.under << 1) | bit) & jnp.uint32(2**OF - 1)
  updates = seen.updates + 1
  learned = jax.lax.population_count(under) >= LEARNED
  first = learned & (seen.learned_at == 0)
  place = seen.count % WINDOW
  kept = jnp.where(finite, loss, seen.losses[place])
  return Stability(
    losses=seen.losses.at[place].set(kept),
    count=_plus(seen.count, finite),
    updates=updates,
    spikes=_plus(seen.spikes, spike),
    nonfinite=_plus(seen.nonfinite, ~finite),
    largest=jnp.where(finite, jnp.maximum(seen.largest, loss), seen.largest),
    clipped=_plus(seen.clipped, info.get("clipped", 0.0) > 0),
    skipped=_plus(seen.skipped, info.get("skipped", 0.0) > 0),
    bound=jnp.where(opens, limit, seen.bound),
    open_for=jnp.where(goes_on, seen.open_for + 1, 0),
    longest=jnp.where(
      over, jnp.maximum(seen.longest, seen.open_for), seen.longest
    ),
    under=under,
    learned_at=jnp.where(first, updates, seen.learned_at),
  )


def _limit(losses: Array) -> Array:
  """The bound of a spike after these losses, []."""
  mean = jnp.mean(losses)
  deviation = jnp.sqrt(jnp.mean(jnp.square(losses - mean)))
  return mean + DEVIATIONS * deviation + FLOOR


def _plus(count: Array, more: Any) -> Array:
  return count + jnp.asarray(more, count.dtype)


def told(seen: Stability, unit: float = 1.0) -> dict[str, Any]:
  """What a record holds of it, as Python's numbers.

  Args:
    seen: after the last update.
    unit: of the record's losses, in those of training.
  """
  learned = int(seen.learned_at)
  return {
    "updates": int(seen.updates),
    "spikes": int(seen.spikes),
    "nonfinite": int(seen.nonfinite),
    "largest_loss": np.float32(seen.largest * unit),
    "clipped": int(seen.clipped),
    "skipped": int(seen.skipped),
    "longest_recovery": int(seen.longest),
    "recovering_for": int(seen.open_for),
    "learned_at": learned or None,
  }
