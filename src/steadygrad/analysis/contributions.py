"""Eqs. 3 to 5: the gradient split into its temporal contributions.

  dE/dθ   = Σ_t dE_t/dθ                                            eq. 3
  dE_t/dθ = Σ_{k ≤ t} ∂E_t/∂x_t · ∂x_t/∂x_k · ∂⁺x_k/∂θ             eq. 4
  ∂x_t/∂x_k = Π_{t ≥ i > k} ∂x_i/∂x_{i-1}                          eq. 5

∂⁺x_k/∂θ is the immediate derivative: x_{k-1} is held fixed. The term at (t, k)
is the temporal contribution of step k to the error of step t; "long term" where
k ≪ t, "short term" elsewhere.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _unroll as unrolling
from steadygrad import _validate, trees
from steadygrad.analysis import _checks
from steadygrad.numerics import joint_norm
from steadygrad.symbols import dense
from steadygrad.types import Array, Batch, Cell, LossFn, Model, PyTree


class Contributions(NamedTuple):
  """Temporal contributions of E_t at the chosen steps t; S of them.

  Attributes:
    norms: [S, T]; norms[i, k] is the norm of the contribution of xs[k] to the
      gradient of E at steps[i], over all parameters of the cell. Zero for k
      after the step. The batch is summed before the norm is taken, as in the
      gradient itself.
    initial_norms: [S], of what reaches parameters through a learned initial
      state; zero where it is not learned.
    totals: dE_t/dθ, leaves [S, ...] as the cell's parameters.
    parts: the contributions, leaves [S, T, ...], or None.
    initial_parts: leaves [S, ...], or None.
  """

  norms: Array
  initial_norms: Array
  totals: PyTree
  parts: PyTree | None
  initial_parts: PyTree | None


def step_contributions(  # noqa: PLR0913, one pass needs all of a sequence
  cell: Cell,
  params: PyTree,
  us: Array,
  x_0: PyTree,
  xs: PyTree,
  dx_t: PyTree,
  t: Array,
  *,
  lengths: Array | None = None,
  return_parts: bool = False,
) -> tuple[Array, PyTree, PyTree | None, PyTree]:
  """All contributions to the error of one step: one backward pass.

  Where backpropagation adds up the immediate gradients, this takes the norm of
  each as it goes by; nothing of size T · |θ| is kept unless it is asked for.

  Args:
    cell: the cell; only its `step` is used.
    params: its parameters.
    us: [T, B, M].
    x_0: leaves [B, ...].
    xs: leaves [T, B, ...], from `unroll`.
    dx_t: ∂E_t/∂x_t, leaves [B, ...].
    t: the index of the step in xs, an integer [], may be traced.
    lengths: as in `unroll`.
    return_parts: whether the contributions themselves are stacked.

  Returns:
    norms [T]; dE_t/dθ without the initial state's share, as `params`; the
    parts, leaves [T, ...], or None; and dE_t/dx_0, leaves [B, ...].

  Raises:
    ValueError: if us are not [T, B, M], states or dx_t are of another T, B or
      N, lengths are not as in `unroll`, or t is no integer or concretely lies
      outside 0..T-1.
  """
  unrolling.batch_size(us)
  if not jnp.issubdtype(jnp.result_type(t), jnp.integer) or jnp.ndim(t):
    raise ValueError(f"t must be an integer [], got {t!r}")
  if _validate.is_concrete(t) and not 0 <= t < len(us):
    raise ValueError(f"t must lie in 0..{len(us) - 1}, got {t}")
  _checks.check_leading("x_0", x_0, us.shape[1:2])
  _checks.check_leading("xs", xs, us.shape[:2])
  _validate.check_same_shapes("dx_t", dx_t, x_0)
  lengths = unrolling.check_lengths(lengths, *us.shape[:2])
  mask = unrolling.step_mask(lengths, len(us), us.shape[1])
  x_tm1s = unrolling.previous_states(x_0, xs)

  # Beyond t the products are zero, so that the signal begins with dx_t.
  def step(carry, inputs):
    p_tp1, total = carry
    k, x_tm1, u_k, mask_k = inputs
    delta = jax.tree.map(lambda d, p: jnp.where(k == t, d, p), dx_t, p_tp1)
    zeros = jax.tree.map(jnp.zeros_like, delta)
    sent = unrolling.select(mask_k, delta, zeros)
    _, vjp = trees.vjp(lambda p, x: cell.step(p, x, u_k), params, x_tm1)
    part, product = vjp(sent)
    total = jax.tree.map(jnp.add, total, part)
    kept = part if return_parts else None
    return (unrolling.select(mask_k, product, delta), total), (
      joint_norm(trees.inexact_leaves(part)),
      kept,
    )

  zeros = jax.tree.map(jnp.zeros_like, (x_0, params))
  inputs = (jnp.arange(len(us)), x_tm1s, us, mask)
  (dx_0, total), (norms, parts) = jax.lax.scan(
    step, zeros, inputs, reverse=True
  )
  return norms, total, parts, dx_0


def temporal_contributions(
  model: Model,
  loss_fn: LossFn,
  *,
  steps: Sequence[int] | None = None,
  return_parts: bool = False,
) -> Callable[[PyTree, Batch], tuple[Array, Contributions]]:
  """dE_t/dθ of the cell's parameters split over k, for every chosen t.

  E_t is the part of the loss that sees the state through x_t; its derivative is
  the immediate gradient of the loss in xs[t]. A readout of the last step has
  one: steps=(-1,).

  Args:
    model: the model.
    loss_fn: (outputs, batch) -> loss [].
    steps: indices t into xs, -T..T-1; all T if None, at the cost of T passes.
    return_parts: whether the contributions themselves are returned too; S · T
      times the size of the parameters.

  Returns:
    (params, batch) -> (loss [], `Contributions`). Pure: jit and vmap it.
    `totals` over all steps add up to the gradient of the cell's parameters, and
    `parts` with `initial_parts` to `totals`, to rounding. With one step the
    cost is that of one backward pass. Beyond a sequence's length contributions
    are zero, and what is read from the padded rows reaches the last real step.

  Raises:
    ValueError: if a step lies outside, the batch is no `Batch` or its inputs
      are not [T, B, M], or the parameters have not their two parts.

  Example:
    >>> import jax
    >>> from steadygrad import cells, models, tasks
    >>> from steadygrad.analysis import temporal_contributions
    >>> task = tasks.temporal_order(length=10)
    >>> cell = cells.elman(task.input_size, hidden_size=8)
    >>> model = models.recurrent(cell, models.linear_readout(8, 4))
    >>> params = model.init(jax.random.key(0))
    >>> batch = task.sample(jax.random.key(1), 5)
    >>> split = temporal_contributions(model, task.loss, steps=(-1,))
    >>> loss, found = split(params, batch)
    >>> found.norms.shape  # One t, all k.
    (1, 10)
  """
  cell = model.cell

  def split(params, batch: Batch):
    _validate.check_batch(batch)
    _validate.check_params(params)
    batch = dense(batch)
    num_steps, size = len(batch.us), unrolling.batch_size(batch.us)
    chosen = _indices(steps, num_steps)
    theta, lengths = params["cell"], batch.lengths
    x_0, pull_x_0 = trees.vjp(lambda p: cell.initial_state(p, size), theta)
    xs = unrolling.unroll(cell, theta, batch.us, x_0=x_0, lengths=lengths)
    mask = unrolling.step_mask(lengths, num_steps, size)

    def immediate_loss(xs):
      ys = cell.output(xs)
      outputs = model.readout.read(params["readout"], ys, mask)
      return loss_fn(outputs, batch)

    loss, dxs = jax.value_and_grad(immediate_loss, allow_int=True)(xs)
    dxs = trees.zeros_where_exact(dxs, xs)

    def one(t):
      dx_t = jax.tree.map(lambda d: d[t], dxs)
      norms, total, parts, dx_0 = step_contributions(
        cell,
        theta,
        batch.us,
        x_0,
        xs,
        dx_t,
        t,
        lengths=lengths,
        return_parts=return_parts,
      )
      initial = pull_x_0(dx_0)[0]
      total = jax.tree.map(jnp.add, total, initial)
      kept = initial if return_parts else None
      initial_norm = joint_norm(trees.inexact_leaves(initial))
      return Contributions(norms, initial_norm, total, parts, kept)

    return loss, jax.vmap(one)(jnp.asarray(chosen))

  return split


def _indices(steps: Sequence[int] | None, num_steps: int) -> list[int]:
  """Steps counted from 0; ValueError where one lies outside."""
  if steps is None:
    return list(range(num_steps))
  try:
    steps = [operator.index(t) for t in steps]
  except TypeError:
    raise ValueError(f"steps must be integers, got {steps!r}") from None
  if not steps:
    raise ValueError("steps must name at least one step")
  for t in steps:
    if not -num_steps <= t < num_steps:
      raise ValueError(f"steps must lie in -{num_steps}..{num_steps - 1}: {t}")
  return [t % num_steps for t in steps]
