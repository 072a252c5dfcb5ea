"""The recursion in one Mosaic kernel (Pallas) for TPUs.

The grid is seeds x blocks of sequences x chunks of time. Time comes last and in
order: w_rec of a seed stays in VMEM while chunk after chunk of the sequences
passes through, and the state is carried from one to the next. Equations,
results and dtypes are those of `_xla`; N is padded to 128 lanes, B to 16 rows.

This has been lowered for TPU and run by the interpreter on a CPU. It has not
run on a TPU.
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


def forward(form: str, sigma: Activation, ragged: bool, interpret: bool):
  """(w_rec, drives, x_0, lengths) -> xs; each with the seed axis in front."""

  def call(w_rec, drives, x_0, lengths):
    seeds = common.num_seeds(w_rec, drives, x_0, lengths)
    length, batch, units = drives.shape[1:]
    rows, block, columns = _padded(batch, units)
    dtypes = 2 * [drives.dtype]
    chunk = _chunk(length, w_rec.dtype, block, columns, *dtypes)
    lengths = common.row_lengths(lengths, length, batch, rows)
    shape = seeds, length, rows, columns
    (xs,) = _pallas_call(
      functools.partial(_forward_kernel, form, sigma, units, ragged, length),
      chunk,
      block,
      [
        ("", _all_stops(lengths, block, seeds)),
        ("SB1", lengths[..., None]),
        ("SNN", common.pad(w_rec, (columns, columns))),
        ("STBN", common.pad(drives, (rows, columns))),
        ("SBN", common.pad(x_0, (rows, columns))),
      ],
      [("STBN", jax.ShapeDtypeStruct(shape, drives.dtype))],
      [pltpu.VMEM((block, columns), drives.dtype)],
      reverse=False,
      interpret=interpret,
    )
    return xs[:, :, :batch, :units]

  return common.over_seeds(call)


def backward(form: str, sigma: Activation, ragged: bool, interpret: bool):
  """(w_rec, x_0, xs, dxs, lengths) -> (deltas, products, dx_0), likewise."""

  def call(w_rec, x_0, xs, dxs, lengths):
    seeds = common.num_seeds(w_rec, x_0, xs, dxs, lengths)
    length, batch, units = xs.shape[1:]
    rows, block, columns = _padded(batch, units)
    dtypes = xs.dtype, dxs.dtype, jnp.float32, jnp.float32
    chunk = _chunk(length, w_rec.dtype, block, columns, *dtypes)
    lengths = common.row_lengths(lengths, length, batch, rows)
    sequence, state = (
      jax.ShapeDtypeStruct((seeds, *s, rows, columns), jnp.float32)
      for s in ((length,), ())
    )
    xs = common.pad(xs, (rows, columns))
    outputs = _pallas_call(
      functools.partial(_backward_kernel, form, sigma, units, ragged, length),
      chunk,
      block,
      [
        ("", _all_stops(lengths, block, seeds)),
        ("SB1", lengths[..., None]),
        ("SNN", common.pad(jnp.swapaxes(w_rec, 1, 2), (columns, columns))),
        ("SBN", common.pad(x_0, (rows, columns))),
        ("S-BN", xs),
        ("STBN", xs),
        ("STBN", common.pad(dxs, (rows, columns))),
      ],
      [("STBN", sequence), ("STBN", sequence), ("SBN", state)],
      [],
      reverse=True,
      interpret=interpret,
    )
    return tuple(y[..., :batch, :units] for y in outputs)

  return common.over_seeds(call)


def _padded(batch: int, units: int) -> tuple[int, int, int]:
  """(rows, rows of a block, columns) to which B and N are padded."""
  rows = common.round_up(batch, ROWS)
  block = min(rows, MAX_ROWS)
  return common.round_up(rows, block), block, common.round_up(units, LANES)


def check(w_dtype, x_dtype, batch: int, units: int) -> None:
  """ValueError where w_rec and one step of the sequences exceed VMEM.

  Everything that the grid walks over is there twice, so that the next block
  arrives during the work on this one. A product of float32 at full precision
  also wants w_rec in three parts of bfloat16, as much as one copy and a half.
  """
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
  seeds, length, rows, _ = shapes[0].shape
  chunks = pl.cdiv(length, chunk)
  spec = functools.partial(_spec, chunk, block, chunks if reverse else None)
  return pl.pallas_call(
    kernel,
    grid=(seeds, rows // block, chunks),
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

  "-" is the step before the chunk, and other letters are whole axes. A seed
  axis of 1 is shared by all seeds. Time runs backwards if `chunks` is given.
  """
  if not axes:
    return pl.BlockSpec(memory_space=pltpu.SMEM)
  sizes = {"S": None, "T": chunk, "-": None, "B": block}
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


def _forward_kernel(form, sigma, units, ragged, length, *refs):
  stops_ref, lengths_ref, w_rec_ref, drives_ref, x_0_ref, xs_ref, x_ref = refs
  c, chunk = pl.program_id(2), xs_ref.shape[0]
  start, taken, existing = _window(stops_ref, chunk, length, c)

  @pl.when(c == 0)
  def _():
    x_ref[...] = x_0_ref[...]

  def step(i, x_tm1):
    # w_rec is read here, not before the loop: as a value it would have to fit
    # into registers.
    x_t = common.step_forward(form, sigma, w_rec_ref[...], x_tm1, drives_ref[i])
    x_t = common.clear_padding(x_t, units)
    if ragged:
      # Broadcast as integers: Mosaic has no broadcast of booleans.
      lengths = jnp.broadcast_to(lengths_ref[...], x_t.shape)
      x_t = jnp.where(start + i < lengths, x_t, x_tm1)
    xs_ref[i] = x_t
    return x_t

  def fill(i, x_last):
    xs_ref[i] = x_last
    return x_last

  x = jax.lax.fori_loop(jnp.int32(0), taken, step, x_ref[...])
  x_ref[...] = jax.lax.fori_loop(taken, existing, fill, x)


def _backward_kernel(form, sigma, units, ragged, length, *refs):
  stops_ref, lengths_ref, w_rec_t_ref, x_0_ref, before_ref, xs_ref = refs[:6]
  dxs_ref, deltas_ref, products_ref, p_ref = refs[6:]
  c, chunk = pl.num_programs(2) - 1 - pl.program_id(2), xs_ref.shape[0]
  start, taken, existing = _window(stops_ref, chunk, length, c)
  zeros = jnp.zeros(p_ref.shape, jnp.float32)

  # dx_0 has the same block for every chunk: it carries p from one to the next.
  @pl.when(pl.program_id(2) == 0)
  def _():
    p_ref[...] = zeros

  def activated(i):
    """σ(x_{t-1}), or h_t in the h-form."""
    if form == "h":
      return xs_ref[i]
    first = jax.lax.select(start > 0, before_ref[...], x_0_ref[...])
    x_tm1 = jax.lax.select(i > 0, xs_ref[jnp.maximum(i - 1, 0)], first)
    return common.activate(sigma, x_tm1)

  def fill(i, p):
    # What falls on a state beyond the length falls on the last one reached.
    deltas_ref[i] = zeros
    products_ref[i] = zeros
    return p + dxs_ref[i].astype(jnp.float32)

  def step(j, p_tp1):
    i = taken - 1 - j
    delta_t = dxs_ref[i].astype(jnp.float32) + p_tp1
    p_t = common.step_backward(
      form, sigma, w_rec_t_ref[...], delta_t, activated(i)
    )
    p_t = common.clear_padding(p_t, units)
    carry = p_t
    if ragged:
      valid = start + i < jnp.broadcast_to(lengths_ref[...], p_t.shape)
      carry = jnp.where(valid, p_t, delta_t)
      delta_t, p_t = (jnp.where(valid, y, zeros) for y in (delta_t, p_t))
    deltas_ref[i] = delta_t
    products_ref[i] = p_t
    return carry

  p = jax.lax.fori_loop(taken, existing, fill, p_ref[...])
  p_ref[...] = jax.lax.fori_loop(jnp.int32(0), taken, step, p)
