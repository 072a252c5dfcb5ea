"""What the Pallas kernels share: one step, padding, lengths, the seed axis.

Inside this package every operand of a kernel has a leading seed axis S, or 1
where all seeds share the operand; it becomes an axis of the kernel's grid.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from steadygrad.activations import Activation
from steadygrad.kernels import _xla
from steadygrad.numerics import common_dtype
from steadygrad.types import Array

DTYPES = (jnp.float32, jnp.bfloat16)


def step_forward(
  form: str, sigma: Activation, w_rec: Array, x_tm1: Array, drive_t: Array
) -> Array:
  """x_t [B, N] in the dtype of `x_tm1`; the equations of `_xla`."""
  storage = x_tm1.dtype
  drive_t = drive_t.astype(jnp.float32)
  if form == "x":
    h_tm1 = activate(sigma, x_tm1)
    return (dot(h_tm1.astype(w_rec.dtype), w_rec) + drive_t).astype(storage)
  pre_t = dot(x_tm1.astype(w_rec.dtype), w_rec) + drive_t
  return sigma.phi(pre_t).astype(storage)


def step_backward(
  form: str, sigma: Activation, w_rec_t: Array, delta_t: Array, h: Array
) -> Array:
  """p_t = δ_t J_t [B, N] in float32; `h` is σ(x_{t-1}), in the h-form h_t."""
  prime = sigma.prime_of_phi(h.astype(jnp.float32))
  if form == "x":
    return dot(delta_t.astype(w_rec_t.dtype), w_rec_t) * prime
  return dot((delta_t * prime).astype(w_rec_t.dtype), w_rec_t)


def activate(sigma: Activation, x: Array) -> Array:
  """σ(x), computed in float32 and rounded to the dtype of `x`."""
  return sigma.phi(x.astype(jnp.float32)).astype(x.dtype)


def dot(a: Array, b: Array) -> Array:
  """a b in float32. HIGHEST: without it Triton and Mosaic round to TF32, BF16.

  Operands in bfloat16 are multiplied exactly in one pass, so they need none.
  """
  precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
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


def pair(kernels, form: str, sigma: Activation, interpret: bool):
  """(forward, backward, admit) from a module of kernels.

  Args:
    kernels: has `NAME`, `check(w_dtype, x_dtype, batch, units)`, and factories
      `forward` and `backward` of (form, sigma, ragged, interpret).
    form: "x" or "h".
    sigma: the activation.
    interpret: run by Pallas's interpreter.

  Returns:
    `forward` (w_rec, drives, x_0, lengths) -> xs, `backward` (w_rec, x_0, xs,
    dxs, lengths) -> (deltas, products, dx_0) with dxs the immediate gradient in
    the states, and
    `admit(w_rec, xs, *others)`, which raises ValueError where the kernels do
    not hold the dtype or the size. One size goes for both passes.
  """

  def admit(w_rec, xs, *others):
    for x in (w_rec, xs, *others):
      if x.dtype not in DTYPES:
        raise ValueError(
          f"implementation {kernels.NAME!r} takes float32 and bfloat16, got "
          f"{x.dtype}"
        )
    widest = common_dtype(w_rec.dtype, xs.dtype)
    kernels.check(widest, xs.dtype, *xs.shape[1:])

  def forward(w_rec, drives, x_0, lengths=None):
    admit(w_rec, drives)
    if not drives.size:
      return _xla.forward(form, sigma, w_rec, drives, x_0, lengths)[0]
    w_rec = w_rec.astype(common_dtype(w_rec.dtype, drives.dtype))
    ragged, lengths = _normalised(lengths, len(drives))
    call = kernels.forward(form, sigma, ragged, interpret)
    operands = w_rec, drives, x_0.astype(drives.dtype), lengths
    return call(*(x[None] for x in operands))[0]

  def backward(w_rec, x_0, xs, dxs, lengths=None):
    admit(w_rec, xs, dxs)
    if not xs.size:
      # Nothing is multiplied: all gradients are zero, whatever they are of.
      return _xla.backward(form, sigma, w_rec, x_0, xs, xs, dxs, lengths)
    ragged, lengths = _normalised(lengths, len(xs))
    call = kernels.backward(form, sigma, ragged, interpret)
    operands = w_rec, x_0.astype(xs.dtype), xs, dxs, lengths
    return tuple(y[0] for y in call(*(x[None] for x in operands)))

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
