"""A causal transformer as a readout of the embedded inputs.

Its cell, `cells.embedding`, has no memory: the state at step t is the input of
that step, embedded, which is the residual stream before the first block. So the
error signals of `adjoints` are those of that stream, and all that holds for
recurrent models, lengths, padding, seeds, holds here too. Blocks are pre-LN,

  x <- x + attention(norm(x)),  x <- x + gelu(norm(x) w_1 + b_1) w_2 + b_2

and step t attends to the steps up to t.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.models import positions as position_rules
from steadygrad.numerics import add, matmul, normalised, times
from steadygrad.types import Array, PyTree, Readout

WIDER = 4  # Of the hidden layer of a block.


class Size(NamedTuple):
  """How large a transformer is.

  Attributes:
    width: of the residual stream, N.
    layers: blocks.
    heads: of the attention; they divide N.
    max_length: positions that `learned` has.
  """

  width: int
  layers: int = 1
  heads: int = 4
  max_length: int | None = None


def transformer_readout(
  size: Size,
  output_size: int,
  *,
  positions: str = "sinusoidal",
  reads: str = "last",
  checkpoint: bool = False,
) -> Readout:
  """Blocks of causal attention over all states, then a linear map.

  Args:
    size: see `Size`.
    output_size: O.
    positions: "none", "sinusoidal", "learned", "rotary" or "alibi", see
      `positions`.
    reads: "last" for outputs [B, O] at each sequence's last step, "every" for
      [T, B, O].
    checkpoint: whether the backward pass computes each block again from the
      residual stream before it, which is all that is then kept of a block.

  Raises:
    ValueError: on a size under 1, heads that do not divide the width (or its
      half, for rotary), other positions or another `reads`; or on learned
      positions without a max_length, and at more steps than it.
  """
  _check(size, output_size, positions, reads)
  fan_in = jax_initializers.lecun_normal()
  width = size.width

  def init_block(key):
    keys = jax.random.split(key, 6)
    return {
      "norm_1": _init_norm(width),
      **{
        name: fan_in(k, (width, width))
        for name, k in zip(("q", "k", "v", "out"), keys, strict=False)
      },
      "norm_2": _init_norm(width),
      "w_1": fan_in(keys[4], (width, WIDER * width)),
      "b_1": jnp.zeros(WIDER * width),
      "w_2": fan_in(keys[5], (WIDER * width, width)),
      "b_2": jnp.zeros(width),
    }

  def init(key):
    key_out, key_places, *keys = jax.random.split(key, 2 + size.layers)
    params = {
      "blocks": [init_block(k) for k in keys],
      "norm": _init_norm(width),
      "w_out": fan_in(key_out, (width, output_size)),
      "b_out": jnp.zeros(output_size),
    }
    if positions == "learned":
      places = (size.max_length or 0, width)
      params["places"] = 0.02 * jax.random.normal(key_places, places)
    return params

  def pass_blocks(blocks, x):
    if not checkpoint:
      for block in blocks:
        x = pass_block(block, x, size.heads, positions)
      return x
    # One after the other in a scan: of a program that has them all side by
    # side XLA merges what was computed with what is to be computed again.
    each = jax.checkpoint(
      lambda x, block: (pass_block(block, x, size.heads, positions), None)
    )
    # A block may widen what it is given, but a scan's carry keeps its type.
    x = x.astype(jax.eval_shape(each, x, blocks[0])[0].dtype)
    return jax.lax.scan(
      each, x, jax.tree.map(lambda *p: jnp.stack(p), *blocks)
    )[0]

  def apply(params, ys, mask):
    x = pass_blocks(params["blocks"], enter(params, ys, positions))
    return leave(params, x, mask, reads).astype(ys.dtype)

  return Readout(init, apply, "every", masked=True)


def enter(params: PyTree, ys: Array, positions: str) -> Array:
  """The residual stream before the first block, [B, T, N], of ys [T, B, N]."""
  x = jnp.swapaxes(ys, 0, 1)
  return position_rules.added(positions, x, params.get("places"))


def pass_block(block: PyTree, x: Array, heads: int, positions: str) -> Array:
  """The residual stream behind a block, [B, T, N]."""
  x = x + _attend(block, _norm(block["norm_1"], x), heads, positions)
  return x + _widen(block, _norm(block["norm_2"], x))


def leave(params: PyTree, x: Array, mask: Array | None, reads: str) -> Array:
  """The outputs, of the residual stream behind the last block."""
  lengths = None if mask is None else jnp.maximum(jnp.sum(mask, 0), 1)
  x = _of_some_steps(_norm(params["norm"], x), mask)
  if reads == "last":
    x = x[:, -1] if lengths is None else _at(x, lengths - 1)
  outputs = add(matmul(x, params["w_out"]), params["b_out"])
  return outputs if reads == "last" else jnp.swapaxes(outputs, 0, 1)


def layer_signals(
  params: PyTree,
  ys: Array,
  error: Callable[[Array], Array],
  *,
  heads: int,
  positions: str,
  reads: str = "last",
) -> Array:
  """dE/dx^l of the residual stream before the first block and behind each.

  Args:
    params: of `transformer_readout`.
    ys: what the readout is given, [T, B, N].
    error: outputs -> E [].
    heads: as in `Size`.
    positions: as `transformer_readout` takes them.
    reads: as `transformer_readout` takes it.

  Returns:
    [layers + 1, B, T, N]. The growth of their norm from the last to the first,
    over the layers, is to depth what a Lyapunov exponent is to time.
  """

  def of_taps(taps):
    x = enter(params, ys, positions) + taps[0]
    for block, tap in zip(params["blocks"], taps[1:], strict=True):
      x = pass_block(block, x, heads, positions) + tap
    return error(leave(params, x, None, reads))

  num_steps, *rest = ys.shape
  shape = (len(params["blocks"]) + 1, rest[0], num_steps, rest[1])
  return jax.grad(of_taps)(jnp.zeros(shape, ys.dtype))


def _check(size: Size, output_size: int, positions: str, reads: str) -> None:
  for name in ("width", "layers", "heads"):
    _validate.check_integer(name, getattr(size, name))
  _validate.check_integer("output_size", output_size)
  _validate.check_one_of("positions", positions, position_rules.POSITIONS)
  _validate.check_one_of("reads", reads, ("last", "every"))
  each = 2 * size.heads if positions == "rotary" else size.heads
  if size.width % each:
    raise ValueError(
      f"width must be a multiple of {each} with {size.heads} heads and"
      f" {positions} positions, got {size.width}"
    )
  if positions == "learned":
    _validate.check_integer("max_length", size.max_length)


def _attend(block: PyTree, x: Array, heads: int, positions: str) -> Array:
  """Causal attention [B, T, N]; later steps, padding too, are never seen."""
  split = (*x.shape[:2], heads, x.shape[2] // heads)
  q, k, v = (matmul(x, block[name]).reshape(split) for name in "qkv")
  q, k = position_rules.turned(positions, q, k)
  scores = jnp.einsum("bthd,bshd->bhts", q, k) / math.sqrt(split[-1])
  biases = position_rules.biases(positions, x.shape[1], heads)
  scores = add(scores, biases)
  steps = jnp.arange(x.shape[1])
  causal = steps[None, :] <= steps[:, None]
  shares = jax.nn.softmax(jnp.where(causal[None, None], scores, -jnp.inf))
  seen = jnp.einsum("bhts,bshd->bthd", shares, v)
  return matmul(seen.reshape(x.shape), block["out"])


def _of_some_steps(x: Array, mask: Array | None) -> Array:
  """x [B, T, N] without sequences of no steps.

  Those are zeros, where a norm's derivative is 1 / √ε.
  """
  if mask is None:
    return x
  return jnp.where(jnp.any(mask, 0)[:, None, None], x, 0)


def _widen(block: PyTree, x: Array) -> Array:
  """The two layers behind the attention."""
  inner = jax.nn.gelu(add(matmul(x, block["w_1"]), block["b_1"]))
  return add(matmul(inner, block["w_2"]), block["b_2"])


def _init_norm(width: int) -> PyTree:
  return {"scale": jnp.ones(width), "offset": jnp.zeros(width)}


def _norm(params: PyTree, x: Array) -> Array:
  return add(times(normalised(x), params["scale"]), params["offset"])


def _at(x: Array, steps: Array) -> Array:
  """x [B, T, N] at one step of each sequence, [B, N]."""
  return jnp.take_along_axis(x, steps[:, None, None], 1)[:, 0]
