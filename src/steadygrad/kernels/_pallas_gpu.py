"""The recursion in one Triton kernel (Pallas), the whole sequence at a time.

A program owns one seed and a block of `BLOCK_ROWS` sequences, reads w_rec once
and keeps it on the chip while it walks through time: the launch of a step, from
which a scan of small products suffers, is gone. Equations, results and dtypes
are those of `_xla`; sizes are padded here to what Triton asks for.

This has been lowered for CUDA, compiled to machine code for its registers and
spills to be counted, and run by the interpreter on a CPU. It has not run on a
GPU.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from steadygrad import varying
from steadygrad.activations import Activation
from steadygrad.kernels import _pallas_common as common
from steadygrad.types import Array

NAME = "pallas_gpu"
BLOCK_ROWS = 16  # the fewest rows that Triton's dot takes
SHARED_BYTES = 227 * 1024  # of one block, on H100, H200 and B200


def padded(batch: int, units: int) -> tuple[int, int]:
  """(rows, columns) to which B and N are padded: a power of two for Triton."""
  columns = max(16, pl.next_power_of_2(units))
  return common.round_up(batch, BLOCK_ROWS), columns


def check(w_dtype, x_dtype, batch: int, units: int) -> None:
  """ValueError where w_rec and a step's states exceed the shared memory.

  Triton keeps the operands of its products there, w_rec for the whole loop, and
  two states of float32 while it rearranges them. Compiled for sm_90 with Triton
  3.6, the sizes that pass take at most this much, and their threads spill at
  most 8 bytes (linear units, N = 256, bfloat16), nearly all of them none; N =
  256 in float32, which does not pass, spills 16 KiB.
  """
  del x_dtype
  columns = padded(batch, units)[1]
  states = 2 * BLOCK_ROWS * columns * jnp.dtype(jnp.float32).itemsize
  needed = columns**2 * jnp.dtype(w_dtype).itemsize + states
  if needed > SHARED_BYTES:
    raise ValueError(
      f"implementation {NAME!r} keeps w_rec on the chip: with N = {units} "
      f"padded to {columns} in {jnp.dtype(w_dtype)} it needs {needed} bytes of "
      f"shared memory, and there are {SHARED_BYTES}"
    )


def num_warps(columns: int) -> int:
  """One for 16 x 16 results of a product; with half as many N = 256 spills."""
  return columns // 16


def _tanh(x: Array) -> Array:
  """tanh x without a branch.

  The one of CUDA's library branches for every element; after a product of 128
  columns that makes the compiler spill kilobytes a thread.
  """
  y = jnp.expm1(-2 * jnp.abs(x))
  return jnp.where(x < 0, y, -y) / (2 + y)


def _relu(x: Array) -> Array:
  """max(x, 0). Triton's maximum of NaN and 0 is 0: a diverged state is lost."""
  return jnp.where(x <= 0, jnp.zeros_like(x), x)


_PHI = {"tanh": _tanh, "relu": _relu}


def _for_triton(sigma: Activation) -> Activation:
  return sigma._replace(phi=_PHI.get(sigma.name, sigma.phi))


def forward(form: str, sigma: Activation, ragged: bool, interpret: bool):
  """(w_rec, drives, x_0, lengths) -> xs; each with the seed axis in front."""
  sigma = _for_triton(sigma)

  def call(w_rec, drives, x_0, lengths):
    seeds = common.num_seeds(w_rec, drives, x_0, lengths)
    length, batch, units = drives.shape[1:]
    rows, columns = padded(batch, units)
    lengths = common.row_lengths(lengths, length, batch, rows)
    shape = seeds, length, rows, columns
    xs = _pallas_call(
      functools.partial(_forward_kernel, form, sigma, units, ragged),
      [
        ("SK", common.stops(lengths, BLOCK_ROWS)),
        ("SB", lengths),
        ("SNN", common.pad(w_rec, (columns, columns))),
        ("STBN", common.pad(drives, (rows, columns))),
        ("SBN", common.pad(x_0, (rows, columns))),
      ],
      [("STBN", jax.ShapeDtypeStruct(shape, drives.dtype))],
      interpret,
    )[0]
    return xs[:, :, :batch, :units]

  return common.over_seeds(call)


def backward(form: str, sigma: Activation, ragged: bool, interpret: bool):
  """(w_rec, x_0, xs, dxs, lengths) -> (deltas, products, dx_0), likewise."""
  sigma = _for_triton(sigma)

  def call(w_rec, x_0, xs, dxs, lengths):
    seeds = common.num_seeds(w_rec, x_0, xs, dxs, lengths)
    length, batch, units = xs.shape[1:]
    rows, columns = padded(batch, units)
    lengths = common.row_lengths(lengths, length, batch, rows)
    sequence, state = (
      jax.ShapeDtypeStruct((seeds, *s, rows, columns), jnp.float32)
      for s in ((length,), ())
    )
    # Triton would transpose w_rec anew in every step, so it comes transposed.
    outputs = _pallas_call(
      functools.partial(_backward_kernel, form, sigma, units, ragged),
      [
        ("SK", common.stops(lengths, BLOCK_ROWS)),
        ("SB", lengths),
        ("SNN", common.pad(jnp.swapaxes(w_rec, 1, 2), (columns, columns))),
        ("SBN", common.pad(x_0, (rows, columns))),
        ("STBN", common.pad(xs, (rows, columns))),
        ("STBN", common.pad(dxs, (rows, columns))),
      ],
      [("STBN", sequence), ("STBN", sequence), ("SBN", state)],
      interpret,
    )
    return tuple(y[..., :batch, :units] for y in outputs)

  return common.over_seeds(call)


def _pallas_call(kernel, operands, outputs, interpret):
  """One program a seed and block of rows; operands are (axes, array)."""
  axes, arrays = zip(*operands, strict=True)
  out_axes, shapes = zip(*outputs, strict=True)
  arrays = varying.alike(arrays)
  shapes = varying.abstract_like(shapes, arrays[0])
  seeds, rows = shapes[0].shape[0], shapes[0].shape[2]
  return pl.pallas_call(
    kernel,
    grid=(seeds, rows // BLOCK_ROWS),
    in_specs=list(map(_spec, axes, arrays)),
    out_specs=list(map(_spec, out_axes, shapes)),
    out_shape=shapes,
    compiler_params=plgpu.CompilerParams(
      num_warps=num_warps(shapes[0].shape[-1]), num_stages=1
    ),
    interpret=interpret,
  )(*arrays)


def _spec(axes: str, x: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
  """A program's part of `x`: S its seed, B its rows, K its block, the rest all.

  A seed axis of 1 is shared by all seeds.
  """
  sizes = {"S": None, "K": None, "B": BLOCK_ROWS}
  shape = tuple(sizes.get(a, n) for a, n in zip(axes, x.shape, strict=True))

  def index(seed, block):
    at = {"S": seed if x.shape[0] > 1 else 0, "K": block, "B": block}
    return tuple(at.get(a, 0) for a in axes)

  return pl.BlockSpec(shape, index)


def _forward_kernel(form, sigma, units, ragged, *refs):
  stop_ref, lengths_ref, w_rec_ref, drives_ref, x_0_ref, xs_ref = refs
  w_rec, stop = w_rec_ref[...], stop_ref[...]
  num_steps = jnp.int32(drives_ref.shape[0])
  lengths = lengths_ref[...][:, None] if ragged else None

  def step(t, carry):
    x_tm1, drive_t = carry
    # Asked for a step ahead, so that memory answers during the product.
    drive_tp1 = drives_ref[jnp.minimum(t + 1, num_steps - 1)]
    x_t = common.step_forward(form, sigma, w_rec, x_tm1, drive_t)
    x_t = common.clear_padding(x_t, units)
    if ragged:
      x_t = jnp.where(t < lengths, x_t, x_tm1)
    xs_ref[t] = x_t
    return x_t, drive_tp1

  def fill(t, x_last):
    xs_ref[t] = x_last
    return x_last

  carry = x_0_ref[...], drives_ref[0]
  x_last, _ = jax.lax.fori_loop(jnp.int32(0), stop, step, carry)
  jax.lax.fori_loop(stop, num_steps, fill, x_last)


def _backward_kernel(form, sigma, units, ragged, *refs):
  stop_ref, lengths_ref, w_rec_t_ref, x_0_ref, xs_ref, dxs_ref = refs[:6]
  deltas_ref, products_ref, dx_0_ref = refs[6:]
  w_rec_t, stop = w_rec_t_ref[...], stop_ref[...]
  num_steps = jnp.int32(xs_ref.shape[0])
  lengths = lengths_ref[...][:, None] if ragged else None
  zeros = jnp.zeros(x_0_ref.shape, jnp.float32)

  def read(t):
    """(x_{t-1}, or h_t in the h-form; dx_t); any values for t = -1."""
    dx_t = dxs_ref[jnp.maximum(t, 0)]
    if form == "h":
      return xs_ref[jnp.maximum(t, 0)], dx_t
    x_tm1 = xs_ref[jnp.maximum(t - 1, 0)]
    return jnp.where(t > 0, x_tm1, x_0_ref[...]), dx_t

  def fill(t, p):
    # What falls on a state beyond the length falls on the last one reached.
    deltas_ref[t] = zeros
    products_ref[t] = zeros
    return p + dxs_ref[t].astype(jnp.float32)

  def step(i, carry):
    p_tp1, (x, dx_t) = carry
    t = stop - 1 - i
    ahead = read(t - 1)
    delta_t = dx_t.astype(jnp.float32) + p_tp1
    h = common.activate(sigma, x) if form == "x" else x
    p_t = common.step_backward(form, sigma, w_rec_t, delta_t, h)
    p_t = common.clear_padding(p_t, units)
    if ragged:
      valid = t < lengths
      deltas_ref[t] = jnp.where(valid, delta_t, zeros)
      products_ref[t] = jnp.where(valid, p_t, zeros)
      return jnp.where(valid, p_t, delta_t), ahead
    deltas_ref[t] = delta_t
    products_ref[t] = p_t
    return p_t, ahead

  p = jax.lax.fori_loop(stop, num_steps, fill, zeros)
  carry = p, read(stop - 1)
  dx_0_ref[...] = jax.lax.fori_loop(jnp.int32(0), stop, step, carry)[0]
