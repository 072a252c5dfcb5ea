"""Ω as an Optax link; what Ω is, and its equations, are in `_omega`."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate, numerics, trees, varying
from steadygrad.transforms import _common
from steadygrad.transforms._omega import (
  MIN_SQUARED_NORM,
  OmegaTerms,
  check_modes,
  check_trajectory,
  omega_gradient,
  omega_terms,
  recurrent_part,
)
from steadygrad.types import Array, Cell, Fused, PyTree, Trajectory

__all__ = [
  "MIN_SQUARED_NORM",
  "OmegaState",
  "OmegaTerms",
  "add_omega_gradient",
  "omega_gradient",
  "omega_terms",
]

# α, or a schedule of it: Optax's or a function of the update count.
Weight = optax.ScalarOrSchedule | Callable[[Array], Array]


class OmegaState(NamedTuple):
  """State of `add_omega_gradient`.

  Attributes:
    count: updates so far, int32 [].
    omega: Ω at the last update, [].
    valid_fraction: share of (step, sequence) pairs that counted, [].
  """

  count: Array
  omega: Array
  valid_fraction: Array

  def metrics(self) -> dict[str, Array]:
    """What `telemetry` shows."""
    return {"omega": self.omega, "omega_valid_fraction": self.valid_fraction}


def _check_order(wrong: Array) -> None:
  """ValueError if the updates point down; traced values pass."""
  if _validate.is_concrete(wrong) and wrong:
    raise ValueError(
      "the updates that reach add_omega_gradient point against the gradient of"
      " the loss, as behind an optimiser, where it would climb Omega: put it"
      " before, optax.chain(add_omega_gradient(cell), optax.adam(1e-3))"
    )


def _check_cell(cell: Cell, trajectory: Trajectory) -> None:
  """ValueError unless the cell may have made the trajectory."""
  size = jax.tree.leaves(trajectory.deltas)[0].shape[1]
  try:
    own = jax.eval_shape(
      lambda p: cell.initial_state(p, size), trajectory.params
    )
  except Exception as error:
    raise ValueError(
      f"trajectory must be of the cell, got params it does not take: {error}"
    ) from error
  wanted = jax.tree.map(lambda x: x.shape, own)
  given = jax.tree.map(lambda x: x.shape[1:], trajectory.products)
  if wanted != given:
    raise ValueError(
      f"trajectory must be of the cell, whose states are {wanted}, got {given}"
    )


def _fused_of(cell: Cell, merged: bool) -> Fused | None:
  """The pair by which a merged gradient is formed; None if it is not.

  Raises:
    ValueError: if it is no `Cell`, `merged` no bool, or there is no such pair.
  """
  if not isinstance(cell, Cell):
    raise ValueError(f"cell must be a steadygrad Cell, got {type(cell)}")
  _validate.check_one_of("merged", merged, (True, False))
  if merged and (cell.fused is None or cell.fused.factors is None):
    raise ValueError("merged=True needs a cell with a fused pair of one layer")
  return cell.fused if merged else None


def _cell_gradient(
  cell: Cell,
  fused: Fused | None,
  trajectory: Trajectory,
  terms: OmegaTerms,
  alpha: jax.typing.ArrayLike,
) -> PyTree:
  """∂Ω/∂w_rec; of a fused pair the loss's gradient in the cell + α ∂Ω/∂w_rec.

  Zeros or None in the parameters that Ω leaves alone.
  """
  if fused is None:
    return omega_gradient(cell, trajectory, terms.cotangents)
  slope = terms.slope._replace(slope=alpha * terms.slope.slope)
  grads = fused.gradient(trajectory, slope)
  return varying.summed_like(grads, trajectory.params)


def _combine(merged, alpha, u, g):
  """The gradient in place of an update, or u + α g."""
  if u.shape != g.shape:
    raise ValueError(
      "trajectory must be of the network whose gradients the updates are, got"
      f" a derivative of shape {g.shape} for one of {u.shape}"
    )
  if merged:
    return g
  return numerics.add(u, jnp.multiply(*numerics.promoted(alpha, g)))


def add_omega_gradient(
  cell: Cell,
  weight: Weight = 4.0,
  *,
  ratio: str = "squared",
  reduction: str = "mean",
  min_squared_norm: float | Array = MIN_SQUARED_NORM,
  at: tuple[str, ...] = ("cell",),
  merged: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """Adds weight · ∂Ω/∂W_rec to the updates. Eqs. 9 and 10.

  `update` takes `trajectory=`, the third result of `adjoints`; parameters come
  from there. Only leaves present in the updates are written, found by their
  path below `at`, so that `optax.masked` and `optax.partition` work, and dtypes
  of the updates are kept.

  Its place is before the clipping, since the joint norm is clipped once, and
  before the optimiser, since what it adds is a gradient and optimisers turn
  gradients into steps of the other sign:

    optax.chain(add_omega_gradient(cell), optax.adam(1e-3))  # right
    optax.chain(optax.adam(1e-3), add_omega_gradient(cell))  # climbs Ω

  The second order is refused at the first update, if no update of the cell has
  the sign of its gradient in `trajectory.grads` and some have the other sign:
  by a ValueError where values are concrete; under jit, which cannot raise, by
  NaN in what the link writes and in its telemetry. It passes unseen where the
  first update is zero, as under a rate that rises from zero, where weight decay
  turned the sign of some update, and with `merged`.

  Args:
    cell: the `Cell` that the trajectory is of.
    weight: α, not negative; a number, a traced value, or a schedule of the
      update count. A schedule may decay to zero; where a traced weight is
      negative Ω is climbed.
    ratio: "squared" (the authors' code) or "norm" (eq. 9).
    reduction: "mean" (the authors' code) or "sum" (eq. 9). A mean is a ratio of
      two sums over the batch and hence not additive over microbatches: keep it
      outside `optax.MultiSteps`. A sum grows with T: let the weight fall.
    min_squared_norm: a pair counts if |δ_t|² reaches it. The bound is on the
      loss's own scale: multiply the loss by c and it moves by c².
    at: path of the cell's parameters in the updates.
    merged: whether the link may form the cell's gradient and weight ∂Ω/∂w_rec
      as one product from the trajectory, in place of what it receives for the
      cell's parameters. It saves a product under jit and is right only where
      the updates are the gradients that came with the trajectory, untouched:
      first in the chain, no accumulation and no averaging over devices before
      it, no learned initial state. The cell must have a fused pair.

  Returns:
    An Optax transformation with extra arguments and state `OmegaState`. If no
    pair counts it changes nothing. Error signals that are not finite do not
    count, so Ω adds no further NaN.

  Raises:
    ValueError: for an unknown mode or a concrete weight or bound that is
      negative or not finite; at update if `trajectory` is missing or of another
      network, no leaf that Ω touches lies below `at`, or the link stands behind
      an optimiser, see above.

  Example:
    >>> import jax, optax
    >>> from flax import linen as nn
    >>> from steadygrad import adjoints, cells, models, tasks, telemetry
    >>> from steadygrad.transforms import add_omega_gradient
    >>> task = tasks.temporal_order(length=10)
    >>> cell = cells.linen(nn.GRUCell(features=8), task.input_size)
    >>> model = models.recurrent(cell, models.linear_readout(8, 4))
    >>> tx = optax.chain(add_omega_gradient(cell), optax.adam(1e-3))
    >>> params = model.init(jax.random.key(0))
    >>> batch = task.sample(jax.random.key(1), 5)
    >>> loss, grads, trajectory = adjoints(model, task.loss)(params, batch)
    >>> updates, state = tx.update(
    ...   grads, tx.init(params), params, trajectory=trajectory
    ... )
    >>> bool(telemetry(state)["omega"] > 0)
    True
  """
  fused = _fused_of(cell, merged)
  _common.check_rate("weight", weight)
  _common.check_path("at", at)
  check_modes(ratio, reduction, min_squared_norm)

  def init(params):
    dtype = numerics.accumulator_dtype(*trees.inexact_leaves(params))
    zero = jnp.zeros([], dtype)
    state = OmegaState(jnp.zeros([], jnp.int32), zero, zero)
    return varying.alike(state, params)

  def update(updates, state, params=None, *, trajectory=None, **extra_args):
    del params, extra_args
    trajectory = check_trajectory(trajectory)
    _check_cell(cell, trajectory)
    trajectory = recurrent_part(cell, trajectory)
    terms = omega_terms(
      trajectory,
      ratio=ratio,
      reduction=reduction,
      min_squared_norm=min_squared_norm,
    )
    alpha = weight(state.count) if callable(weight) else weight
    omega = terms.omega
    if trajectory.grads is not None and not merged:
      grads = _common.leaves_by_path(trajectory.grads, below=at)
      wrong = (state.count == 0) & _common.points_down(updates, grads)
      _check_order(wrong)
      alpha, omega = (jnp.where(wrong, jnp.nan, x) for x in (alpha, omega))
    grads = _cell_gradient(cell, fused, trajectory, terms, alpha)
    updates = _common.write_paths(
      updates,
      _common.leaves_by_path(grads, below=at),
      functools.partial(_combine, merged, alpha),
    )
    dtype = state.omega.dtype
    return updates, OmegaState(
      jnp.asarray(optax.safe_increment(state.count)),
      omega.astype(dtype),
      terms.valid_fraction.astype(dtype),
    )

  return optax.GradientTransformationExtraArgs(init, update)
