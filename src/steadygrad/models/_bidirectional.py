"""A model that reads its sequences from both ends."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from steadygrad._unroll import check_lengths
from steadygrad.models._recurrent import unrolled
from steadygrad.types import (
  Array,
  Backward,
  Cell,
  Fused,
  Model,
  PyTree,
  Readout,
  Trajectory,
)

NAMES: tuple[str, ...] = ("forward", "backward")


def reverse(sequence: Array, lengths: Array | None = None) -> Array:
  """Each sequence from its own last step to its first; padding stays.

  Args:
    sequence: [T, B, ...].
    lengths: None, [] or [B] integers in 0..T.

  >>> import jax.numpy as jnp
  >>> from steadygrad.models import reverse
  >>> reverse(jnp.array([[1, 5], [2, 6], [3, 0]]), jnp.array([3, 2])).tolist()
  [[3, 6], [2, 5], [1, 0]]
  """
  num_steps, batch_size = sequence.shape[:2]
  lengths = check_lengths(lengths, num_steps, batch_size)
  if lengths is None:
    return sequence[::-1]
  steps = jnp.arange(num_steps, dtype=lengths.dtype)[:, None]
  ends = jnp.broadcast_to(lengths, batch_size)[None]
  places = jnp.where(steps < ends, ends - 1 - steps, steps)
  places = places.reshape(*places.shape, *(1,) * (sequence.ndim - 2))
  return jnp.take_along_axis(sequence, places, 0)


def bidirectional(forward: Cell, backward: Cell, readout: Readout) -> Model:
  """Two cells, of which one reads each sequence from its end.

  The model's cell runs both side by side, on the inputs [u_t, u_{n-1-t}] of a
  sequence of length n, so that it is a causal `Cell` like any other: with its
  own states, trajectory and Ω, but of inputs twice as wide. Parameters are
  `{"cell": {"forward": ..., "backward": ...}, "readout": ...}`.

  A readout of every step sees [T, B, 2N]: at t what the forward cell shows
  after the steps up to t, and the backward cell after those from t on. One of
  the last step sees what each shows when it has read the whole sequence. Steps
  beyond a length stay where they are and count for nothing.

  `add_omega_gradient(model.cell)` takes the joint norm over both directions.
  For Ω of one of them give the link its part of the trajectory:

    tx = optax.chain(
      add_omega_gradient(forward, at=("cell", "forward")), optax.adam(1e-3)
    )
    loss, grads, trajectory = adjoints(model, loss_fn)(params, batch)
    one, other = model.cell.parts(trajectory)
    updates, opt_state = tx.update(grads, opt_state, params, trajectory=one)

  Args:
    forward: the cell that reads from the first step on.
    backward: the cell that reads from the last.
    readout: of as many inputs as both show together.

  Returns:
    A `Model`. Its cell has a fused pair where both have one.

  Raises:
    ValueError: if they are no `Cell`s and no `Readout`.

  >>> import jax, jax.numpy as jnp
  >>> from steadygrad.cells import elman
  >>> from steadygrad.models import bidirectional, linear_readout
  >>> readout = linear_readout(2 * 4, 3, reads="every")
  >>> model = bidirectional(elman(2, 4), elman(2, 4), readout)
  >>> params = model.init(jax.random.key(0))
  >>> model.apply(params, jnp.ones((5, 2, 2)), jnp.array([5, 3])).shape
  (5, 2, 3)
  """
  cells = dict(zip(NAMES, (forward, backward), strict=True))
  for name, cell in cells.items():
    if not isinstance(cell, Cell):
      raise ValueError(f"{name} must be a steadygrad Cell, got {type(cell)}")

  width = _width(forward)

  def before(us, lengths):
    return jnp.concatenate([us, reverse(us, lengths)], -1)

  def read(params, ys, mask):
    lengths = None if mask is None else jnp.sum(mask, 0, dtype=jnp.int32)
    back = reverse(ys[..., width:], lengths)
    ys = jnp.concatenate([ys[..., :width], back], -1)
    return readout.read(params, ys, mask)

  seen = readout
  if isinstance(readout, Readout) and readout.reads == "every":
    seen = readout._replace(apply=read, masked=True)
  # The last row is what both cells end with.
  cell = _side_by_side(cells, width)
  return unrolled(cell, seen, before)


def _each(cells: dict[str, Cell], fn: Callable, *trees: PyTree) -> dict:
  """{name: fn(cell, what the trees have of that name)}."""
  return {name: fn(cells[name], *(t[name] for t in trees)) for name in cells}


def _halves(sequence: Array, size: int) -> dict[str, Array]:
  return dict(
    zip(NAMES, (sequence[..., :size], sequence[..., size:]), strict=True)
  )


def _inputs(us: Array) -> dict[str, Array]:
  return _halves(us, us.shape[-1] // 2)


def _joined(parts: dict[str, Array]) -> Array:
  return jnp.concatenate([parts[name] for name in NAMES], -1)


def _side_by_side(cells: dict[str, Cell], width: int) -> Cell:
  """Both cells on their halves of the inputs; the first shows `width` numbers.

  Nothing goes from one to the other: what is known of each is known of both.
  """
  each = functools.partial(_each, cells)

  def init(key):
    keys = dict(zip(cells, jax.random.split(key), strict=True))
    return each(lambda cell, k: cell.init(k), keys)

  def initial_state(params, batch_size):
    return each(lambda cell, p: cell.initial_state(p, batch_size), params)

  def step(params, x_tm1, u_t):
    return each(
      lambda cell, *args: cell.step(*args), params, x_tm1, _inputs(u_t)
    )

  def output(x_t):
    return _joined(each(lambda cell, x: cell.output(x), x_t))

  def parts(trajectory):
    return tuple(_split(trajectory, width).values())

  fused = None
  if all(cell.fused for cell in cells.values()):
    fused = _fused(cells, width)
  feeds = None
  if any(cell.feeds_back is not None for cell in cells.values()):
    feeds = each(lambda c: True if c.feeds_back is None else c.feeds_back)
  return Cell(init, initial_state, step, output, fused, parts, feeds)


def _split(trajectory: Trajectory, width: int) -> dict[str, Trajectory]:
  """{name: its own Trajectory}."""
  us, ys, grads = _inputs(trajectory.us), trajectory.ys, trajectory.grads
  shown = None if ys is None else _halves(ys, width)
  return {
    name: Trajectory(
      params=trajectory.params[name],
      x_0=trajectory.x_0[name],
      xs=trajectory.xs[name],
      us=us[name],
      deltas=trajectory.deltas[name],
      products=trajectory.products[name],
      mask=trajectory.mask,
      ys=None if shown is None else shown[name],
      grads=None if grads is None else grads[name],
    )
    for name in NAMES
  }


def _fused(cells: dict[str, Cell], width: int) -> Fused:
  """The pairs of both cells."""
  each = functools.partial(_each, cells)

  def forward(params, us, x_0, lengths):
    def run(cell, theta, us, x):
      return cell.fused.forward(theta, us, x, lengths)

    pairs = each(run, params, _inputs(us), x_0)
    xs, ys = ({n: pair[i] for n, pair in pairs.items()} for i in range(2))
    return xs, _joined(ys)

  def backward(params, x_0, xs, ys, dys, lengths):
    def run(cell, *sequences):
      return cell.fused.backward(*sequences, lengths)

    shown = _halves(ys, width), _halves(dys, width)
    backs = each(run, params, x_0, xs, *shown)
    fields = zip(*backs.values(), strict=True)
    return Backward(*(dict(zip(backs, x, strict=True)) for x in fields))

  def gradient(trajectory, slope=None):
    del slope  # It comes with `factors` alone.
    split = _split(trajectory, width)
    return each(lambda cell, part: cell.fused.gradient(part), split)

  return Fused(forward, backward, None, gradient)


def _width(cell: Cell) -> int:
  """N of what a cell shows; nothing is computed."""

  def shown(key):
    return cell.output(cell.initial_state(cell.init(key), 1))

  return jax.eval_shape(shown, jax.random.key(0)).shape[-1]
