"""Ω's total derivative beside the immediate one that training uses.

The paper differentiates Ω with x_{t-1} and δ_t held fixed (eq. 10). Both depend
on the parameters: the total derivative follows them, and needs the loss.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import trees
from steadygrad._adjoints import adjoints
from steadygrad.numerics import joint_norm
from steadygrad.transforms.omega import (
  omega_gradient,
  omega_terms,
  recurrent_part,
)
from steadygrad.types import Array, Batch, LossFn, Model, PyTree


class OmegaDerivatives(NamedTuple):
  """Ω, its two derivatives, and how far apart they point.

  Attributes:
    omega: [].
    immediate: as the cell's parameters; zero where eq. 10 has no derivative.
    total: as the cell's parameters.
    cosine: [], of the angle between the two over the leaves that the immediate
      one touches (w_rec for an Elman network); NaN if either is zero there.
    norm_ratio: [], |total| / |immediate| over the same leaves.
  """

  omega: Array
  immediate: PyTree
  total: PyTree
  cosine: Array
  norm_ratio: Array


def omega_total(
  model: Model, loss_fn: LossFn, **modes: Any
) -> Callable[[PyTree, Batch], tuple[Array, PyTree]]:
  """(Ω, dΩ/dθ): the error signals and states move with the parameters.

  Reverse mode through the whole explicit backward pass, about three times the
  cost of a gradient.

  Args:
    model: the model; its cell's fused pair is not used.
    loss_fn: (outputs, batch) -> loss [].
    **modes: `ratio`, `reduction`, `min_squared_norm` of `omega_terms`.

  Returns:
    (params, batch) -> (omega [], grads as params["cell"]). The readout is held
    fixed. Pairs that do not count (see `omega_terms`) contribute nothing.
  """
  generic = model._replace(cell=model.cell._replace(fused=None))

  def total(params, batch: Batch):
    def omega(theta):
      at = trees.place(params, {"cell": theta}, otherwise=lambda p: p)
      trajectory = adjoints(generic, loss_fn)(at, batch)[2]
      trajectory = recurrent_part(generic.cell, trajectory)
      return omega_terms(trajectory, **modes).omega

    theta = params["cell"]
    value, grads = jax.value_and_grad(omega, allow_int=True)(theta)
    return value, trees.zeros_where_exact(grads, theta)

  return total


def omega_derivatives(
  model: Model, loss_fn: LossFn, **modes: Any
) -> Callable[[PyTree, Batch], OmegaDerivatives]:
  """Immediate and total derivative of Ω and the angle between them.

  Args:
    model: the model; the immediate derivative is the one that
      `add_omega_gradient` would add for its cell.
    loss_fn: (outputs, batch) -> loss [].
    **modes: as in `omega_total`.

  Returns:
    (params, batch) -> `OmegaDerivatives`.
  """

  def both(params, batch: Batch):
    omega, total = omega_total(model, loss_fn, **modes)(params, batch)
    trajectory = adjoints(model, loss_fn)(params, batch)[2]
    trajectory = recurrent_part(model.cell, trajectory)
    cotangents = omega_terms(trajectory, **modes).cotangents
    sparse = omega_gradient(model.cell, trajectory, cotangents)
    leaves, structure = jax.tree.flatten(total)
    given = structure.flatten_up_to(sparse)
    touched = [
      (a, b)
      for a, b in zip(given, leaves, strict=True)
      if a is not None and trees.is_inexact(b)
    ]
    norm_a, norm_b = (
      joint_norm([a for a, _ in touched]),
      joint_norm([b for _, b in touched]),
    )
    # Unit vectors first: a product of two tiny norms would underflow.
    zero = (norm_a == 0) | (norm_b == 0)
    safe_a, safe_b = jnp.where(zero, 1, norm_a), jnp.where(zero, 1, norm_b)
    cosine = sum(jnp.sum((a / safe_a) * (b / safe_b)) for a, b in touched)
    immediate = jax.tree.unflatten(
      structure,
      [
        jnp.zeros_like(b) if a is None else a
        for a, b in zip(given, leaves, strict=True)
      ],
    )
    return OmegaDerivatives(
      omega,
      immediate,
      total,
      jnp.where(zero, jnp.nan, cosine),
      jnp.where(zero, jnp.nan, safe_b / safe_a),
    )

  return both
