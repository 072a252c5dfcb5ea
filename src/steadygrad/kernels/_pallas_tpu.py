"""The recursion in one Mosaic kernel (Pallas) for TPUs.

The grid is seeds x blocks of sequences x chunks of time. Time comes last and in
order: w_rec of a seed stays in VMEM while chunk after chunk of the sequences
passes through, and the state is carried from one to the next. Equations,
results and dtypes are those of `_xla`. Sequences come as they are: on the chip
N fills tiles of 128 lanes and B of 16 rows, and what lies beyond is cleared.

This has been compiled for a TPU v5e and run by the interpreter on a CPU. It has
not run on a TPU.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from steadygrad import varying
from steadygrad.activations import Activation
from steadygrad.kernels import _pallas_common as common
from steadygrad.types import Array

NAME = "pallas_tpu"
LANES = 128
ROWS = 16  # a tile holds 8 rows of float32, 16 of bfloat16
MAX_ROWS = 128  # of a block; the matrix unit takes no more at once
MAX_CHUNK = 128  # steps; beyond, a longer chunk only fills VMEM
VMEM_BYTES = 16 * 2**20  # what the compiler grants a kernel unasked


def forward(form, sigma: Activation, ragged: bool, precision, interpret):
  """(w_rec, drives, x_0, lengths) -> xs; each with the seed axis in front."""
  dot = functools.partial(_dot, precision)

  def call(w_rec, drives, x_0, lengths):
    seeds = common.num_seeds(w_rec, drives, x_0, lengths)
    length, batch, units = drives.shape[1:]
    rows, block, columns = _padded(batch, units)
    dtypes = 2 * [drives.dtype]
    chunk = _chunk(length, w_rec.dtype, block, columns, *dtypes)
    lengths = common.row_lengths(lengths, length, batch, rows)
    shape = seeds, length, batch, units
    (xs,) = _pallas_call(
      functools.partial(_forward_kernel, form, sigma, dot, ragged, units),
      chunk,
      block,
      [
        ("", _all_stops(lengths, block, seeds)),
        ("SB1", lengths[..., None]),
        ("SNN", common.pad(w_rec, (columns, columns))),
        ("STBN", drives),
        ("SBN", common.pad(x_0, (rows, columns))),
      ],
      [("STBN", jax.ShapeDtypeStruct(shape, drives.dtype))],
      [pltpu.VMEM((block, columns), drives.dtype)],
      reverse=False,
      interpret=interpret,
    )
    return xs

  return common.over_seeds(call)


def backward(form, sigma: Activation, ragged: bool, precision, interpret):
  """(w_rec, x_0, xs, dhs, lengths) -> (deltas, products, dx_0), likewise.

  With dhs [S, 1, B, N], of a loss that sees the last state alone, -> (deltas,
  dx_0); the products are the deltas of the step before.
  """
  dot = functools.partial(_dot, precision)

  def call(w_rec, x_0, xs, dhs, lengths):
    seeds = common.num_seeds(w_rec, x_0, xs, dhs, lengths)
    length, batch, units = xs.shape[1:]
    rows, block, columns = _padded(batch, units)
    dtypes = xs.dtype, dhs.dtype, jnp.float32, jnp.float32
    chunk = _chunk(length, w_rec.dtype, block, columns, *dtypes)
    lengths = common.row_lengths(lengths, length, batch, rows)
    sequence, state = (
      jax.ShapeDtypeStruct((seeds, *s, batch, units), jnp.float32)
      for s in ((length,), ())
    )
    # Of one step "the last alone" and "every" are the same.
    every = dhs.shape[1] == length
    kernel = functools.partial(_backward_kernel, form, sigma, dot, ragged)
    outputs = _pallas_call(
      functools.partial(kernel, units, every),
      chunk,
      block,
      [
        ("", _all_stops(lengths, block, seeds)),
        ("SB1", lengths[..., None]),
        ("SNN", common.pad(jnp.swapaxes(w_rec, 1, 2), (columns, columns))),
        ("SBN", common.pad(x_0, (rows, columns))),
        ("S-BN", xs),
        ("STBN", xs),
        ("STBN" if every else "SOBN", dhs),
      ],
      [("STBN", sequence)] * (1 + every) + [("SBN", state)],
      [],
      reverse=True,
      interpret=interpret,
    )
    return tuple(outputs)

  return common.over_seeds(call)


def _dot(precision: str, a: Array, b: Array) -> Array:
  """a b in float32; Mosaic has nothing between one pass and all."""
  if a.dtype == jnp.float32 and precision == "bfloat16":
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  # Products of bfloat16 are exact in one pass.
  exact = a.dtype == jnp.float32
  return common.dot(a, b, jax.lax.Precision.HIGHEST if exact else None)


def _padded(batch: int, units: int) -> tuple[int, int, int]:
  """(rows, rows of a block, columns) that B and N fill on the chip."""
  rows = common.round_up(batch, ROWS)
  block = min(rows, MAX_ROWS)
  return common.round_up(rows, block), block, common.round_up(units, LANES)


def check(w_dtype, x_dtype, batch: int, units: int, precision: str) -> None:
  """ValueError where w_rec and one step of the sequences exceed VMEM.

  Everything that the grid walks over is there twice, so that the next block
  arrives during the work on this one. A product of float32 at full precision
  also wants w_rec in three parts of bfloat16, as much as one copy and a half.
  """
  del precision
  _, block, columns = _padded(batch, units)
  step = _step_bytes(block, columns, x_dtype, x_dtype, *2 * [jnp.float32])
  needed = _resident_bytes(w_dtype, block, columns) + step
  if needed > VMEM_BYTES:
    raise ValueError(
      f"implementation {NAME!r} keeps w_rec on the chip: with N = {units} "
      f"padded to {columns} in {jnp.dtype(w_dtype)} it needs {needed} bytes of "
      f"VMEM, and there are {VMEM_BYTES}"
    )


def _resident_bytes(w_dtype, block: int, columns: int) -> int:
  """What stays: w_rec, and at most six states (x_0, dx_0, two copies each)."""
  bytes_each = 14 if jnp.dtype(w_dtype).itemsize == 4 else 4
  return bytes_each * columns**2 + 6 * block * columns * 4


def _step_bytes(block: int, columns: int, *dtypes) -> int:
  """What one step of sequences of these dtypes takes."""
  return 2 * block * columns * sum(jnp.dtype(d).itemsize for d in dtypes)


def _chunk(length: int, w_dtype, block: int, columns: int, *dtypes) -> int:
  """The steps that fit beside w_rec; `check` has seen that one does."""
  free = VMEM_BYTES - _resident_bytes(w_dtype, block, columns)
  steps = free // _step_bytes(block, columns, *dtypes)
  return max(1, min(steps, MAX_CHUNK, length))


def _all_stops(lengths, block, seeds):
  """`stops` of all programs [S · K]: scalars, which lie in SMEM as a whole."""
  stops = common.stops(lengths, block)
  return jnp.broadcast_to(stops, (seeds, stops.shape[1])).reshape(-1)


def _pallas_call(
  kernel, chunk, block, operands, outputs, scratch, *, reverse, interpret
):
  """The grid; operands and outputs are pairs of axes and array."""
  axes, arrays = zip(*operands, strict=True)
  out_axes, shapes = zip(*outputs, strict=True)
  arrays = varying.alike(arrays)
  shapes = varying.abstract_like(shapes, arrays[0])
  seeds, length, batch, _ = shapes[0].shape
  chunks = pl.cdiv(length, chunk)
  spec = functools.partial(_spec, chunk, block, chunks if reverse else None)
  return pl.pallas_call(
    functools.partial(kernel, length),
    grid=(seeds, pl.cdiv(batch, block), chunks),
    in_specs=list(map(spec, axes, arrays)),
    out_specs=list(map(spec, out_axes, shapes)),
    out_shape=shapes,
    scratch_shapes=scratch,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary")
    ),
    interpret=interpret,
  )(*arrays)


def _spec(
  chunk: int,
  block: int,
  chunks: int | None,
  axes: str,
  x: Array | jax.ShapeDtypeStruct,
):
  """A program's part of `x`: S its seed, B its rows, T its chunk of time.

  "-" is the step before the chunk, O an axis of 1, N a whole axis with the
  lanes beyond it, where a block holds anything, as in rows beyond B; other
  letters are whole axes. A seed axis of 1 is shared by all seeds. Time runs
  backwards if `chunks` is given.
  """
  if not axes:
    return pl.BlockSpec(memory_space=pltpu.SMEM)
  columns = common.round_up(x.shape[-1], LANES)
  sizes = {"S": None, "T": chunk, "-": None, "O": None, "B": block}
  sizes |= {"N": columns}
  shape = tuple(sizes.get(a, n) for a, n in zip(axes, x.shape, strict=True))
  shared = x.shape[0] == 1

  def index(seed, row, i):
    c = i if chunks is None else chunks - 1 - i
    before = jnp.maximum(c * chunk - 1, 0)
    at = {"S": 0 if shared else seed, "B": row, "T": c, "-": before}
    return tuple(at.get(a, 0) for a in axes)

  return pl.BlockSpec(shape, index)


def _window(stops_ref, chunk: int, length: int, c):
  """(first step, steps to take, steps that exist) of chunk `c`."""
  stop = stops_ref[pl.program_id(0) * pl.num_programs(1) + pl.program_id(1)]
  start = c * chunk
  existing = jnp.minimum(chunk, length - start)
  return start, jnp.clip(stop - start, 0, existing), existing


def _product(dot, w_ref):
  """state -> state w.

  w is read here, not before the loop: as a value it would have to fit into
  registers.
  """
  return lambda x: dot(x.astype(w_ref.dtype), w_ref[...])


def _valid(ragged: bool, lengths_ref, t, shape):
  """Whether step t counts, of `shape`; None where it does for all rows."""
  if not ragged:
    return None
  # Broadcast as integers: Mosaic has no broadcast of booleans.
  return t < jnp.broadcast_to(lengths_ref[...], shape)


def _forward_kernel(form, sigma, dot, ragged, units, length, *refs):
  stops_ref, lengths_ref, w_rec_ref, drives_ref, x_0_ref, xs_ref, x_ref = refs
  c, chunk = pl.program_id(2), xs_ref.shape[0]
  start, taken, existing = _window(stops_ref, chunk, length, c)
  product = _product(dot, w_rec_ref)

  @pl.when(c == 0)
  def _():
    x_ref[...] = x_0_ref[...]

  def step(i, x_tm1):
    x_t = common.step_forward(form, sigma, product, x_tm1, drives_ref[i])
    x_t = common.clear_padding(x_t, units)
    valid = _valid(ragged, lengths_ref, start + i, x_t.shape)
    x_t = common.select(valid, x_t, x_tm1)
    xs_ref[i] = x_t
    return x_t

  def fill(i, x_last):
    xs_ref[i] = x_last
    return x_last

  x = jax.lax.fori_loop(jnp.int32(0), taken, step, x_ref[...])
  x_ref[...] = jax.lax.fori_loop(taken, existing, fill, x)


def _seen(form, start, i, x_0_ref, before_ref, xs_ref):
  """The state whose σ′ is in p_t: x_{t-1}, in the h-form h_t."""
  if form == "h":
    return xs_ref[i]
  first = jax.lax.select(start > 0, before_ref[...], x_0_ref[...])
  return jax.lax.select(i > 0, xs_ref[jnp.maximum(i - 1, 0)], first)


def _backward_kernel(form, sigma, dot, ragged, units, every, length, *refs):
  stops_ref, lengths_ref, w_rec_t_ref, x_0_ref, before_ref, xs_ref = refs[:6]
  dhs_ref, *out_refs, p_ref = refs[6:]
  c, chunk = pl.num_programs(2) - 1 - pl.program_id(2), xs_ref.shape[0]
  start, taken, existing = _window(stops_ref, chunk, length, c)
  product, zeros = _product(dot, w_rec_t_ref), jnp.zeros(p_ref.shape, "float32")

  def prime(x):
    return common.prime(form, sigma, common.clear_padding(x, units))

  def of_loss(dh, prime_t):
    return common.of_loss(form, common.clear_padding(dh, units), prime_t)

  def write(i, *sequences):
    # Of a loss on the last state the products are not written.
    for ref, x_t in zip(out_refs, sequences, strict=False):
      ref[i] = x_t

  # dx_0 has the same block for every chunk: it carries p from one to the next.
  @pl.when(pl.program_id(2) == 0)
  def _():
    p_ref[...] = zeros
    if not every:
      p_ref[...] = of_loss(dhs_ref[...], prime(xs_ref[existing - 1]))

  def fill(i, p):
    write(i, zeros, zeros)
    # What falls on a state beyond the length falls on the last one reached.
    return p + of_loss(dhs_ref[i], prime(xs_ref[i])) if every else p

  def step(j, carry):
    delta_t, prime_t = carry
    i = taken - 1 - j
    if every:
      delta_t = delta_t + of_loss(dhs_ref[i], prime_t)
    prime_p = prime(_seen(form, start, i, x_0_ref, before_ref, xs_ref))
    p_t = common.step_backward(form, product, delta_t, prime_p)
    p_t = common.clear_padding(p_t, units)
    valid = _valid(ragged, lengths_ref, start + i, p_t.shape)
    write(i, *(common.select(valid, x, zeros) for x in (delta_t, p_t)))
    return common.select(valid, p_t, delta_t), prime_p

  p = jax.lax.fori_loop(taken, existing, fill, p_ref[...])
  carry = p, prime(xs_ref[jnp.maximum(taken - 1, 0)])
  p_ref[...], _ = jax.lax.fori_loop(jnp.int32(0), taken, step, carry)
