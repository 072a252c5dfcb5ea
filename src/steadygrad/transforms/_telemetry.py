"""The numbers the links keep, by name; and the paper's threshold rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from steadygrad import _validate
from steadygrad.types import Array, PyTree


def telemetry(opt_state: PyTree) -> dict[str, Array]:
  """What each link of a chain recorded at its last update, by name.

  A link takes part by having a state with a method `metrics() -> {name: []}`;
  ours have `gradient_norm`, `clipped`, `finite` (clipping), `measured`,
  `threshold`, `skipped`, `warming_up` (its rules but Algorithm 1), `omega`,
  `omega_valid_fraction` (Ω), `updates_finite`, `nonfinite_count` (the rules for
  gradients that are not finite).

  Args:
    opt_state: state of any Optax transformation, ours somewhere inside it.

  Returns:
    {name: scalar}, plain arrays, in the order of the chain outside jit. Where
    two links have the same name the later ones get "_2", "_3".

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.transforms import msgd_c
    >>> from steadygrad.transforms import telemetry
    >>> tx = msgd_c(learning_rate=0.5, max_norm=1.0)
    >>> grads = {"w": jnp.array([3.0, 4.0])}
    >>> updates, state = tx.update(grads, tx.init(grads))
    >>> {name: value.item() for name, value in telemetry(state).items()}
    {'gradient_norm': 5.0, 'clipped': True, 'finite': True}
  """
  found: dict[str, Array] = {}

  def visit(node):
    if not hasattr(node, "metrics"):
      return
    for name, value in node.metrics().items():
      number = 2
      unique = name
      while unique in found:
        unique, number = f"{name}_{number}", number + 1
      found[unique] = jnp.asarray(value)
    for child in node:
      jax.tree.map(visit, child, is_leaf=lambda x: hasattr(x, "metrics"))

  jax.tree.map(visit, opt_state, is_leaf=lambda x: hasattr(x, "metrics"))
  return found


class ThresholdAdvice(NamedTuple):
  """What `choose_max_norm` found.

  Attributes:
    suggested: the average norm, the paper's rule of thumb.
    low: half of it, the smallest threshold the paper found to converge.
    high: ten times it, the largest.
    clipped_fraction: share of updates the threshold in question rescales.
    role: "guard" if it rescales at most half of the updates, "step size" if
      more: then the norm of most updates is learning rate times max_norm, and
      max_norm acts as a second learning rate.
    nonfinite_fraction: share of norms that were inf or NaN, which are left out
      of the average.
  """

  suggested: float
  low: float
  high: float
  clipped_fraction: float
  role: str
  nonfinite_fraction: float


def choose_max_norm(
  gradient_norms: ArrayLike, max_norm: float | None = None
) -> ThresholdAdvice:
  """The paper's rule for the threshold (section 3.2), on the host.

  "One good heuristic is to look at statistics on the average norm over a
  sufficiently large number of updates", and thresholds from half to ten times
  that average still converge, at different speeds. The rule serves whatever has
  a threshold: `measured` of `clip_by_value`, `clip_by_leaf_norm` and `agc`, see
  `clipping.MEASURES`, in place of norms.

  Args:
    gradient_norms: norms before clipping, or what another rule compares with
      its threshold, any shape, from `telemetry`.
    max_norm: the threshold to judge; the suggested one if None.

  Returns:
    `ThresholdAdvice`.

  Raises:
    ValueError: if no norm is finite, one is negative, or max_norm is
      negative or no number.

  Example:
    >>> from steadygrad.transforms import choose_max_norm
    >>> advice = choose_max_norm([0.5, 1.0, 1.5, 5.0])
    >>> advice.suggested, advice.low, advice.high
    (2.0, 1.0, 20.0)
    >>> advice.role, advice.clipped_fraction
    ('guard', 0.25)
  """
  try:
    norms = np.asarray(gradient_norms, np.float64).ravel()
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"gradient_norms must be numbers, got {gradient_norms!r}"
    ) from error
  finite = norms[np.isfinite(norms)]
  if not finite.size or finite.min() < 0:
    raise ValueError(
      "gradient_norms must hold finite norms that are not negative, got"
      f" {finite.size} finite of {norms.size}, the least"
      f" {finite.min(initial=np.inf)}"
    )
  average = float(finite.mean())
  if max_norm is not None:
    _validate.check_number("max_norm", max_norm, least=None, finite=False)
  judged = average if max_norm is None else float(max_norm)
  if judged < 0:
    raise ValueError(f"max_norm must not be negative, got {max_norm}")
  clipped = float(np.mean(finite > judged))
  return ThresholdAdvice(
    suggested=average,
    low=average / 2,
    high=average * 10,
    clipped_fraction=clipped,
    role="step size" if clipped > 0.5 else "guard",
    nonfinite_fraction=1 - finite.size / norms.size,
  )
