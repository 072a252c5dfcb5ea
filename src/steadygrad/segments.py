"""Work on sequences that outgrow a CPU's cache, some steps at a time."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad import varying
from steadygrad.types import Array, PyTree

# A segment has this many numbers of its widest sequence, half a megabyte in
# float32, or this many rows of [T B, N], whichever is more. It has to fit into
# a core's cache with what is formed from it, and its products must not be thin:
# 2000 rows of 50 in one product take half as long as in four.
NUMBERS = 2**17
ROWS = 512


def num_steps(mask: Array | None) -> Array | None:
  """Steps up to the last that counts in a mask [T, B]; None of None."""
  return None if mask is None else jnp.sum(jnp.any(mask, 1))


def in_segments(
  fn: Callable, sequences: PyTree, steps: Array | None = None
) -> tuple[PyTree, PyTree]:
  """`fn` of all steps, on a CPU of as many at a time as stay in its cache.

  What `fn` forms on its way from memory and back is then never as long as the
  sequence. On accelerators `fn` is called once.

  Args:
    fn: (slices, counts) -> (sums, rows), where `slices` are K steps of the
      sequences, `sums` adds up over steps, and `rows` has leaves [K, ...].
      `counts` is None, or bool [K], False at steps that another segment sums:
      they must add nothing to `sums`.
    sequences: leaves [T, B, ...]; None among them stays None.
    steps: [], if given, the steps that are needed; `sums` must get nothing
      from those beyond, and `rows` are zero or anything there.

  Returns:
    (sums, rows), rows with leaves [T, ...].
  """
  leaves = jax.tree.leaves(sequences)
  length, batch = leaves[0].shape[:2]
  widest = max(math.prod(x.shape[1:]) for x in leaves)
  most = max(NUMBERS // max(1, widest), ROWS // max(1, batch), 1)
  if jax.default_backend() != "cpu" or length <= most:
    return fn(sequences, None)
  num_segments = -(-length // most)
  size = -(-length // num_segments)
  overlaps = num_segments * size != length

  def segment(i):
    # The last one ends with the sequence, and so may overlap with the one
    # before.
    start = jnp.minimum(i * size, length - size)
    slices = jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), sequences
    )
    counts = start + jnp.arange(size) >= i * size if overlaps else None
    return start, fn(slices, counts)

  def body(i, carry):
    total, rows = carry
    start, (sums, new) = segment(i)
    put = jax.lax.dynamic_update_slice_in_dim
    rows = jax.tree.map(lambda ys, y: put(ys, y, start, 0), rows, new)
    return jax.tree.map(jnp.add, total, sums), rows

  sums, rows = jax.eval_shape(segment, 0)[1]

  def zeros(s, *leading):
    shape = leading + s.shape[len(leading) :]
    return varying.alike(jnp.zeros(shape, s.dtype), s)

  rows = jax.tree.map(lambda s: zeros(s, length), rows)
  start = jax.tree.map(zeros, sums), rows
  if steps is not None:
    num_segments = -(-steps // size)
  return jax.lax.fori_loop(0, num_segments, body, start)
