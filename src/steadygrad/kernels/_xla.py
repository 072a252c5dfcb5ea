"""The recursion of the Elman network as an XLA loop: the oracle, and the CPU's.

Shapes: w_rec [N, N]; drives, xs, hs, deltas, products [T, B, N]; dhs [T, B, N],
or [1, B, N] where the loss sees the last state alone; x_0, dx_0 [B, N]. The
drive of a step is u_t w_in + b, formed for all steps at once beforehand; what
remains in the loop is one product with w_rec each way.

  forward    x_t = h_{t-1} w_rec + drive_t,   h_t = σ(x_t)
  backward   e_t = dh_t + q_{t+1},   a_t = e_t ∘ σ′(x_t),   q_t = a_t w_recᵀ

Both forms run this loop, and differ in what they call the state:

  x-form (eq. 2)   state x_t,  δ_t = a_t,  product q_t ∘ σ′(x_{t-1})
  h-form           state h_t,  δ_t = e_t,  product q_t

Where the loss sees the last state alone, all that reaches an earlier one comes
from the step after it, δ_t = p_{t+1}, and one sequence is written for both. σ′
is taken from hs, so that σ is evaluated once a step in all. Arithmetic is in
float32 (float64 for float64); states are stored, and carried, in the dtype of
the drives.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad import varying
from steadygrad._unroll import previous_states
from steadygrad.activations import Activation
from steadygrad.numerics import add, common_dtype, matmul
from steadygrad.types import Array


def _valid(t: Array, lengths: Array | None) -> Array | None:
  """Whether step t counts, [B, 1]; None where all of them do."""
  if lengths is None or lengths.ndim == 0:
    return None
  return (t.astype(jnp.int32) < lengths)[:, None]


def _select(valid: Array | None, x: Array, otherwise: Array | float) -> Array:
  return x if valid is None else jnp.where(valid, x, otherwise)


def _stop(num_steps: int, lengths: Array | None) -> Array | int:
  """Steps that the loops take: all of them, or up to a scalar length."""
  if lengths is None or lengths.ndim == 1:
    return num_steps
  return jnp.clip(lengths, 0, num_steps)  # Traced ones are not checked.


def _wide(columns: int) -> int:
  """As many columns, or more that make a product faster on a CPU.

  XLA takes 64 columns at a time, and what is left in smaller blocks: 50 columns
  take a third longer than 64. So a rest of more than 32 is filled up to 64, and
  a smaller one to a multiple of 16.
  """
  if jax.default_backend() != "cpu":
    return columns
  return columns + -columns % (64 if columns % 64 > 32 else 16)


def _widened(x: Array, columns: int) -> Array:
  """x [*, N] with columns of zeros behind its own."""
  return jnp.pad(x, ((0, 0), (0, columns - x.shape[1])))


def _at(sequence: Array, t: Array) -> Array:
  return jax.lax.dynamic_index_in_dim(sequence, t, keepdims=False)


def _put(sequence: Array, x: Array, t: Array | int) -> Array:
  return jax.lax.dynamic_update_index_in_dim(sequence, x, t, 0)


def forward(
  form: str,
  activation: Activation,
  w_rec: Array,
  drives: Array,
  x_0: Array,
  lengths: Array | None = None,
  precision: str | None = None,
) -> tuple[Array, Array]:
  """(xs, hs), the states and σ of eq. 2's; the same array in the h-form.

  `precision` is that of `matmul`, here and in `backward`.
  """
  if not len(drives):
    return drives, drives
  lengths = None if lengths is None else lengths.astype(jnp.int32)
  w_rec, drives, x_0 = varying.alike((w_rec, drives, x_0), lengths)
  dtype = drives.dtype
  wide = common_dtype(dtype, jnp.float32)

  def phi(x):
    return activation.phi(x.astype(wide)).astype(dtype)

  num_steps, stop = len(drives), _stop(len(drives), lengths)
  num_units = len(w_rec)
  wide_w_rec = _widened(w_rec, _wide(num_units))
  x_0 = x_0.astype(dtype)
  h_0 = phi(x_0) if form == "x" else x_0

  def step(t, loop):
    x_tm1, h_tm1, xs, hs = loop
    h_w = matmul(h_tm1.astype(w_rec.dtype), wide_w_rec, precision)
    x_t = add(h_w[:, :num_units], _at(hs, t))
    if form == "x":
      # Rounded before σ, so that hs is σ of the states as they are stored.
      x_t = x_t.astype(dtype)
    valid = _valid(t, lengths)
    h_t = _select(valid, phi(x_t), h_tm1)
    if form == "x":
      x_t = _select(valid, x_t, x_tm1)
      xs = _put(xs, x_t, t)
    else:
      x_t = x_tm1
    return x_t, h_t, xs, _put(hs, h_t, t)

  # Each h_t takes the place of its drive, which nobody needs after it.
  xs = drives if form == "x" else ()
  loop = x_0, h_0, xs, drives
  x_T, h_T, xs, hs = jax.lax.fori_loop(0, stop, step, loop)  # noqa: N806
  if not isinstance(stop, int):
    taken = (jnp.arange(num_steps, dtype=jnp.int32) < stop)[:, None, None]
    hs = jnp.where(taken, hs, h_T[None])
    xs = jnp.where(taken, xs, x_T[None]) if form == "x" else xs
  return (xs if form == "x" else hs), hs


def backward(
  form: str,
  activation: Activation,
  w_rec: Array,
  x_0: Array,
  hs: Array,
  dhs: Array,
  lengths: Array | None = None,
  precision: str | None = None,
) -> tuple[Array, Array, Array]:
  """(deltas, products, dx_0); dhs is the loss's immediate gradient in hs.

  All that is needed of the states is in hs.
  """
  dtype = common_dtype(hs.dtype, jnp.float32)
  if not len(hs):
    return hs.astype(dtype), hs.astype(dtype), jnp.zeros(x_0.shape, dtype)
  lengths = None if lengths is None else lengths.astype(jnp.int32)
  w_rec, x_0, hs, dhs = varying.alike((w_rec, x_0, hs, dhs), lengths)

  def prime(h):
    return activation.prime_of_phi(h.astype(dtype))

  wide_w_rec_t = _widened(w_rec.T, _wide(len(w_rec)))

  def product(a):
    return matmul(a.astype(w_rec.dtype), wide_w_rec_t, precision)

  h_0 = activation.phi(x_0.astype(hs.dtype)) if form == "x" else None
  # Of one step "the last alone" and "every" are the same.
  if len(dhs) == 1:
    q_last = dhs[0].astype(dtype)
    results = _backward_last(form, prime, product, h_0, hs, q_last, lengths)
  else:
    results = _backward_every(form, prime, product, h_0, hs, dhs, lengths)
  deltas, products, dx_0 = results
  if lengths is not None and lengths.ndim == 1:
    deltas, products = within(lengths, deltas), within(lengths, products)
  return deltas, products, dx_0


def _backward_every(form, prime, product, h_0, hs, dhs, lengths):
  """`backward` where the loss sees all states; rows beyond [B] lengths stay.

  Two sequences are written: what the loss adds at a step is in one of them.
  """
  dtype = common_dtype(hs.dtype, jnp.float32)
  q_last = _beyond(dhs, lengths, dtype)
  keep = ("a", "q") if form == "x" else ("e", "q")
  q_1, kept = _reverse(prime, product, q_last, hs, dhs, lengths, keep)
  deltas, products = kept
  if form == "h":
    return deltas, products, q_1
  dx_0 = q_1 * prime(h_0)
  return deltas, products * prime(previous_states(h_0, hs)), dx_0


def _backward_last(form, prime, product, h_0, hs, q_last, lengths):
  """`backward` where the loss sees the last state, with gradient `q_last`.

  One sequence is written, and the other is it shifted by a step. Rows beyond a
  scalar length are zero in what the loop kept, but not in what is shifted.
  """
  keep = ("a",) if form == "x" else ("q",)
  q_1, (kept,) = _reverse(prime, product, q_last, hs, None, lengths, keep)
  if form == "x":
    dx_0 = q_1 * prime(h_0)
    products = within(lengths, previous_states(dx_0, kept))
    return kept, products, dx_0
  deltas = jnp.concatenate([kept[1:], q_last[None]])
  if lengths is not None and lengths.ndim == 0:
    deltas = _put(deltas, q_last, _stop(len(hs), lengths) - 1)
  return within(lengths, deltas), kept, q_1


def within(lengths: Array | None, sequence: Array) -> Array:
  """Zero beyond the lengths, None, [] or [B]."""
  if lengths is None:
    return sequence
  steps = jnp.arange(len(sequence), dtype=jnp.int32)
  counts = steps[:, None] < jnp.atleast_1d(lengths)[None]
  return jnp.where(counts[..., None], sequence, 0)


def _beyond(dhs: Array, lengths: Array | None, dtype: jnp.dtype) -> Array:
  """Gradients beyond a scalar length fall on the last state reached: [B, N]."""
  if lengths is None or lengths.ndim == 1:
    return jnp.zeros(dhs.shape[1:], dtype)
  beyond = jnp.arange(len(dhs), dtype=jnp.int32) >= lengths
  return jnp.sum(jnp.where(beyond[:, None, None], dhs, 0), 0, dtype)


def _reverse(
  prime: Callable[[Array], Array],
  product: Callable[[Array], Array],
  q_last: Array,
  hs: Array,
  dhs: Array | None,
  lengths: Array | None,
  keep: tuple[str, ...],
) -> tuple[Array, tuple[Array, ...]]:
  """(q_1, sequences) of the backward loop.

  Args:
    prime: σ(x) -> σ′(x).
    product: a_t -> a_t w_recᵀ, [B, _wide(N)].
    q_last: q_{T+1}, what falls on the last state from outside, [B, N].
    hs: [T, B, N].
    dhs: [T, B, N]; None where it is zero.
    lengths: None, [] or [B].
    keep: which of the symbols e, a and q become sequences.
  """
  stop, num_units = _stop(len(hs), lengths), hs.shape[-1]
  wide = _wide(num_units)

  def step(i, loop):
    q_tp1, kept = loop
    q_tp1 = q_tp1[:, :num_units]  # Here, where it is part of what follows.
    t = stop - 1 - i
    e_t = q_tp1 if dhs is None else _at(dhs, t).astype(q_tp1.dtype) + q_tp1
    a_t = e_t * prime(_at(hs, t))
    q_t = _select(_valid(t, lengths), product(a_t), _widened(e_t, wide))
    formed = {"e": e_t, "a": a_t, "q": q_t[:, :num_units]}
    new = tuple(formed[name] for name in keep)
    return q_t, tuple(_put(k, n, t) for k, n in zip(kept, new, strict=True))

  blank = jnp.zeros(hs.shape, q_last.dtype)
  if isinstance(stop, int):
    # Something to write over: zeros XLA would set, and copy for each loop.
    blank = jnp.broadcast_to(hs[-1].astype(q_last.dtype), hs.shape)
  loop = _widened(q_last, wide), (blank,) * len(keep)
  q_1, kept = jax.lax.fori_loop(0, stop, step, varying.alike(loop, hs))
  return q_1[:, :num_units], kept
