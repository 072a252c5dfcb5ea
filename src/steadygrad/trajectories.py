"""What Ω reads, for a training loop that has its own forward and backward pass.

`adjoints` needs the model, its parameters and its loss. `trajectory` needs the
cell alone, and one of two things that a loop can have by plain `jax.grad`:

  deltas  dE/dx_t, the gradient in zeros that are added to each state
  dys     ∂⁺E/∂y_t, the gradient in zeros that are added to what the layer
          returns, as by Flax's `perturb` on the output of an `nn.RNN`, without
          what a state does to later ones
"""

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import _passes, trees, varying
from steadygrad import _unroll as unrolling
from steadygrad.types import (
  Array,
  Backward,
  Cell,
  Inputs,
  PyTree,
  Trajectory,
)


def trajectory(
  cell: Cell,
  params: PyTree,
  us: Inputs,
  *,
  x_0: PyTree | None = None,
  xs: PyTree | None = None,
  deltas: PyTree | None = None,
  dys: Array | None = None,
  lengths: Array | None = None,
) -> Trajectory:
  """The trajectory of `adjoints`, from error signals that a loop has by itself.

  With `deltas` there is no recursion: products of all steps are formed at once.
  With `dys` the backward pass of the cell alone is made again, by its fused
  pair if it has one.

  Args:
    cell: the `Cell` that the loop's network has.
    params: the cell's parameters, at which the loop's gradients were taken.
    us: inputs of the cell [T, B, M], or `Symbols`: time comes first.
    x_0: state before the first input; `cell.initial_state` if None.
    xs: states, leaves [T, B, ...]; run again from `us` if None. Beyond a length
      they may be anything.
    deltas: dE/dx_t, total derivatives, as `xs`. Beyond a length they do not
      count. Leaves without a derivative may be anything of their shape.
    dys: gradient of the loss in the cell's outputs, [T, B, N]: of the network
      above the layer, not through its later steps. A loss that masks the steps
      beyond a length has zeros there; anything else falls on the state that is
      held there, the last.
    lengths: None, [] or [B] integers in 0..T.

  Returns:
    A `Trajectory` as `adjoints` gives it. Its `grads` are the gradients of the
    cell with `dys`, and None with `deltas`, where nobody formed them; put the
    loop's own there, `trajectory._replace(grads=grads["rnn"])`, and
    `add_omega_gradient` sees whether it stands behind an optimiser. The
    function is pure: jit and vmap it. No gradient flows through it that means
    anything.

  Raises:
    ValueError: unless exactly one of deltas and dys is given; if a sequence has
      another shape than the cell's own, or `us`, `lengths` or `x_0` are what
      `unroll` refuses. Arrays [B, T, ...] pass unseen where all of them are.

  A loop with gradients of its own, plain `jax.grad` in zeros added to each
  state:

  >>> import jax, jax.numpy as jnp
  >>> from steadygrad.cells import elman
  >>> from steadygrad.trajectories import trajectory
  >>> from steadygrad.transforms import omega_terms
  >>> cell = elman(2, 4)
  >>> params = cell.init(jax.random.key(0))
  >>> us = jnp.ones((5, 3, 2))  # T = 5 steps of B = 3 sequences
  >>> def loss_fn(zeros):
  ...   def step(x, inputs):
  ...     u_t, zero_t = inputs
  ...     return cell.step(params, x, u_t) + zero_t, None
  ...   x_T, _ = jax.lax.scan(step, jnp.zeros((3, 4)), (us, zeros))
  ...   return jnp.sum(cell.output(x_T) ** 2)
  >>> deltas = jax.grad(loss_fn)(jnp.zeros((5, 3, 4)))
  >>> seen = trajectory(cell, params, us, deltas=deltas)
  >>> seen.products.shape
  (5, 3, 4)
  >>> bool(omega_terms(seen).omega > 0)
  True
  """
  if (deltas is None) == (dys is None):
    given = "neither" if dys is None else "both"
    raise ValueError(
      f"exactly one of deltas and dys must be given, got {given}"
    )
  lengths = unrolling.check_run(cell, params, us, x_0, lengths)
  us = unrolling.as_read(cell, us)
  num_steps, batch_size = us.shape[:2]
  mask = unrolling.step_mask(lengths, num_steps, batch_size)
  us = unrolling.finite_beyond(us, mask)
  carried = x_0 is not None
  if not carried:
    x_0 = cell.initial_state(params, batch_size)
  for name, tree in (("params", params), ("x_0", x_0)):
    trees.check_no_keys(name, tree)
  xs, ys = _states(cell, params, us, x_0, xs, lengths, mask)
  seen = Trajectory(params, x_0, xs, us, xs, xs, mask, ys)
  if deltas is not None:
    _check_sequence("deltas", deltas, xs)
    return _from_deltas(cell, seen, deltas)
  _check_sequence("dys", dys, ys)
  theta, start = varying.alike((params, x_0), us, dys, mask)
  d_cell, back = _backward(cell, theta, start, seen, dys, lengths)
  return with_gradients(cell, seen, d_cell, back, carried=carried)


def with_gradients(
  cell: Cell,
  seen: Trajectory,
  d_cell: PyTree | None,
  back: Backward,
  *,
  carried: bool,
) -> Trajectory:
  """A trajectory with the yield of the backward pass, and `grads` of it.

  Args:
    cell: the cell.
    seen: the forward pass.
    d_cell: gradient in its parameters; None where a fused pair shall form it.
    back: the backward pass.
    carried: whether `x_0` was given, and so is no function of the parameters.
  """
  params, x_0 = seen.params, seen.x_0
  seen = seen._replace(deltas=back.deltas, products=back.products)
  if d_cell is None and cell.fused:
    d_cell = cell.fused.gradient(seen)
  d_cell, dx_0 = varying.summed_like((d_cell, back.dx_0), (params, x_0))
  if not carried:
    # A learned initial state is a function of the parameters.
    batch_size = seen.us.shape[1]
    _, vjp = trees.vjp(lambda p: cell.initial_state(p, batch_size), params)
    dx_0 = jax.tree.map(lambda g, x: g.astype(x.dtype), dx_0, x_0)
    d_cell = jax.tree.map(jnp.add, d_cell, vjp(dx_0)[0])
  return seen._replace(grads=d_cell)


def pull_inputs(cell: Cell, seen: Trajectory) -> Array:
  """dE/dus [T, B, M] of a cell's trajectory, all steps at once."""
  x_tm1s = unrolling.previous_states(seen.x_0, seen.xs)

  def pull(x_tm1, u_t, delta_t):
    _, vjp = trees.vjp(lambda u: cell.step(seen.params, x_tm1, u), u_t)
    return vjp(delta_t)[0]

  return jax.vmap(pull)(x_tm1s, seen.us, seen.deltas)


def _states(cell, params, us, x_0, xs, lengths, mask):
  """(xs, ys): the cell's own, or those given, held beyond the lengths."""
  if xs is None and cell.fused:
    own = varying.alike((params, x_0), us, mask)
    return cell.fused.forward(own[0], us, own[1], lengths)
  if xs is None:
    xs = unrolling.unroll(cell, params, us, x_0=x_0, lengths=lengths)
  else:
    like = jax.tree.map(lambda x: np.empty((len(us), *x.shape), bool), x_0)
    _check_sequence("xs", xs, like)
    xs = jax.tree.map(lambda x, s: jnp.asarray(s, x.dtype), x_0, xs)
    xs = _held(x_0, xs, lengths)
  return xs, cell.output(xs)


def _held(x_0: PyTree, xs: PyTree, lengths: Array | None) -> PyTree:
  """States with the last of each sequence in place of those beyond it."""
  if lengths is None:
    return xs

  def hold(x, s):
    steps = jnp.arange(1, len(s) + 1, dtype=lengths.dtype)[:, None]
    last = jnp.minimum(steps, jnp.broadcast_to(lengths, s.shape[1])[None])
    last = last.reshape(*last.shape, *(1,) * (s.ndim - 2))
    return jnp.take_along_axis(jnp.concatenate([x[None], s]), last, 0)

  return jax.tree.map(hold, x_0, xs)


def _check_sequence(name: str, tree: PyTree, like: PyTree) -> None:
  """ValueError unless leaves are [T, B, ...] as those of the cell."""
  given, wanted = (jax.tree.map(np.shape, t) for t in (tree, like))
  if given == wanted:
    return
  turned = jax.tree.map(lambda x: (*np.shape(x)[1::-1], *np.shape(x)[2:]), tree)
  hint = ": batch-major? time comes first here" if turned == wanted else ""
  raise ValueError(f"{name} must be shaped {wanted}, got {given}{hint}")


def _from_deltas(cell: Cell, seen: Trajectory, deltas: PyTree) -> Trajectory:
  """δ_t and p_t = δ_t ∂x_t/∂x_{t-1}, of all steps at once."""
  deltas = jax.tree.map(
    lambda d, x: (
      d.astype(x.dtype) if trees.is_inexact(x) else jnp.zeros_like(x)
    ),
    deltas,
    seen.xs,
  )
  zeros = jax.tree.map(jnp.zeros_like, deltas)
  deltas = unrolling.select(seen.mask, deltas, zeros)
  params = varying.alike(seen.params, deltas)

  def send(x_tm1, u_t, delta_t):
    _, vjp = trees.vjp(
      lambda x: unrolling.take_step(cell, params, x, u_t), x_tm1
    )
    return vjp(delta_t)[0]

  x_tm1s = unrolling.previous_states(seen.x_0, seen.xs)
  products = jax.vmap(send)(x_tm1s, seen.us, deltas)
  products = unrolling.select(seen.mask, products, zeros)
  return seen._replace(deltas=deltas, products=products)


def _backward(cell, params, x_0, seen, dys, lengths):
  """(gradient in the parameters or None, Backward) from dys [T, B, N]."""
  dys = jnp.asarray(dys, seen.ys.dtype)
  if cell.fused:
    back = cell.fused.backward(params, x_0, seen.xs, seen.ys, dys, lengths)
    return None, back
  (dxs,) = trees.vjp(cell.output, seen.xs)[1](dys)
  return _passes.generic_backward(
    cell, params, seen.us, x_0, seen.xs, dxs, lengths
  )
