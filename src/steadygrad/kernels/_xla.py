"""The recursion of the Elman network as `lax.scan`: the oracle, and the CPU's.

Shapes: w_rec [N, N], drives, xs, dxs, deltas, products [T, B, N], x_0 [B, N].
The drive of a step is u_t w_in + b, formed for all steps at once beforehand;
what remains in the loop is one product with w_rec forward and one backward.

  x-form:  x_t = σ(x_{t-1}) w_rec + drive_t
           δ_t = dx_t + p_{t+1},   p_t = (δ_t w_recᵀ) ∘ σ′(x_{t-1})
  h-form:  h_t = σ(h_{t-1} w_rec + drive_t)
           δ_t = dh_t + p_{t+1},   p_t = (δ_t ∘ σ′(h_t)) w_recᵀ

Arithmetic is in float32 (float64 for float64); states are stored, and carried,
in the dtype of the drives.
"""

import jax
import jax.numpy as jnp

from steadygrad.activations import Activation
from steadygrad.numerics import matmul
from steadygrad.types import Array
from steadygrad.unroll import previous_states


def _valid(t: Array, lengths: Array | None) -> Array | None:
  """Whether step t counts, [B, 1]; None where all of them do."""
  if lengths is None or lengths.ndim == 0:
    return None
  return (t < lengths)[:, None]


def _select(valid: Array | None, x: Array, otherwise: Array | float) -> Array:
  return x if valid is None else jnp.where(valid, x, otherwise)


def _loop(step, carry, sequences, lengths, *, reverse=False):
  """`lax.scan` of `step(carry, t, slices)`; stops at a scalar length.

  The outputs of steps not taken are zero.
  """
  num_steps = len(sequences[0])
  if lengths is None or lengths.ndim == 1:
    return jax.lax.scan(
      lambda c, s: step(c, s[0], s[1:]),
      carry,
      (jnp.arange(num_steps), *sequences),
      reverse=reverse,
    )
  slices = [s[0] for s in sequences]
  shapes = jax.eval_shape(step, carry, lengths, slices)[1]
  outputs = jax.tree.map(
    lambda s: jnp.zeros((num_steps, *s.shape), s.dtype), shapes
  )

  def body(i, state):
    carry, outputs = state
    t = lengths - 1 - i if reverse else i
    carry, y = step(carry, t, [s[t] for s in sequences])
    return carry, jax.tree.map(lambda ys, y: ys.at[t].set(y), outputs, y)

  return jax.lax.fori_loop(0, lengths, body, (carry, outputs))


def forward(
  form: str,
  activation: Activation,
  w_rec: Array,
  drives: Array,
  x_0: Array,
  lengths: Array | None = None,
) -> Array:
  """States xs [T, B, N]; see the module docstring and `elman_scan`."""
  if not len(drives):
    return drives
  phi = activation.phi

  def step(x_tm1, t, slices):
    (drive_t,) = slices
    if form == "x":
      x_t = matmul(phi(x_tm1), w_rec) + drive_t
    else:
      x_t = phi(matmul(x_tm1, w_rec) + drive_t)
    x_t = _select(_valid(t, lengths), x_t.astype(drives.dtype), x_tm1)
    return x_t, x_t

  x_0 = x_0.astype(drives.dtype)
  x_last, xs = _loop(step, x_0, (drives,), lengths)
  if lengths is not None and lengths.ndim == 0:
    taken = jnp.arange(len(drives)) < lengths
    xs = jnp.where(taken[:, None, None], xs, x_last)
  return xs


def backward(
  form: str,
  activation: Activation,
  w_rec: Array,
  x_0: Array,
  xs: Array,
  dxs: Array,
  lengths: Array | None = None,
) -> tuple[Array, Array, Array]:
  """(deltas, products [T, B, N], dx_0 [B, N]); see the module docstring."""
  dtype = jnp.promote_types(xs.dtype, jnp.float32)
  if form == "x":
    hs = activation.phi(previous_states(x_0, xs))
  else:
    hs = xs
  w_rec_t = w_rec.T

  def step(p_tp1, t, slices):
    dx_t, h = slices
    delta_t = dx_t + p_tp1
    prime = activation.prime_of_phi(h.astype(dtype))
    if form == "x":
      p_t = matmul(delta_t.astype(w_rec.dtype), w_rec_t) * prime
    else:
      p_t = matmul((delta_t * prime).astype(w_rec.dtype), w_rec_t)
    valid = _valid(t, lengths)
    outputs = _select(valid, delta_t, 0), _select(valid, p_t, 0)
    return _select(valid, p_t, delta_t), outputs

  # Immediate gradients beyond a scalar length fall on the last state reached.
  p_last = jnp.zeros(xs.shape[1:], dtype)
  if lengths is not None and lengths.ndim == 0:
    beyond = jnp.arange(len(xs)) >= lengths
    p_last = jnp.sum(jnp.where(beyond[:, None, None], dxs, 0), 0, dtype)
  if not len(xs):
    return xs.astype(dtype), xs.astype(dtype), p_last
  sequences = (dxs, hs)
  dx_0, (deltas, products) = _loop(
    step, p_last, sequences, lengths, reverse=True
  )
  return deltas, products, dx_0
