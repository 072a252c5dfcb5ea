"""What the Pallas kernels share: one step, padding, lengths, the seed axis.

Inside this package every operand of a kernel has a leading seed axis S, or 1
where all seeds share the operand; it becomes an axis of the kernel's grid.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from steadygrad._unroll import previous_states
from steadygrad.activations import Activation
from steadygrad.kernels import _xla
from steadygrad.numerics import common_dtype
from steadygrad.types import Array, PyTree

DTYPES = (jnp.float32, jnp.bfloat16)


def step_forward(
  form: str,
  sigma: Activation,
  product: Callable[[PyTree], PyTree],
  x_tm1: PyTree,
  drive_t: PyTree,
) -> PyTree:
  """x_t in the dtype of `x_tm1`; the equations of `_xla`.

  Here and below a state is an array [B, N] or a tuple of its column tiles, and
  `product` is that with w_rec.
  """

  def put(pre, drive, x):
    pre = pre + drive.astype(jnp.float32)
    return (pre if form == "x" else sigma.phi(pre)).astype(x.dtype)

  seen = x_tm1
  if form == "x":
    seen = jax.tree.map(functools.partial(activate, sigma), x_tm1)
  return jax.tree.map(put, product(seen), drive_t, x_tm1)


def step_backward(
  form: str,
  product: Callable[[PyTree], PyTree],
  delta_t: PyTree,
  prime: PyTree,
) -> PyTree:
  """p_t = δ_t J_t in float32; `product` is that with w_recᵀ.

  `prime` is σ′(x_{t-1}), in the h-form σ′ of what h_t was made of.
  """
  if form == "x":
    return jax.tree.map(jnp.multiply, product(delta_t), prime)
  return product(jax.tree.map(jnp.multiply, delta_t, prime))


def prime(form: str, sigma: Activation, state: PyTree) -> PyTree:
  """σ′ in float32 at x-form states, or of what h-form states were made of."""

  def of(x):
    h = activate(sigma, x) if form == "x" else x
    return sigma.prime_of_phi(h.astype(jnp.float32))

  return jax.tree.map(of, state)


def of_loss(form: str, dh_t: PyTree, prime_t: PyTree) -> PyTree:
  """dE's immediate part in the state of a step, in float32."""
  dh_t = jax.tree.map(lambda x: x.astype(jnp.float32), dh_t)
  return jax.tree.map(jnp.multiply, dh_t, prime_t) if form == "x" else dh_t


def plus(x: PyTree, y: PyTree) -> PyTree:
  return jax.tree.map(jnp.add, x, y)


def select(valid: Array | None, x: PyTree, otherwise: PyTree) -> PyTree:
  """`x` where `valid`, [] or [B, 1]; None where all are."""
  if valid is None:
    return x
  return jax.tree.map(functools.partial(jnp.where, valid), x, otherwise)


def activate(sigma: Activation, x: Array) -> Array:
  """σ(x), computed in float32 and rounded to the dtype of `x`."""
  return sigma.phi(x.astype(jnp.float32)).astype(x.dtype)


def dot(a: Array, b: Array, precision) -> Array:
  """a b in float32. Unasked, Triton and Mosaic round it to TF32 or bfloat16."""
  return jax.lax.dot_general(
    a,
    b,
    (((1,), (0,)), ((), ())),
    precision=precision,
    preferred_element_type=jnp.float32,
  )


def clear_padding(x: Array, units: int) -> Array:
  """Zeros in the columns from `units` on.

  Zero weights alone do not keep them zero: 0 · inf is NaN, and one exploded
  unit would reach every other through the padding.
  """
  if units == x.shape[1]:
    return x
  columns = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
  return jnp.where(columns < units, x, jnp.zeros_like(x))


def pad(x: Array, sizes: Sequence[int]) -> Array:
  """`x` with zeros appended so that its last axes have these sizes."""
  lead = x.ndim - len(sizes)
  widths = [(0, 0)] * lead
  widths += [(0, n - m) for n, m in zip(sizes, x.shape[lead:], strict=True)]
  return jnp.pad(x, widths) if any(w != (0, 0) for w in widths) else x


def round_up(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def num_seeds(*operands: Array) -> int:
  return max(map(len, operands))


def row_lengths(lengths: Array, length: int, batch: int, padded: int) -> Array:
  """lengths [S] or [S, B] -> int32 [S, padded] in 0..T, 0 in padded rows."""
  lengths = jnp.clip(lengths, 0, length)
  if lengths.ndim == 1:
    lengths = jnp.broadcast_to(lengths[:, None], (len(lengths), batch))
  return pad(lengths, (padded,))


def stops(rows: Array, block: int) -> Array:
  """The step at which each block of rows may stop, [S, blocks]."""
  return jnp.max(rows.reshape(len(rows), -1, block), axis=-1)


def pair(
  kernels, form: str, sigma: Activation, precision: str, interpret: bool
):
  """(forward, backward, admit) from a module of kernels.

  Args:
    kernels: has `NAME`, `check(w_dtype, x_dtype, batch, units, precision)`, and
      factories `forward` and `backward` of (form, sigma, ragged, precision,
      interpret).
    form: "x" or "h".
    sigma: the activation.
    precision: of the products, one of `numerics.PRECISIONS`.
    interpret: run by Pallas's interpreter.

  Returns:
    `forward` (w_rec, drives, x_0, lengths) -> xs, `backward` (w_rec, x_0, xs,
    dhs, lengths) -> (deltas, products, dx_0), and `admit(w_rec, xs, *others)`,
    which raises ValueError where the kernels do not hold the dtype or the size.
    One size goes for both passes.
  """

  def admit(w_rec, xs, *others):
    for x in (w_rec, xs, *others):
      if x.dtype not in DTYPES:
        raise ValueError(
          f"implementation {kernels.NAME!r} takes float32 and bfloat16, got "
          f"{x.dtype}"
        )
    widest = common_dtype(w_rec.dtype, xs.dtype)
    kernels.check(widest, xs.dtype, *xs.shape[1:], precision)

  def forward(w_rec, drives, x_0, lengths=None):
    admit(w_rec, drives)
    if not drives.size:
      return _xla.forward(form, sigma, w_rec, drives, x_0, lengths)[0]
    w_rec = w_rec.astype(common_dtype(w_rec.dtype, drives.dtype))
    ragged, steps = _normalised(lengths, len(drives))
    call = kernels.forward(form, sigma, ragged, precision, interpret)
    operands = w_rec, drives, x_0.astype(drives.dtype), steps
    return call(*(x[None] for x in operands))[0]

  def backward(w_rec, x_0, xs, dhs, lengths=None):
    admit(w_rec, xs, dhs)
    if not xs.size:
      # Nothing is multiplied: all gradients are zero, whatever they are of.
      return _xla.backward(form, sigma, w_rec, x_0, xs, dhs, lengths)
    ragged, steps = _normalised(lengths, len(xs))
    call = kernels.backward(form, sigma, ragged, precision, interpret)
    operands = w_rec, x_0.astype(xs.dtype), xs, dhs, steps
    outputs = tuple(y[0] for y in call(*(x[None] for x in operands)))
    if len(dhs) == len(xs):
      return outputs
    # All that reaches a state but the last comes from the step after it.
    deltas, dx_0 = outputs
    products = _xla.within(lengths, previous_states(dx_0, deltas))
    return deltas, products, dx_0

  return forward, backward, admit


def _normalised(lengths: Array | None, length: int) -> tuple[bool, Array]:
  """(whether rows differ, lengths int32 [] or [B])."""
  if lengths is None:
    return False, jnp.int32(length)
  return lengths.ndim == 1, lengths.astype(jnp.int32)


def over_seeds(call: Callable) -> Callable:
  """Makes `jax.vmap` extend the seed axis of `call`, also when nested.

  Args:
    call: of arrays that all have a leading axis of size S or 1, to arrays that
      all have a leading axis of size S.

  Returns:
    The same function with a batching rule: mapped axes are folded into S, and
    an operand which no axis maps keeps its 1. Only where some axes map an
    operand and others do not is it copied. It has no reverse-mode derivative.
  """
  mapped = jax.custom_batching.custom_vmap(call)

  @mapped.def_vmap
  def rule(axis_size, in_batched, *args):
    inner = max(
      x.shape[1] if b else x.shape[0]
      for x, b in zip(args, in_batched, strict=True)
    )
    fold = functools.partial(_fold, axis_size, inner)
    outputs = mapped(*map(fold, args, in_batched))
    unfold = lambda y: y.reshape(axis_size, inner, *y.shape[1:])  # noqa: E731
    outputs = jax.tree.map(unfold, outputs)
    return outputs, jax.tree.map(lambda _: True, outputs)

  return mapped


def _fold(outer: int, inner: int, x: Array, batched: bool) -> Array:
  """[outer, inner or 1, ...], or without `outer`, as [outer · inner or 1]."""
  if not batched and len(x) == 1:
    return x
  shape = x.shape[2:] if batched else x.shape[1:]
  if not batched:
    x = x[None]
  return jnp.broadcast_to(x, (outer, inner, *shape)).reshape(-1, *shape)
