"""The recursion of the Elman network as `lax.scan`: the oracle, and the CPU's.

Shapes: w_rec [N, N]; drives, xs, hs, dhs, deltas, products [T, B, N]; x_0, dx_0
[B, N]. The drive of a step is u_t w_in + b, formed for all steps at once
beforehand; what remains in the loop is one product with w_rec each way.

  forward    x_t = h_{t-1} w_rec + drive_t,   h_t = σ(x_t)
  backward   e_t = dh_t + q_{t+1},   a_t = e_t ∘ σ′(x_t),   q_t = a_t w_recᵀ

Both forms run this loop, and differ in what they call the state:

  x-form (eq. 2)   state x_t,  δ_t = a_t,  product q_t ∘ σ′(x_{t-1})
  h-form           state h_t,  δ_t = e_t,  product q_t

σ′ is taken from hs, so that σ is evaluated once a step in all. Arithmetic is in
float32 (float64 for float64); states are stored, and carried, in the dtype of
the drives.
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
  lengths = jnp.clip(lengths, 0, num_steps)  # Traced ones are not checked.
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
) -> tuple[Array, Array]:
  """(xs, hs), the states and σ of eq. 2's; the same array in the h-form."""
  if not len(drives):
    return drives, drives
  dtype = drives.dtype
  wide = jnp.promote_types(dtype, jnp.float32)

  def phi(x):
    return activation.phi(x.astype(wide)).astype(dtype)

  x_0 = x_0.astype(dtype)
  h_0 = phi(x_0) if form == "x" else x_0

  def step(carry, t, slices):
    (drive_t,) = slices
    x_t = matmul(carry[-1].astype(w_rec.dtype), w_rec) + drive_t
    if form == "x":
      # Rounded before σ, so that hs is σ of the states as they are stored.
      x_t = x_t.astype(dtype)
      new = (x_t, phi(x_t))
    else:
      new = (phi(x_t),)
    valid = _valid(t, lengths)
    new = tuple(_select(valid, n, o) for n, o in zip(new, carry, strict=True))
    return new, new

  carry = (x_0, h_0) if form == "x" else (h_0,)
  last, states = _loop(step, carry, (drives,), lengths)
  if lengths is not None and lengths.ndim == 0:
    taken = (jnp.arange(len(drives)) < lengths)[:, None, None]
    states = tuple(
      jnp.where(taken, s, x) for s, x in zip(states, last, strict=True)
    )
  return states[0], states[-1]


def backward(
  form: str,
  activation: Activation,
  w_rec: Array,
  x_0: Array,
  xs: Array,
  hs: Array,
  dhs: Array,
  lengths: Array | None = None,
) -> tuple[Array, Array, Array]:
  """(deltas, products, dx_0); dhs is the loss's immediate gradient in hs."""
  del xs  # All that is needed of them is in hs.
  dtype = jnp.promote_types(hs.dtype, jnp.float32)
  w_rec_t = w_rec.T

  def step(q_tp1, t, slices):
    dh_t, h_t = slices
    e_t = dh_t.astype(dtype) + q_tp1
    a_t = e_t * activation.prime_of_phi(h_t.astype(dtype))
    q_t = matmul(a_t.astype(w_rec.dtype), w_rec_t)
    valid = _valid(t, lengths)
    delta_t = a_t if form == "x" else e_t
    outputs = _select(valid, delta_t, 0), _select(valid, q_t, 0)
    return _select(valid, q_t, e_t), outputs

  # Immediate gradients beyond a scalar length fall on the last state reached.
  q_last = jnp.zeros(x_0.shape, dtype)
  if lengths is not None and lengths.ndim == 0:
    beyond = jnp.arange(len(hs)) >= lengths
    q_last = jnp.sum(jnp.where(beyond[:, None, None], dhs, 0), 0, dtype)
  deltas = products = hs.astype(dtype)
  dx_0 = q_last
  if len(hs):
    dx_0, (deltas, products) = _loop(
      step, q_last, (dhs, hs), lengths, reverse=True
    )
  if form == "x":
    h_0 = activation.phi(x_0.astype(hs.dtype))
    primes = activation.prime_of_phi(previous_states(h_0, hs).astype(dtype))
    products = products * primes
    dx_0 = dx_0 * activation.prime_of_phi(h_0.astype(dtype))
  return deltas, products, dx_0
