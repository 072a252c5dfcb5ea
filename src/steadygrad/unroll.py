"""Running a cell over a sequence."""

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import Array, Cell, PyTree


def batch_size(us: Array) -> int:
  """B of inputs [T, B, M]."""
  if jnp.ndim(us) != 3:
    raise ValueError(f"us must be [T, B, M], got shape {jnp.shape(us)}")
  return us.shape[1]


def check_lengths(lengths: Array | None, num_steps: int, batch: int) -> None:
  """ValueError unless lengths is None, or integers [] or [B] in 0..T.

  Values are looked at only where they are concrete.
  """
  if lengths is None:
    return
  if not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
    raise ValueError(
      f"lengths must be integers, got dtype {jnp.result_type(lengths)}"
    )
  if jnp.shape(lengths) not in ((), (batch,)):
    raise ValueError(
      f"lengths must be of shape () or ({batch},), got {jnp.shape(lengths)}"
    )
  if isinstance(lengths, jax.core.Tracer):
    return
  values = np.asarray(lengths)  # By NumPy: under jit even constants are staged.
  if values.size and (values.min() < 0 or values.max() > num_steps):
    raise ValueError(f"lengths must lie in 0..{num_steps}, got {lengths}")


def check_state(cell: Cell, params: PyTree, x_0: PyTree, batch: int) -> None:
  """ValueError unless x_0 is a tree of arrays as the cell's initial state."""
  wanted = jax.eval_shape(lambda p: cell.initial_state(p, batch), params)
  wanted, given = (
    jax.tree.map(lambda x: tuple(jnp.shape(x)), x) for x in (wanted, x_0)
  )
  if wanted != given:
    raise ValueError(
      f"x_0 must be shaped as the cell's initial state, {wanted}, got {given}"
    )


def step_mask(lengths: Array | None, num_steps: int, batch: int):
  """bool [T, B], which steps count; None where all do."""
  if lengths is None:
    return None
  valid = jnp.arange(num_steps)[:, None] < jnp.asarray(lengths)
  return jnp.broadcast_to(valid, (num_steps, batch))


def select(mask: Array | None, tree: PyTree, otherwise: PyTree) -> PyTree:
  """`tree` where `mask`, else `otherwise`; leaves [*mask.shape, ...]."""
  if mask is None:
    return tree

  def pick(x, y):
    wide = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.where(wide, x, y)

  return jax.tree.map(pick, tree, otherwise)


def previous_states(x_0: PyTree, xs: PyTree) -> PyTree:
  """x_{t-1} for every step: [x_0, xs[0], ..., xs[T-2]], leaves [T, B, ...]."""

  def shift(x, s):
    return jnp.concatenate([x[None].astype(s.dtype), s[:-1]])[: len(s)]

  return jax.tree.map(shift, x_0, xs)


def unroll(
  cell: Cell,
  params: PyTree,
  us: Array,
  *,
  x_0: PyTree | None = None,
  lengths: Array | None = None,
) -> PyTree:
  """x_t = step(params, x_{t-1}, u_t) for every t: a plain `lax.scan`.

  Differentiable in every mode and order; `Cell.fused` is not looked at.

  Args:
    cell: the cell.
    params: its parameters.
    us: inputs [T, B, M].
    x_0: state before the first input; `cell.initial_state` if None.
    lengths: None, [] or [B] integers in 0..T. A state stays as it was beyond
      its length, so that `xs[-1]` is each sequence's last state.

  Returns:
    xs, leaves [T, B, ...], without x_0.

  Raises:
    ValueError: if `us` or `lengths` has another shape, or lengths are concrete
      and outside 0..T.
  """
  batch = batch_size(us)
  check_lengths(lengths, len(us), batch)
  mask = step_mask(lengths, len(us), batch)
  if x_0 is None:
    x_0 = cell.initial_state(params, batch)

  def step(x_tm1, inputs):
    u_t, mask_t = inputs
    x_t = select(mask_t, cell.step(params, x_tm1, u_t), x_tm1)
    return x_t, x_t

  return jax.lax.scan(step, x_0, (us, mask))[1]
