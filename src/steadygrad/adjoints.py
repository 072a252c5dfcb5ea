"""The explicit backward pass: loss, gradients, and the error signals in time.

Eqs. 3 to 5 in the order in which they are computed:

  xs = forward(params, us, x_0)
  dxs_t = ∂⁺E/∂x_t, the *immediate* gradient of the loss in the states
  δ_t = dxs_t + p_{t+1},  p_t = δ_t ∂x_t/∂x_{t-1},  p_{T+1} = 0
  dE/dθ = Σ_t δ_t ∂⁺x_t/∂θ

δ_t is the total derivative dE/dx_t. Taking the gradient of the loss at the
stacked states instead gives dxs, which for a loss on the last step is zero
everywhere but there, and an Omega of it that does nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad import unroll as unrolling
from steadygrad.types import Backward, Batch, Model, Trajectory


def generic_backward(cell, params, us, x_0, xs, dxs, lengths):
  """(grads, Backward) of any cell: a reverse scan of `jax.vjp(cell.step)`."""
  mask = unrolling.step_mask(lengths, len(us), us.shape[1])
  x_tm1s = unrolling.previous_states(x_0, xs)

  def step(carry, inputs):
    p_tp1, grads = carry
    x_tm1, u_t, dx_t, mask_t = inputs
    delta_t = jax.tree.map(jnp.add, dx_t, p_tp1)
    zeros = jax.tree.map(jnp.zeros_like, delta_t)
    sent = unrolling.select(mask_t, delta_t, zeros)
    _, vjp = jax.vjp(lambda p, x: cell.step(p, x, u_t), params, x_tm1)
    grads_t, product_t = vjp(sent)
    grads = jax.tree.map(jnp.add, grads, grads_t)
    p_t = unrolling.select(mask_t, product_t, delta_t)
    # The vjp is linear, so a product beyond the length is zero already, save
    # where a Jacobian is not finite.
    product_t = unrolling.select(mask_t, product_t, zeros)
    return (p_t, grads), (sent, product_t)

  zeros = jax.tree.map(jnp.zeros_like, (x_0, params))
  (dx_0, grads), (deltas, products) = jax.lax.scan(
    step, zeros, (x_tm1s, us, dxs, mask), reverse=True
  )
  return grads, Backward(deltas, products, dx_0)


def adjoints(
  model: Model, loss_fn: Callable, *, has_aux: bool = False
) -> Callable:
  """Like `jax.value_and_grad` of the model's loss, and the trajectory with it.

  Args:
    model: the model.
    loss_fn: (outputs, batch) -> loss [], or (loss, aux) with `has_aux`.
    has_aux: as in `jax.value_and_grad`.

  Returns:
    (params, batch) -> (loss, grads, trajectory), with `loss` a pair (loss, aux)
    where `has_aux`. The gradients equal those of `jax.grad` of the loss of
    `model.apply`; the trajectory holds the error signals and products that
    `add_omega_gradient` reads. The function is pure: jit, vmap and scan it. The
    cell's fused pair is used where it has one. It is not meant to be
    differentiated again: use `model.apply` for that.

  Raises:
    ValueError: if the batch's inputs are not [T, B, M] with T at least 1, or
      its lengths are not integers [] or [B] in 0..T.
  """
  cell = model.cell

  def loss_and_adjoints(params, batch: Batch):
    batch_size = unrolling.batch_size(batch.us)
    num_steps = len(batch.us)
    if num_steps < 1:
      raise ValueError(f"us must have at least one step, got {num_steps}")
    unrolling.check_lengths(batch.lengths, num_steps, batch_size)
    lengths = None if batch.lengths is None else jnp.asarray(batch.lengths)
    theta = params["cell"]
    x_0 = cell.initial_state(theta, batch_size)

    if cell.fused:
      xs, ys = cell.fused.forward(theta, batch.us, x_0, lengths)
    else:
      xs = unrolling.unroll(cell, theta, batch.us, x_0=x_0, lengths=lengths)
      ys = cell.output(xs)

    loss, (d_readout, dys) = jax.value_and_grad(
      lambda p, ys: loss_fn(model.readout.apply(p, ys), batch),
      argnums=(0, 1),
      has_aux=has_aux,
    )(params["readout"], ys)

    if cell.fused:
      back = cell.fused.backward(theta, x_0, xs, ys, dys, lengths)
      lefts, rights, _ = cell.fused.factors(x_0, xs, ys, back.deltas)
      grads = cell.fused.gradient(theta, batch.us, lefts, rights)
    else:
      (dxs,) = jax.vjp(cell.output, xs)[1](dys)
      grads, back = generic_backward(
        cell, theta, batch.us, x_0, xs, dxs, lengths
      )
    # A learned initial state is a function of the parameters.
    _, vjp = jax.vjp(lambda p: cell.initial_state(p, batch_size), theta)
    dx_0 = jax.tree.map(lambda g, x: g.astype(x.dtype), back.dx_0, x_0)
    d_cell = jax.tree.map(jnp.add, grads, vjp(dx_0)[0])

    mask = unrolling.step_mask(lengths, num_steps, batch_size)
    trajectory = Trajectory(
      theta, x_0, xs, batch.us, back.deltas, back.products, mask, ys
    )
    grads = {"cell": d_cell, "readout": d_readout}
    return loss, grads, trajectory

  return loss_and_adjoints
