"""The recursion in one Triton kernel (Pallas), the whole sequence at a time.

A program owns one seed and a block of `BLOCK_ROWS` sequences, reads w_rec once
and keeps it on the chip while it walks through time: the launch of a step, from
which a scan of small products suffers, is gone. Equations, results and dtypes
are those of `_xla`. Arrays come as they are: a program reads and writes blocks
of powers of two, as Triton asks for, under masks, and nothing is padded or cut.

It ran on an H100 and agreed with the loop there when it still padded its
arrays; in its present form it has been interpreted, lowered, and compiled to
machine code, see `docs/results/gpu.md`.

All that is Triton's in this package is in this file. Without it, as in a JAX
that no longer has the backend, `elman_scan` takes the XLA loop.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from steadygrad import varying
from steadygrad.activations import Activation
from steadygrad.kernels import _pallas_common as common
from steadygrad.numerics import PRECISIONS
from steadygrad.types import Array

NAME = "pallas_gpu"
BLOCK_ROWS = 16  # the fewest rows that Triton's dot takes
MAX_TILE = 128  # columns
FEW_PROGRAMS = 264  # two for each multiprocessor of an H100
SHARED_BYTES = 227 * 1024  # of one block, on H100, H200 and B200

# Of a weight in float32, as an operand of Triton's products.
_BYTES = {"highest": 4, "tf32x3": 8, "tf32": 4, "bfloat16": 2}
# Names that a JAX without the backend lacks, looked up on import.
_load, _store, _Params = plgpu.load, plgpu.store, plgpu.CompilerParams


def tiles(units: int) -> tuple[int, ...]:
  """Widths of the column tiles that N units fill: powers of two for Triton.

  One up to 128 units; beyond it the rest has its own, or 192 would be 256.
  """
  full, rest = divmod(units, MAX_TILE)
  last = (max(16, pl.next_power_of_2(rest)),) if rest else ()
  return (MAX_TILE,) * full + last


def check(w_dtype, x_dtype, batch: int, units: int, precision: str) -> None:
  """ValueError where w_rec and a step's states exceed the shared memory.

  Triton keeps the operands of its products there, w_rec for the whole loop, and
  two states of float32 while it rearranges them; of TF32x3 both halves, so that
  it holds N = 160 where the others hold 192. `docs/results/gpu.md` has the
  registers and spills of the sizes that pass.
  """
  del x_dtype, batch
  columns = sum(tiles(units))
  states = 2 * BLOCK_ROWS * columns * jnp.dtype(jnp.float32).itemsize
  narrow = jnp.dtype(w_dtype) == jnp.bfloat16
  needed = columns**2 * (2 if narrow else _BYTES[precision]) + states
  if needed > SHARED_BYTES:
    raise ValueError(
      f"implementation {NAME!r} keeps w_rec on the chip: with N = {units} "
      f"padded to {columns} in {jnp.dtype(w_dtype)} at precision {precision!r} "
      f"it needs {needed} bytes of shared memory, and there are {SHARED_BYTES}"
    )


def num_warps(units: int, programs: int) -> int:
  """8 for 128 columns, and 4 for 64 where there are programs enough.

  Measured on an H100: 8 warps at 128 units; at 50 units 4 before 2. A step's
  instructions wait for one another, so that as long as the card is not full a
  program with twice the warps, and little over half the instructions for each,
  should be faster: that is counted, and not measured.
  """
  columns = min(MAX_TILE, max(16, pl.next_power_of_2(units)))
  return min(8, columns // (8 if programs <= FEW_PROGRAMS else 16))


def _dot(precision: str, interpret: bool, a: Array, b: Array) -> Array:
  """a b in float32; see `PRECISIONS` for what float32 operands lose."""
  if a.dtype == jnp.float32 and precision == "bfloat16":
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  # Products of bfloat16 are exact in one pass. The interpreter has a CPU's.
  exact = a.dtype != jnp.float32
  how = (
    None if exact else PRECISIONS["highest" if interpret else precision].cuda
  )
  return common.dot(a, b, how)


# Coefficients of (tanh x / x - 1) / x² in x² for |x| < .55.
_TANH = 1.57394409e-2, -5.23025580e-2, 1.33152977e-1, -3.33327681e-1
_TWO_OF_E = 2 * math.log2(math.e)


def _tanh(x: Array) -> Array:
  """tanh x to a few units in the last place, without a branch.

  The one of CUDA's library branches for every element; after a product of 128
  columns that makes the compiler spill kilobytes a thread. By expm1, half of
  all instructions of a step were those of tanh.
  """
  size, square = jnp.abs(x), x * x
  near = functools.reduce(lambda p, c: p * square + c, _TANH)
  near = x + x * (square * near)
  far = 1 - 2 / (1 + jnp.exp2(_TWO_OF_E * size))
  return jnp.where(size < 0.55, near, jnp.where(x < 0, -far, far))


def _relu(x: Array) -> Array:
  """max(x, 0). Triton's maximum of NaN and 0 is 0: a diverged state is lost."""
  return jnp.where(x <= 0, jnp.zeros_like(x), x)


_PHI = {"tanh": _tanh, "relu": _relu}


class _Blocks(NamedTuple):
  """A program's part of arrays [..., B, N], as a tuple of column tiles.

  Attributes:
    batch: B.
    units: N.
    block: which rows, [].
  """

  batch: int
  units: int
  block: Array

  def _columns(self) -> list[tuple[int, int]]:
    """(start, width) of each tile."""
    widths = tiles(self.units)
    return [(sum(widths[:i]), width) for i, width in enumerate(widths)]

  def _mask(self, start: int, width: int) -> Array:
    shape = BLOCK_ROWS, width
    rows = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    columns = start + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    inside = self.block * BLOCK_ROWS + rows < self.batch
    return inside & (columns < self.units)

  def read(self, ref, *index: Array) -> tuple[Array, ...]:
    """Zeros beyond B and N."""
    return tuple(
      _load(
        ref.at[(*index, slice(None), pl.ds(start, width))],
        mask=self._mask(start, width),
        other=0.0,
      )
      for start, width in self._columns()
    )

  def write(self, ref, state: tuple[Array, ...], *index: Array) -> None:
    for (start, width), x in zip(self._columns(), state, strict=True):
      at = ref.at[(*index, slice(None), pl.ds(start, width))]
      _store(at, x.astype(ref.dtype), mask=self._mask(start, width))

  def zeros(self) -> tuple[Array, ...]:
    widths = tiles(self.units)
    return tuple(jnp.zeros((BLOCK_ROWS, w), jnp.float32) for w in widths)

  def clear(self, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """Zeros in the columns from N on; see `common.clear_padding`."""
    return tuple(
      common.clear_padding(x, self.units - start)
      for (start, _), x in zip(self._columns(), state, strict=True)
    )

  def weights(self, ref) -> tuple[tuple[Array, ...], ...]:
    """w [N, N] in tiles, row by row; zeros beyond N."""

    def tile(row, height, column, width):
      shape = height, width
      rows = row + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
      columns = column + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
      mask = (rows < self.units) & (columns < self.units)
      at = ref.at[pl.ds(row, height), pl.ds(column, width)]
      return _load(at, mask=mask, other=0.0)

    across = self._columns()
    return tuple(tuple(tile(*r, *c) for c in across) for r in across)


def _product(dot, w: tuple[tuple[Array, ...], ...]):
  """state -> state w, in tiles."""

  def product(state):
    state = [x.astype(w[0][0].dtype) for x in state]
    columns = zip(*w, strict=True)
    return tuple(sum(map(dot, state, column)) for column in columns)

  return product


def forward(form, sigma: Activation, ragged: bool, precision, interpret):
  """(w_rec, drives, x_0, lengths) -> xs; each with the seed axis in front."""
  sigma = sigma._replace(phi=_PHI.get(sigma.name, sigma.phi))
  dot = functools.partial(_dot, precision, interpret)

  def call(w_rec, drives, x_0, lengths):
    seeds = common.num_seeds(w_rec, drives, x_0, lengths)
    length, batch, units = drives.shape[1:]
    rows = common.round_up(batch, BLOCK_ROWS)
    lengths = common.row_lengths(lengths, length, batch, rows)
    shape = jax.ShapeDtypeStruct((seeds, length, batch, units), drives.dtype)
    return _pallas_call(
      functools.partial(_forward_kernel, form, sigma, dot, ragged),
      [
        ("SK", common.stops(lengths, BLOCK_ROWS)),
        ("SB", lengths),
        ("SMM", w_rec),
        ("STBN", drives),
        ("SBN", x_0),
      ],
      [("STBN", shape)],
      interpret,
    )[0]

  return common.over_seeds(call)


def backward(form, sigma: Activation, ragged: bool, precision, interpret):
  """(w_rec, x_0, xs, dhs, lengths) -> (deltas, products, dx_0), likewise.

  With dhs [S, 1, B, N], of a loss that sees the last state alone, -> (deltas,
  dx_0); the products are the deltas of the step before.
  """
  sigma = sigma._replace(phi=_PHI.get(sigma.name, sigma.phi))
  dot = functools.partial(_dot, precision, interpret)

  def call(w_rec, x_0, xs, dhs, lengths):
    seeds = common.num_seeds(w_rec, x_0, xs, dhs, lengths)
    length, batch, units = xs.shape[1:]
    rows = common.round_up(batch, BLOCK_ROWS)
    lengths = common.row_lengths(lengths, length, batch, rows)
    sequence, state = (
      jax.ShapeDtypeStruct((seeds, *s, batch, units), jnp.float32)
      for s in ((length,), ())
    )
    # Of one step "the last alone" and "every" are the same.
    every = dhs.shape[1] == length
    # Triton would transpose w_rec anew in every step, so it comes transposed.
    outputs = _pallas_call(
      functools.partial(_backward_kernel, form, sigma, dot, ragged, every),
      [
        ("SK", common.stops(lengths, BLOCK_ROWS)),
        ("SB", lengths),
        ("SMM", jnp.swapaxes(w_rec, 1, 2)),
        ("SBN", x_0),
        ("STBN", xs),
        ("STBN" if every else "S-BN", dhs),
      ],
      [("STBN", sequence)] * (1 + every) + [("SBN", state)],
      interpret,
    )
    return tuple(outputs)

  return common.over_seeds(call)


def _pallas_call(kernel, operands, outputs, interpret):
  """One program a seed and block of rows; operands are (axes, array)."""
  axes, arrays = zip(*operands, strict=True)
  out_axes, shapes = zip(*outputs, strict=True)
  arrays = varying.alike(arrays)
  shapes = varying.abstract_like(shapes, arrays[0])
  seeds, _, batch, units = shapes[0].shape
  grid = seeds, pl.cdiv(batch, BLOCK_ROWS)
  return pl.pallas_call(
    functools.partial(kernel, batch, units),
    grid=grid,
    in_specs=list(map(_spec, axes, arrays)),
    out_specs=list(map(_spec, out_axes, shapes)),
    out_shape=shapes,
    compiler_params=_Params(
      num_warps=num_warps(units, math.prod(grid)), num_stages=1
    ),
    interpret=interpret,
  )(*arrays)


def _spec(axes: str, x: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
  """A program's part of `x`: S its seed, B its rows, K its block, the rest all.

  "-" is an axis of 1, and a seed axis of 1 is shared by all seeds. Blocks
  reach beyond N (axes N, M) and beyond B: they are read and written under
  masks.
  """
  columns = sum(tiles(x.shape[-1])) if axes[-1] in "NM" else 0
  sizes = {
    "S": None,
    "K": None,
    "-": None,
    "B": BLOCK_ROWS,
    "N": columns,
    "M": columns,
  }
  shape = tuple(sizes.get(a, n) for a, n in zip(axes, x.shape, strict=True))

  def index(seed, block):
    at = {"S": seed if x.shape[0] > 1 else 0, "K": block, "B": block}
    return tuple(at.get(a, 0) for a in axes)

  return pl.BlockSpec(shape, index)


def _forward_kernel(form, sigma, dot, ragged, batch, units, *refs):
  stop_ref, lengths_ref, w_rec_ref, drives_ref, x_0_ref, xs_ref = refs
  blocks = _Blocks(batch, units, pl.program_id(1))
  product, stop = _product(dot, blocks.weights(w_rec_ref)), stop_ref[...]
  num_steps = jnp.int32(drives_ref.shape[0])
  lengths = lengths_ref[...][:, None] if ragged else None

  def step(t, carry):
    x_tm1, drive_t = carry
    # Asked for a step ahead, so that memory answers during the product.
    drive_tp1 = blocks.read(drives_ref, jnp.minimum(t + 1, num_steps - 1))
    x_t = common.step_forward(form, sigma, product, x_tm1, drive_t)
    valid = t < lengths if ragged else None
    x_t = common.select(valid, blocks.clear(x_t), x_tm1)
    blocks.write(xs_ref, x_t, t)
    return x_t, drive_tp1

  def fill(t, x_last):
    blocks.write(xs_ref, x_last, t)
    return x_last

  first = jnp.minimum(stop, 0)  # The interpreter takes no constant.
  carry = blocks.read(x_0_ref), blocks.read(drives_ref, first)
  x_last, _ = jax.lax.fori_loop(jnp.int32(0), stop, step, carry)
  jax.lax.fori_loop(stop, num_steps, fill, x_last)


def _reader(form, every, blocks, x_0_ref, xs_ref, dhs_ref):
  """(read, seen): what a step of the backward pass reads, a step ahead.

  read(t) -> (state, dh_t), with no dh_t of a loss on the last state, and
  anything at t = -1; seen(t, state) -> the state whose σ′ is in p_t, x_{t-1} in
  the x-form and h_t. That x_0 comes before the first is seen to there, where
  the state is used: in `read` it would have to wait for memory.
  """
  x_0 = blocks.read(x_0_ref)
  before = 1 if form == "x" else 0

  def read(t):
    dh_t = blocks.read(dhs_ref, jnp.maximum(t, 0)) if every else ()
    return blocks.read(xs_ref, jnp.maximum(t - before, 0)), dh_t

  def seen(t, state):
    return common.select(t > 0, state, x_0) if form == "x" else state

  return read, seen


def _backward_kernel(form, sigma, dot, ragged, every, batch, units, *refs):
  stop_ref, lengths_ref, w_rec_t_ref, *in_refs = refs[:6]
  *out_refs, dx_0_ref = refs[6:]
  _, xs_ref, dhs_ref = in_refs
  blocks = _Blocks(batch, units, pl.program_id(1))
  product, stop = _product(dot, blocks.weights(w_rec_t_ref)), stop_ref[...]
  num_steps = jnp.int32(xs_ref.shape[0])
  lengths = lengths_ref[...][:, None] if ragged else None
  read, seen = _reader(form, every, blocks, *in_refs)
  keeps_prime = every and form == "x"
  zeros = blocks.zeros()

  def prime(state):
    return common.prime(form, sigma, state)

  def write(t, *sequences):
    # Of a loss on the last state the products are not written.
    for ref, x_t in zip(out_refs, sequences, strict=False):
      blocks.write(ref, x_t, t)

  def fill(t, p):
    write(t, zeros, zeros)
    if not every:
      return p
    # What falls on a state beyond the length falls on the last one reached.
    dh_t, x_t = blocks.read(dhs_ref, t), blocks.read(xs_ref, t)
    return common.plus(p, common.of_loss(form, dh_t, prime(x_t)))

  def step(i, carry):
    delta_t, prime_t, (state, dh_t) = carry
    t = stop - 1 - i
    ahead, prime_p = read(t - 1), prime(seen(t, state))
    if every:
      delta_t = common.plus(delta_t, common.of_loss(form, dh_t, prime_t))
    p_t = blocks.clear(common.step_backward(form, product, delta_t, prime_p))
    valid = t < lengths if ragged else None
    write(t, *(common.select(valid, x, zeros) for x in (delta_t, p_t)))
    p_t = common.select(valid, p_t, delta_t)
    return p_t, prime_p if keeps_prime else (), ahead

  # Beyond `stop` the last state is held: σ′ of it is σ′ of any there.
  prime_t = prime(blocks.read(xs_ref, num_steps - 1))
  p = zeros
  if not every:
    p = common.of_loss(form, blocks.read(dhs_ref), prime_t)
  p = jax.lax.fori_loop(stop, num_steps, fill, p)
  carry = p, prime_t if keeps_prime else (), read(stop - 1)
  p, _, _ = jax.lax.fori_loop(jnp.int32(0), stop, step, carry)
  blocks.write(dx_0_ref, p)
