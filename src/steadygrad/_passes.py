"""One forward and backward pass of a model: fused, generic, rematerialised.

Each function takes the model, `loss_of`, and what the pass is over, and returns
a `Pass`. `loss_of` is (readout's params, ys) -> (loss, (d_readout, dys)), the
gradients zeros where there is none.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _unroll as unrolling
from steadygrad import trees, varying
from steadygrad.types import (
  Array,
  Backward,
  Cell,
  Fused,
  Inputs,
  Model,
  PyTree,
)

LossOf = Callable[[PyTree, Array], tuple[PyTree, tuple[PyTree, Array]]]


class Pass(NamedTuple):
  """Loss, gradients and sequences of one forward and backward pass.

  Attributes:
    loss: [], or a pair with what `has_aux` adds.
    d_readout: gradient in the readout's parameters.
    d_cell: in the cell's; None where a fused pair leaves it to its `gradient`.
    back: error signals, products and dE/dx_0.
    xs: states, leaves [T, B, ...].
    ys: outputs [T, B, N].
  """

  loss: PyTree
  d_readout: PyTree
  d_cell: PyTree | None
  back: Backward
  xs: PyTree
  ys: Array | None = None


def fused_pass(
  fused: Fused,
  model: Model,
  loss_of: LossOf,
  params: PyTree,
  us: Inputs,
  x_0: PyTree,
  lengths: Array | None,
) -> Pass:
  """States kept, by the cell's fused pair."""
  theta = params["cell"]
  xs, ys = fused.forward(theta, us, x_0, lengths)
  # A gradient in all outputs, nearly all of it zero, is not formed.
  seen = ys[-1:] if model.readout.reads == "last" else ys
  loss, (d_readout, dys) = loss_of(params["readout"], seen)
  back = fused.backward(theta, x_0, xs, ys, dys, lengths)
  return Pass(loss, d_readout, None, back, xs, ys)


def generic_pass(
  model: Model,
  loss_of: LossOf,
  params: PyTree,
  us: Inputs,
  x_0: PyTree,
  lengths: Array | None,
) -> Pass:
  """States kept, by two scans over the cell's `step`."""
  cell, theta = model.cell, params["cell"]
  xs = unrolling.unroll(cell, theta, us, x_0=x_0, lengths=lengths)
  loss, (d_readout, dys) = loss_of(params["readout"], cell.output(xs))
  (dxs,) = trees.vjp(cell.output, xs)[1](dys)
  d_cell, back = generic_backward(cell, theta, us, x_0, xs, dxs, lengths)
  return Pass(loss, d_readout, d_cell, back, xs, cell.output(xs))


def generic_backward(
  cell: Cell,
  params: PyTree,
  us: Inputs,
  x_0: PyTree,
  xs: PyTree,
  dxs: PyTree,
  lengths: Array | None,
) -> tuple[PyTree, Backward]:
  """(grads, Backward) of any cell: a reverse scan of `trees.vjp(cell.step)`."""
  mask = unrolling.step_mask(lengths, len(us), us.shape[1])
  x_tm1s = unrolling.previous_states(x_0, xs)

  def step(carry, inputs):
    p_tp1, grads = carry
    x_tm1, u_t, dx_t, mask_t = inputs
    delta_t = jax.tree.map(jnp.add, dx_t, p_tp1)
    zeros = jax.tree.map(jnp.zeros_like, delta_t)
    sent = unrolling.select(mask_t, delta_t, zeros)
    _, vjp = trees.vjp(
      lambda p, x: unrolling.take_step(cell, p, x, u_t), params, x_tm1
    )
    grads_t, product_t = vjp(sent)
    grads = jax.tree.map(jnp.add, grads, grads_t)
    p_t = unrolling.select(mask_t, product_t, delta_t)
    # The vjp is linear, so a product beyond the length is zero already, save
    # where a Jacobian is not finite.
    product_t = unrolling.select(mask_t, product_t, zeros)
    return (p_t, grads), (sent, product_t)

  zeros = jax.tree.map(jnp.zeros_like, (x_0, params))
  zeros = varying.alike(zeros, xs, dxs, mask)
  (dx_0, grads), (deltas, products) = jax.lax.scan(
    step, zeros, (x_tm1s, us, dxs, mask), reverse=True
  )
  return grads, Backward(deltas, products, dx_0)


class _Segments(NamedTuple):
  """T steps as segments of K, the last of them padded.

  Attributes:
    num_steps: T.
    length: K.
  """

  num_steps: int
  length: int

  @property
  def count(self) -> int:
    return -(-self.num_steps // self.length)

  def starts(self) -> Array:
    """The first step of each, [S]."""
    return self.length * jnp.arange(self.count, dtype=jnp.int32)

  def pad(self, x: Array) -> Array:
    """[T, B, N] -> [S K, B, N]."""
    padding = self.count * self.length - self.num_steps
    return jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1)))

  def split(self, x: Array) -> Array:
    """[S K, ...] -> [S, K, ...]."""
    return x.reshape(self.count, self.length, *x.shape[1:])

  def join(self, x: Array) -> Array:
    """[S, K, ...] -> [T, ...]."""
    return x.reshape(-1, *x.shape[2:])[: self.num_steps]


def _one_step(x: PyTree) -> PyTree:
  """[B, ...] -> [1, B, ...]."""
  return jax.tree.map(lambda leaf: leaf[None], x)


def _read(
  cell: Cell,
  loss_of: LossOf,
  readout: PyTree,
  x_last: PyTree,
  ys: Array | None,
  segments: _Segments,
) -> tuple[PyTree, PyTree, PyTree, Array | None]:
  """(loss, d_readout, gradient in x_last alone, gradient in ys).

  x_last is the last state, leaves [B, ...], and ys the outputs [S, K, B, N] of
  all steps; where it is None the readout reads x_last alone.
  """
  if ys is None:
    loss, (d_readout, dys) = loss_of(readout, cell.output(_one_step(x_last)))
    (dx,) = trees.vjp(cell.output, _one_step(x_last))[1](dys)
    return loss, d_readout, jax.tree.map(lambda x: x[0], dx), None
  loss, (d_readout, dys) = loss_of(readout, segments.join(ys))
  dx = jax.tree.map(jnp.zeros_like, x_last)
  return loss, d_readout, dx, segments.split(segments.pad(dys))


def _segment_backward(
  cell: Cell,
  params: PyTree,
  us: Inputs,
  x_0: PyTree,
  xs: PyTree,
  dys: Array | None,
  dx_last: PyTree,
  lengths: Array,
) -> tuple[PyTree, Backward]:
  """`generic_backward` of one segment, given dE/dx of its last state too."""
  dxs = jax.tree.map(jnp.zeros_like, xs)
  if dys is not None:
    (dxs,) = trees.vjp(cell.output, xs)[1](dys)
  # What later segments send back falls on this one's last state.
  dxs = jax.tree.map(
    lambda d, g: d.at[-1].add(g) if trees.is_inexact(d) else d, dxs, dx_last
  )
  return generic_backward(cell, params, us, x_0, xs, dxs, lengths)


def rematerialised_pass(
  model: Model,
  loss_of: LossOf,
  params: PyTree,
  us: Inputs,
  x_0: PyTree,
  lengths: Array | None,
  every: int,
) -> Pass:
  """States kept at every K-th step, and recomputed in the backward pass."""
  cell, theta = model.cell, params["cell"]
  num_steps, batch_size = us.shape[:2]
  segments = _Segments(num_steps, every)
  us = jax.tree.map(segments.pad, us)
  ends = num_steps if lengths is None else lengths.astype(jnp.int32)
  starts = segments.starts()

  def states(x, us, start):
    left = jnp.broadcast_to(jnp.clip(ends - start, 0, every), batch_size)
    return unrolling.unroll(cell, theta, us, x_0=x, lengths=left), left

  def advance(x, segment):
    xs, _ = states(x, *segment)
    last = jax.tree.map(lambda s: s[-1], xs)
    seen = cell.output(xs) if model.readout.reads == "every" else None
    return last, (x, seen)

  inputs = (jax.tree.map(segments.split, us), starts)
  x_last, (firsts, seen) = jax.lax.scan(advance, x_0, inputs)
  loss, d_readout, dx, dys = _read(
    cell, loss_of, params["readout"], x_last, seen, segments
  )

  def retreat(carry, segment):
    dx, grads = carry
    x, us, start, dys = segment
    xs, left = states(x, us, start)
    new, back = _segment_backward(cell, theta, us, x, xs, dys, dx, left)
    grads = jax.tree.map(jnp.add, grads, new)
    return (back.dx_0, grads), (back.deltas, back.products, xs)

  zeros = jax.tree.map(jnp.zeros_like, theta)
  (dx_0, d_cell), sequences = jax.lax.scan(
    retreat, (dx, zeros), (firsts, *inputs, dys), reverse=True
  )
  deltas, products, xs = jax.tree.map(segments.join, sequences)
  back = Backward(deltas, products, dx_0)
  return Pass(loss, d_readout, d_cell, back, xs, cell.output(xs))
