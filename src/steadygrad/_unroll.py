"""Running a cell over a sequence."""

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import _validate, varying
from steadygrad.numerics import promoted
from steadygrad.symbols import Symbols, dense
from steadygrad.types import Array, Cell, Inputs, PyTree


def batch_size(us: Inputs) -> int:
  """B of inputs [T, B, M]; ValueError if they are not such an array."""
  if not hasattr(us, "shape") or not hasattr(us, "dtype"):
    raise ValueError(f"us must be [T, B, M], an array, got {type(us)}")
  if len(us.shape) != 3:
    raise ValueError(f"us must be [T, B, M], got shape {us.shape}")
  return us.shape[1]


def as_read(cell: Cell, us: Inputs) -> Inputs:
  """Inputs as the cell reads them."""
  return us if cell.reads_symbols else dense(us)


def check_lengths(lengths, num_steps: int, batch: int) -> Array | None:
  """Lengths as int32 [] or [B]; None of None. A list serves as an array does.

  Raises:
    ValueError: unless they are integers of shape [] or [B], in 0..T where
      they are concrete.
  """
  if lengths is None:
    return None
  concrete = _validate.is_concrete(lengths)
  try:  # By NumPy: under jit even constants are staged.
    values = np.asarray(lengths) if concrete else jnp.asarray(lengths)
  except (TypeError, ValueError) as error:
    raise ValueError(f"lengths must be integers, got {lengths!r}") from error
  if not jnp.issubdtype(values.dtype, jnp.integer):
    raise ValueError(f"lengths must be integers, got dtype {values.dtype}")
  if values.shape not in ((), (batch,)):
    raise ValueError(
      f"lengths must be of shape () or ({batch},), got {values.shape}"
    )
  outside = concrete and values.size
  if outside and (values.min() < 0 or values.max() > num_steps):
    raise ValueError(f"lengths must lie in 0..{num_steps}, got {lengths}")
  return jnp.asarray(lengths, jnp.int32)


def check_run(
  cell: Cell, params: PyTree, us: Inputs, x_0: PyTree | None, lengths
) -> Array | None:
  """`check_lengths`, and whether the cell takes these inputs and states.

  Nothing is computed: the cell is asked for shapes alone.
  """
  if not isinstance(cell, Cell):
    raise ValueError(f"cell must be a steadygrad Cell, got {type(cell)}")
  batch = batch_size(us)
  us = as_read(cell, us)
  lengths = check_lengths(lengths, len(us), batch)
  own = jax.eval_shape(lambda p: cell.initial_state(p, batch), params)
  if x_0 is not None:
    _check_state(x_0, own)
  check_step(cell, params, own if x_0 is None else x_0, us)
  return lengths


def _shapes(state: PyTree) -> PyTree:
  return jax.tree.map(lambda x: tuple(np.shape(x)), state)


def _kind(x) -> str:
  """What kind of numbers a leaf holds."""
  dtype = jnp.result_type(x)
  kinds = ("floating", "complexfloating", "integer", "bool_")
  fitting = [k for k in kinds if jnp.issubdtype(dtype, getattr(jnp, k))]
  return fitting[0] if fitting else str(dtype)


def _check_state(x_0: PyTree, own: PyTree) -> None:
  """ValueError unless x_0 is a tree of arrays as the cell's initial state.

  A state of another kind of numbers would be cast, and its own be lost.
  """
  wanted, given = _shapes(own), _shapes(x_0)
  if wanted != given:
    raise ValueError(
      f"x_0 must be shaped as the cell's initial state, {wanted}, got {given}"
    )
  wanted, given = (jax.tree.map(_kind, x) for x in (own, x_0))
  if wanted != given:
    raise ValueError(
      f"x_0 must hold numbers as the cell's initial state, {wanted}, got"
      f" {given}"
    )


def check_step(cell: Cell, params: PyTree, x_0: PyTree, us: Inputs) -> None:
  """ValueError unless the step takes inputs [B, M] and keeps its state.

  How many inputs a cell has is known to its step alone.
  """
  u_t = jax.tree.map(lambda u: jax.ShapeDtypeStruct(u.shape[1:], u.dtype), us)
  told = f"got us of shape {us.shape} and {us.dtype}, x_0 of {_shapes(x_0)}"
  try:
    x_1 = jax.eval_shape(cell.step, params, x_0, u_t)
  except Exception as error:
    raise ValueError(
      f"us must be [T, B, M] with the cell's M, {told}, which its step does not"
      f" take: {error}"
    ) from error
  if _shapes(x_1) != _shapes(x_0):
    raise ValueError(
      f"us must be [T, B, M] with the cell's M, {told}, of which its step makes"
      f" a state of {_shapes(x_1)}"
    )


def step_mask(lengths: Array | None, num_steps: int, batch: int):
  """bool [T, B], which steps count; None where all do."""
  if lengths is None:
    return None
  lengths = jnp.atleast_1d(jnp.asarray(lengths))
  steps, ends = promoted(jnp.arange(num_steps)[:, None], lengths[None])
  return jnp.broadcast_to(steps < ends, (num_steps, batch))


def finite_beyond(us: Inputs, mask: Array | None) -> Inputs:
  """`us`, with zeros for what is not finite beyond the lengths.

  States hold there whatever comes, but a gradient of zero times inf is NaN.
  """
  if mask is None or isinstance(us, Symbols):
    return us
  if not jnp.issubdtype(us.dtype, jnp.inexact):
    return us
  return jnp.where(mask[..., None] | jnp.isfinite(us), us, 0)


def select(mask: Array | None, tree: PyTree, otherwise: PyTree) -> PyTree:
  """`tree` where `mask`, else `otherwise`; leaves [*mask.shape, ...]."""
  if mask is None:
    return tree

  def pick(x, y):
    wide = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.where(wide, x, y)

  return jax.tree.map(pick, tree, otherwise)


def take_step(cell: Cell, params: PyTree, x_tm1: PyTree, u_t: Array) -> PyTree:
  """x_t, which varies between devices as x_{t-1} does, constants in it too."""
  return varying.alike(cell.step(params, x_tm1, u_t), x_tm1)


def previous_states(x_0: PyTree, xs: PyTree) -> PyTree:
  """x_{t-1} for every step: [x_0, xs[0], ..., xs[T-2]], leaves [T, B, ...]."""

  def shift(x, s):
    return jnp.concatenate([x[None].astype(s.dtype), s[:-1]])[: len(s)]

  return jax.tree.map(shift, x_0, xs)


def unroll(
  cell: Cell,
  params: PyTree,
  us: Inputs,
  *,
  x_0: PyTree | None = None,
  lengths: Array | None = None,
) -> PyTree:
  """x_t = step(params, x_{t-1}, u_t) for every t: a plain `lax.scan`.

  Differentiable in every mode and order; `Cell.fused` is not looked at.

  Args:
    cell: the cell.
    params: its parameters.
    us: inputs [T, B, M], or `Symbols` of that shape.
    x_0: state before the first input; `cell.initial_state` if None.
    lengths: None, [] or [B] integers in 0..T. A state stays as it was beyond
      its length, so that `xs[-1]` is each sequence's last state.

  Returns:
    xs, leaves [T, B, ...], without x_0.

  Raises:
    ValueError: if `us`, `lengths` or `x_0` has another shape or holds numbers
      of another kind, or lengths are concrete and outside 0..T.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from steadygrad import cells, unroll
    >>> cell = cells.elman(input_size=2, hidden_size=4)
    >>> params = cell.init(jax.random.key(0))
    >>> unroll(cell, params, jnp.ones((5, 3, 2))).shape  # [T, B, N].
    (5, 3, 4)
  """
  lengths = check_run(cell, params, us, x_0, lengths)
  us = as_read(cell, us)
  mask = step_mask(lengths, *us.shape[:2])
  us = finite_beyond(us, mask)
  if x_0 is None:
    x_0 = cell.initial_state(params, us.shape[1])
  params, x_0 = varying.alike((params, x_0), us, mask)

  def step(x_tm1, inputs):
    u_t, mask_t = inputs
    x_t = select(mask_t, take_step(cell, params, x_tm1, u_t), x_tm1)
    return x_t, x_t

  return jax.lax.scan(step, x_0, (us, mask))[1]
