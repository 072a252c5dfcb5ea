"""Cells one above the other."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from steadygrad import _validate, trees
from steadygrad.trajectories import pull_inputs
from steadygrad.types import Backward, Cell, Fused, PyTree, Trajectory


def stack(cells: Sequence[Cell]) -> Cell:
  """One cell of several layers: each reads what the one below it shows.

    x_t[0] = step_0(x_{t-1}[0], u_t)
    x_t[l] = step_l(x_{t-1}[l], output_{l-1}(x_t[l-1]))

  Parameters and states are tuples with one entry a layer, so that the paths of
  the first layer's parameters begin with ("cell", "0").

  Error signals are those of the whole state: what x_t of a layer does at a
  later step and, of the last layer, what the loss says of it. What x_t of a
  lower layer sends to those above in the same step is inside the step, and so
  in none of them. `add_omega_gradient(stack(cells))` is Ω of that joint state,
  with the joint norm over the layers.

  Ω of one layer sees it as a network of its own, whose loss is all that lies
  above it. `cell.parts(trajectory)` gives one trajectory a layer, with error
  signals of that kind, and `at` names the layer's parameters:

    tx = optax.chain(
      add_omega_gradient(cells[0], at=("cell", "0")), optax.adam(1e-3)
    )
    loss, grads, trajectory = adjoints(model, loss_fn)(params, batch)
    lowest = stacked.parts(trajectory)[0]
    updates, opt_state = tx.update(grads, opt_state, params, trajectory=lowest)

  Optax hands one trajectory to all links of a chain. For Ω of a second layer
  call the `update` of its link by itself, before the chain's.

  Args:
    cells: from the lowest to the last, whose outputs the readout sees. The
      inputs of each are as many as the outputs of the one below.

  Returns:
    A `Cell`. Where all of the cells have a fused pair it has one too, which is
    theirs one after the other; else it is generic, by `step`. There is no
    closed form of Ω of the joint state: `merged=True` is refused for it.

  Raises:
    ValueError: if there is no cell, or what stands there is none. Sizes that do
      not fit are found at the first step.

  >>> import jax
  >>> from steadygrad.cells import elman, stack
  >>> cell = stack([elman(2, 8), elman(8, 4)])
  >>> params = cell.init(jax.random.key(0))
  >>> [p["w_rec"].shape for p in params]
  [(8, 8), (4, 4)]
  >>> x_0 = cell.initial_state(params, 3)
  >>> cell.output(cell.step(params, x_0, jax.numpy.ones((3, 2)))).shape
  (3, 4)
  """
  cells = tuple(cells) if isinstance(cells, Sequence) else (cells,)
  if not cells or not all(isinstance(cell, Cell) for cell in cells):
    raise ValueError(
      f"cells must be at least one steadygrad Cell, got {_validate.told(cells)}"
    )

  def init(key):
    keys = jax.random.split(key, len(cells))
    return tuple(c.init(k) for c, k in zip(cells, keys, strict=True))

  def initial_state(params, batch_size):
    pairs = zip(cells, params, strict=True)
    return tuple(c.initial_state(p, batch_size) for c, p in pairs)

  def step(params, x_tm1, u_t):
    x_t = []
    for cell, theta, x in zip(cells, params, x_tm1, strict=True):
      x_t.append(cell.step(theta, x, u_t))
      u_t = cell.output(x_t[-1])
    return tuple(x_t)

  def output(x_t):
    return cells[-1].output(x_t[-1])

  fused = _fused(cells) if all(cell.fused for cell in cells) else None
  parts, feeds = _parts(cells), None
  if any(cell.feeds_back is not None for cell in cells):
    feeds = tuple(
      True if cell.feeds_back is None else cell.feeds_back for cell in cells
    )
  reads = cells[0].reads_symbols
  return Cell(init, initial_state, step, output, fused, parts, feeds, reads)


def _parts(cells):
  """Joint trajectory -> one of each layer, as a network of its own."""

  def parts(trajectory: Trajectory) -> tuple[Trajectory, ...]:
    found, from_above = [], None
    for i in reversed(range(len(cells))):
      x_0, xs = trajectory.x_0[i], trajectory.xs[i]
      deltas = trajectory.deltas[i]
      if from_above is not None:
        dxs = trees.vjp(cells[i].output, xs)[1](from_above)[0]
        deltas = jax.tree.map(jnp.add, deltas, dxs)
      us = cells[i - 1].output(trajectory.xs[i - 1]) if i else trajectory.us
      layer = Trajectory(
        trajectory.params[i],
        x_0,
        xs,
        us,
        deltas,
        trajectory.products[i],
        trajectory.mask,
        cells[i].output(xs) if i + 1 < len(cells) else trajectory.ys,
        None if trajectory.grads is None else trajectory.grads[i],
      )
      if i:
        from_above = pull_inputs(cells[i], layer)
      found.append(layer)
    return tuple(reversed(found))

  return parts


def _fused(cells) -> Fused:
  """The layers' pairs, one after the other."""

  def forward(params, us, x_0, lengths):
    xs, ys = [], us
    for cell, theta, x in zip(cells, params, x_0, strict=True):
      states, ys = cell.fused.forward(theta, ys, x, lengths)
      xs.append(states)
    return tuple(xs), ys

  def backward(params, x_0, xs, ys, dys, lengths):
    backs, last = [], len(cells) - 1
    for i in reversed(range(len(cells))):
      cell = cells[i]
      ys = ys if i == last else cell.output(xs[i])
      back = cell.fused.backward(params[i], x_0[i], xs[i], ys, dys, lengths)
      backs.append(back if i == last else back._replace(deltas=_later(back)))
      if i:
        us = cells[i - 1].output(xs[i - 1])
        layer = Trajectory(
          params[i], x_0[i], xs[i], us, back.deltas, back.products
        )
        dys = pull_inputs(cell, layer)
    deltas, products, dx_0 = zip(*reversed(backs), strict=True)
    return Backward(deltas, products, dx_0)

  def gradient(trajectory, slope=None):
    del slope  # It comes with `factors` alone.
    layers = _parts(cells)(trajectory)
    return tuple(
      cell.fused.gradient(layer)
      for cell, layer in zip(cells, layers, strict=True)
    )

  return Fused(forward, backward, None, gradient)


def _later(back: Backward) -> PyTree:
  """Error signals of a lower layer in the joint state: products of step t+1."""
  return jax.tree.map(
    lambda p: jnp.concatenate([p[1:], jnp.zeros_like(p[:1])]), back.products
  )
