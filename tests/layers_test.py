"""Networks of several cells: stacked, and side by side in both directions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from steadygrad import adjoints, unroll
from steadygrad.cells import elman, linen, stack
from steadygrad.models import (
  bidirectional,
  linear_readout,
  recurrent,
  reverse,
)
from steadygrad.trajectories import trajectory
from steadygrad.transforms import (
  add_omega_gradient,
  omega_gradient,
  omega_terms,
)
from steadygrad.types import Batch
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# float64: rounding over 6 steps of a few units, numbers of order 1.
ROUNDING = 1e-12
INPUTS, STEPS, BATCH, OUTPUTS = 3, 6, 3, 2
LENGTHS = {"none": None, "scalar": 4, "ragged": (6, 0, 3)}


def layers_of(kind):
  def own(inputs, units, form="x"):
    return elman(inputs, units, form=form, dtype=jnp.float64)

  if kind == "elman":
    return (own(INPUTS, 4), own(4, 5, "h"), own(5, 4))
  lstm = nn.LSTMCell(4, param_dtype=jnp.float64)
  return (linen(lstm, INPUTS), own(4, 4))


def both_of(kind):
  if kind == "elman":
    forward, backward = (elman(INPUTS, n, dtype=jnp.float64) for n in (4, 5))
    return forward, backward
  gru = nn.GRUCell(5, param_dtype=jnp.float64)
  return elman(INPUTS, 4, dtype=jnp.float64), linen(gru, INPUTS)


def make(build, kind, reads):
  """(cells, model) of float64."""
  if build == "stack":
    cells = layers_of(kind)
    readout = linear_readout(4, OUTPUTS, reads=reads, dtype=jnp.float64)
    return cells, recurrent(stack(cells), readout)
  cells = both_of(kind)
  readout = linear_readout(9, OUTPUTS, reads=reads, dtype=jnp.float64)
  return cells, bidirectional(*cells, readout)


def generic(model):
  return model._replace(cell=model.cell._replace(fused=None))


def draw(model, lengths, seed=0):
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  params = jax.tree.map(
    lambda p: jnp.asarray(0.6 * rng.normal(size=p.shape)), shapes
  )
  us = jnp.asarray(rng.normal(size=(STEPS, BATCH, INPUTS)))
  lengths = LENGTHS[lengths]
  lengths = None if lengths is None else jnp.asarray(lengths)
  return params, Batch(us, jnp.asarray(rng.normal(size=OUTPUTS)), lengths)


def loss_fn(outputs, batch):
  wanted = batch.targets.reshape((1,) * (outputs.ndim - 1) + (-1,))
  return jnp.mean(jnp.square(outputs - wanted))


def close(got, wanted):
  chex.assert_trees_all_close(got, wanted, rtol=ROUNDING, atol=ROUNDING)


BUILT = [(b, k) for b in ("stack", "both") for k in ("elman", "mixed")]


# Each network at one length, each length with a network; the others nightly.
GRADIENTS = {
  (*built, *run)
  for i, built in enumerate(BUILT)
  for run in [("last", "ragged"), ("every", list(LENGTHS)[i % 3])]
}
ALL_GRADIENTS = [
  (*built, *run)
  for built in BUILT
  for run in [("last", "ragged"), *(("every", n) for n in LENGTHS)]
]


@pytest.mark.parametrize(
  "build, kind, reads, lengths",
  [case if case in GRADIENTS else nightly(case)[0] for case in ALL_GRADIENTS],
)
def test_gradients_and_trajectory(x64, build, kind, lengths, reads):
  """Those of `jax.grad`; the fused pair gives what `step` alone gives."""
  _, model = make(build, kind, reads)
  assert (model.cell.fused is not None) == (kind == "elman")
  params, batch = draw(model, lengths)
  loss, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)

  @jax.jit
  @jax.value_and_grad
  def plain(params, batch):
    return loss_fn(model.apply(params, batch.us, batch.lengths), batch)

  close((loss, grads), plain(params, batch))
  close(seen.grads, grads["cell"])
  if kind == "elman":
    wanted = jax.jit(adjoints(generic(model), loss_fn))(params, batch)
    close((loss, grads, seen), wanted)


def taps_of(model, lengths):
  """(zeros as xs, params, batch) -> gradient at zeros added to each state."""
  cell = model.cell

  def loss_of(zeros, params, batch):
    us = model.before(batch.us, batch.lengths)

    def step(x_tm1, inputs):
      u_t, zeros_t, t = inputs
      x_t = cell.step(params["cell"], x_tm1, u_t)
      x_t = jax.tree.map(jnp.add, x_t, zeros_t)
      counts = (t < lengths)[:, None]
      x_t = jax.tree.map(lambda x, o: jnp.where(counts, x, o), x_t, x_tm1)
      return x_t, x_t

    x_0 = cell.initial_state(params["cell"], BATCH)
    _, xs = jax.lax.scan(step, x_0, (us, zeros, jnp.arange(STEPS)))
    mask = jnp.arange(STEPS)[:, None] < lengths[None]
    read = model.readout.read(params["readout"], cell.output(xs), mask)
    return loss_fn(read, batch)

  return jax.jit(jax.grad(loss_of))


@pytest.mark.parametrize("build, kind", BUILT)
def test_error_signals_are_those_of_the_joint_state(x64, build, kind):
  _, model = make(build, kind, "every")
  params, batch = draw(model, "ragged")
  _, _, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  zeros = jax.tree.map(jnp.zeros_like, seen.xs)
  close(seen.deltas, taps_of(model, batch.lengths)(zeros, params, batch))


def layer_signals(cells, params, batch, readout):
  """dE/dy of each layer's outputs, by zeros added to them: a plain network."""

  def loss_of(zeros):
    ys = batch.us
    for cell, theta, tap in zip(cells, params["cell"], zeros, strict=True):
      xs = unroll(cell, theta, ys, lengths=batch.lengths)
      ys = cell.output(xs) + tap
    return loss_fn(readout.apply(params["readout"], ys), batch)

  sizes = [
    jax.eval_shape(lambda p, c=c: c.output(c.initial_state(p, BATCH)), p)
    for c, p in zip(cells, params["cell"], strict=True)
  ]
  zeros = tuple(jnp.zeros((STEPS, *s.shape), s.dtype) for s in sizes)
  return jax.jit(jax.grad(loss_of))(zeros)


@pytest.mark.parametrize("lengths", ["none", "ragged"])
@pytest.mark.parametrize("kind", ["elman", "mixed"])
def test_parts_of_a_stack_are_trajectories_of_its_layers(x64, kind, lengths):
  """As of a network of its own, with all that lies above in its loss."""
  cells, model = make("stack", kind, "every")
  params, batch = draw(model, lengths)
  _, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  signals = layer_signals(cells, params, batch, model.readout)
  parts = jax.jit(model.cell.parts)(seen)
  assert len(parts) == len(cells)
  us = batch.us
  for i, (cell, part) in enumerate(zip(cells, parts, strict=True)):
    arguments = params["cell"][i], us
    wanted = trajectory(cell, *arguments, dys=signals[i], lengths=batch.lengths)
    wanted = wanted._replace(ys=part.ys)
    close(part, wanted)
    close(part.grads, grads["cell"][i])
    us = cell.output(part.xs)


@pytest.mark.parametrize("kind", ["elman", "mixed"])
def test_parts_of_both_directions_are_trajectories_of_their_cells(x64, kind):
  cells, model = make("both", kind, "last")
  params, batch = draw(model, "ragged")
  _, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  inputs = batch.us, reverse(batch.us, batch.lengths)
  for name, cell, us, part in zip(
    ("forward", "backward"), cells, inputs, model.cell.parts(seen), strict=True
  ):
    theta = params["cell"][name]
    wanted = trajectory(
      cell, theta, us, deltas=part.deltas, lengths=batch.lengths
    )
    close(part._replace(grads=None, ys=None), wanted._replace(ys=None))
    close(part.grads, grads["cell"][name])
    close(part.ys, cell.output(part.xs))


@pytest.mark.parametrize(
  "build, at", [("stack", ("cell", "1")), ("both", ("cell", "backward"))]
)
def test_omega_of_one_part(x64, build, at):
  """It touches that layer's w_rec alone, by weight ∂Ω/∂w_rec."""
  cells, model = make(build, "elman", "last")
  params, batch = draw(model, "ragged")
  _, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  part = model.cell.parts(seen)[1]
  tx = add_omega_gradient(cells[1], weight=2.0, at=at)
  updates, _ = tx.update(grads, tx.init(params), trajectory=part)
  added = jax.tree.map(jnp.subtract, updates, grads)
  terms = omega_terms(part)
  wanted = omega_gradient(cells[1], part, terms.cotangents)["w_rec"]
  place = 1 if build == "stack" else "backward"
  close(added["cell"][place].pop("w_rec"), 2 * wanted)
  assert float(jnp.max(jnp.abs(wanted))) > 1e-3
  others = jax.tree.map(lambda x: float(jnp.max(jnp.abs(x))), added)
  rest = [x for x in jax.tree.leaves(others)]
  assert max(rest) == 0


@pytest.mark.parametrize("build, kind", BUILT)
def test_omega_of_the_joint_state(x64, build, kind):
  """The fused cell's is that of `step` alone."""
  _, model = make(build, kind, "last")
  params, batch = draw(model, "ragged")
  _, grads, seen = jax.jit(adjoints(model, loss_fn))(params, batch)
  found = []
  for cell in (model.cell, generic(model).cell):
    tx = optax.chain(add_omega_gradient(cell), optax.sgd(0.1))
    update = jax.jit(lambda g, t, tx=tx: tx.update(
      g, tx.init(params), params, trajectory=t)[0])  # fmt: skip
    found.append(update(grads, seen))
  close(*found)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found[0]))
  with pytest.raises(ValueError, match="merged=True needs"):
    add_omega_gradient(model.cell, merged=True)


def test_outputs_of_a_stack_are_those_of_flax():
  cells = nn.GRUCell(4), nn.LSTMCell(5)
  cell = stack([linen(cells[0], INPUTS), linen(cells[1], 4)])
  params = cell.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS))
  wanted = us
  for module, theta in zip(cells, params, strict=True):
    layer = nn.RNN(module, time_major=True)
    wanted = layer.apply({"params": {"cell": theta}}, wanted)
  ys = cell.output(unroll(cell, params, us))
  np.testing.assert_allclose(ys, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_outputs_of_both_directions_are_those_of_flax(lengths):
  modules = nn.GRUCell(4), nn.GRUCell(5)
  cells = [linen(m, INPUTS) for m in modules]
  readout = linear_readout(9, OUTPUTS, reads="every")
  model = bidirectional(*cells, readout)
  params = model.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS))
  ends = LENGTHS[lengths]
  ends = None if ends is None else jnp.asarray(ends)
  layer = nn.Bidirectional(*(nn.RNN(m) for m in modules), time_major=True)
  theta = {f"{n}_rnn": {"cell": p} for n, p in params["cell"].items()}
  full = None if ends is None else jnp.broadcast_to(ends, BATCH)
  with jax.numpy_rank_promotion("allow"):
    ys = layer.apply({"params": theta}, us, seq_lengths=full)
  wanted = readout.apply(params["readout"], ys)
  got = model.apply(params, us, ends)
  counts = np.ones((STEPS, BATCH), bool)
  if full is not None:
    counts = np.arange(STEPS)[:, None] < np.asarray(full)
  np.testing.assert_allclose(got[counts], wanted[counts], rtol=1e-5, atol=1e-5)


def test_padded_equals_exact():
  """A sequence's outputs do not see how long the others are."""
  model = bidirectional(
    elman(INPUTS, 4), elman(INPUTS, 4), linear_readout(8, OUTPUTS)
  )
  params = model.init(jax.random.key(0))
  us = jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS))
  padded = model.apply(params, us, jnp.array([6, 2, 3]))
  for b, length in enumerate((6, 2, 3)):
    exact = model.apply(params, us[:length, b : b + 1])
    np.testing.assert_allclose(padded[b], exact[0], rtol=1e-6, atol=1e-6)


def test_reverse_is_its_own_inverse():
  x = jnp.arange(24.0).reshape(4, 3, 2)
  for lengths in (None, 3, 0, jnp.array([4, 0, 2])):
    np.testing.assert_array_equal(reverse(reverse(x, lengths), lengths), x)
  turned = reverse(x, jnp.array([4, 0, 2]))
  np.testing.assert_array_equal(turned[:, 0], x[::-1, 0])
  np.testing.assert_array_equal(turned[:, 1], x[:, 1])
  np.testing.assert_array_equal(turned[:2, 2], x[1::-1, 2])


@pytest.mark.parametrize(
  "make, said",
  [
    (lambda: stack([]), "cells must be at least one"),
    (lambda: stack(["elman"]), "cells must be .*'elman'"),
    (lambda: stack(3), "cells must be"),
    (
      lambda: bidirectional("a", elman(2, 3), linear_readout(6, 1)),
      "forward must be a steadygrad Cell, .*str",
    ),
    (
      lambda: bidirectional(elman(2, 3), "a", linear_readout(6, 1)),
      "backward must be a steadygrad Cell",
    ),
    (
      lambda: bidirectional(elman(2, 3), elman(2, 3), "a"),
      "readout must be a steadygrad Readout",
    ),
  ],
)
def test_mistakes_are_named(make, said):
  with pytest.raises(ValueError, match=said):
    make()


def test_sizes_that_do_not_fit():
  cell = stack([elman(2, 3), elman(4, 3)])
  with pytest.raises(ValueError, match="us must be"):
    unroll(cell, cell.init(jax.random.key(0)), jnp.ones((5, 1, 2)))
