"""Attractors, and their basins on a line or a plane of starts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import _validate
from steadygrad.analysis import _checks
from steadygrad.analysis.dynamics import (
  check_map,
  first_of_each,
  iterate,
  merge_radius,
)
from steadygrad.types import Array


class Attractors(NamedTuple):
  """Where S orbits settle.

  Attributes:
    orbits: [S, P, N], P successive states after the transient.
    periods: int32 [S], 1 for a fixed point; 0 where no period up to P was seen:
      chaos, a longer or quasi-periodic orbit, a transient too short, or escape.
    converged: bool [S], periods > 0.
    distinct: bool [S], the first of each group of equal attractors.
    count: int32 [], number of distinct attractors.
    num_failed: int32 [], starts that did not settle.
  """

  orbits: Array
  periods: Array
  converged: Array
  distinct: Array
  count: Array
  num_failed: Array


def attractors(
  f: Callable[[Array], Array],
  starts: Array,
  *,
  num_steps: int = 1000,
  max_period: int = 8,
  tolerance: float | None = None,
  merge_within: float | None = None,
) -> Attractors:
  """Stable fixed points and cycles, by letting orbits settle.

  Args:
    f: [N] -> [N].
    starts: [S, N].
    num_steps: length of the transient.
    max_period: P, longest period looked for.
    tolerance: an orbit has period p if |x_{t+p} - x_t| ≤ tolerance (1 + |x_t|);
      1000 units in the last place if None.
    merge_within: attractors closer than it are one, see
      `dynamics.fixed_points`.

  Returns:
    `Attractors`. Beside a bifurcation, and near the identity, orbits crawl and
    may look settled: `fixed_points` estimates how far they are from one.

  Raises:
    ValueError: if an argument is not as above, the starts are concretely not
      finite, or f does not keep shape and dtype.
  """
  starts = check_map(f, starts, half=True)
  _validate.check_integer("num_steps", num_steps)
  _validate.check_integer("max_period", max_period)
  if tolerance is not None:
    _validate.check_number("tolerance", tolerance, finite=False)
  within = merge_radius(merge_within, starts.dtype)
  eps = jnp.finfo(starts.dtype).eps
  limit = 1000 * eps if tolerance is None else tolerance

  def settle(x):
    x = iterate(f, num_steps)(x)
    return jax.lax.scan(lambda x, _: (f(x), x), x, None, length=max_period + 1)

  _, orbits = jax.vmap(settle)(starts)
  first = orbits[:, :1]
  returns = jnp.linalg.norm(orbits[:, 1:] - first, axis=-1)
  near = returns <= limit * (1 + jnp.linalg.norm(first, axis=-1))
  ok = near.any(1) & jnp.isfinite(orbits).all((1, 2))
  periods = jnp.where(ok, 1 + jnp.argmax(near, 1), 0).astype(jnp.int32)
  orbits = orbits[:, :max_period]
  safe = jnp.where(ok[:, None, None], orbits, 0)
  distances = jnp.min(
    jnp.linalg.norm(safe[:, None, :1] - safe[None], axis=-1), -1
  )
  distinct = first_of_each(distances, ok, within)
  return Attractors(
    orbits,
    periods,
    ok,
    distinct,
    jnp.sum(distinct, dtype=jnp.int32),
    jnp.sum(~ok, dtype=jnp.int32),
  )


def start_grid(
  lower: float | Sequence[float],
  upper: float | Sequence[float],
  resolution: int,
) -> Array:
  """Starts on a regular grid of one or two dimensions.

  Args:
    lower: corner, one or two numbers.
    upper: the opposite corner.
    resolution: R, points a side.

  Returns:
    [R, 1] or [R, R, 2]; grid[i, j] varies along the first coordinate with j, as
    an image does.

  Raises:
    ValueError: in more dimensions, if lower is not below upper or one of them
      not finite, or the resolution is not an integer of at least 1.
  """
  low = np.atleast_1d(_checks.real_numbers("lower", lower))
  high = np.atleast_1d(_checks.real_numbers("upper", upper))
  if low.shape != high.shape or low.shape not in ((1,), (2,)):
    raise ValueError(f"a grid has 1 or 2 dimensions, got {low}, {high}")
  if not (low < high).all():
    raise ValueError(f"lower must lie below upper, got {low}, {high}")
  _validate.check_integer("resolution", resolution)
  ends = zip(low, high, strict=True)
  axes = [jnp.linspace(a, b, resolution) for a, b in ends]
  return jnp.stack(jnp.meshgrid(*axes, indexing="xy"), -1)


def basin_labels(
  f: Callable[[Array], Array],
  attractors: Attractors,
  starts: Array,
  *,
  num_steps: int = 1000,
  within: float = 1e-2,
) -> Array:
  """Which attractor each start ends in.

  Args:
    f: [N] -> [N].
    attractors: from `attractors` of the same map; only those marked
      distinct are labels.
    starts: [..., N].
    num_steps: how long each start runs.
    within: how near it must come.

  Returns:
    int32 [...]: the index of the attractor into `attractors`, or -1 where none
    of them was reached in time.

  Raises:
    ValueError: if the starts are not of the attractors' size or concretely not
      finite, f does not keep shape and dtype, or an option is not as above.
  """
  orbits = attractors.orbits
  starts = _checks.real_array("starts", starts, "[..., N]", half=True)
  if starts.shape[-1] != orbits.shape[-1]:
    raise ValueError(
      f"starts must be [..., {orbits.shape[-1]}] as the attractors are, got"
      f" shape {starts.shape}"
    )
  _validate.check_integer("num_steps", num_steps)
  _validate.check_number("within", within, finite=False)
  flat = starts.reshape(-1, starts.shape[-1])
  _checks.check_keeps("f", f, flat[0])

  def label(x):
    x = iterate(f, num_steps)(x)
    distances = jnp.linalg.norm(orbits - x[None, None], axis=-1).min(1)
    usable = attractors.distinct & jnp.isfinite(distances)
    distances = jnp.where(usable, distances, jnp.inf)
    nearest = jnp.argmin(distances)
    return jnp.where(distances[nearest] <= within, nearest, -1)

  labels = jax.lax.map(label, flat, batch_size=4096)
  return labels.astype(jnp.int32).reshape(starts.shape[:-1])
