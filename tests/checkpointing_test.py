"""Recomputed states: equal gradients, and the memory that is promised."""

import cases
import chex
import jax
import jax.numpy as jnp
import pytest

from steadygrad import adjoints
from steadygrad.cells import elman, embedding
from steadygrad.losses import cross_entropy
from steadygrad.models import (
  Size,
  linear_readout,
  recurrent,
  transformer_readout,
)
from steadygrad.types import Batch

# float64 sums in another order.
ROUNDING = 1e-12


def setting(name, reads, lengths):
  cell = cases.case(name).cell
  units, inputs = 4, 3
  readout = linear_readout(units, 2, reads=reads, dtype=jnp.float64)
  model = recurrent(cell, readout)
  keys = jax.random.split(jax.random.key(0), 4)
  us = jax.random.normal(keys[0], (7, 3, inputs), jnp.float64)
  shape = (3,) if reads == "last" else (7, 3)
  targets = jax.random.randint(keys[1], shape, 0, 2)
  lengths = None if lengths is None else jnp.asarray(lengths)
  params = {
    "cell": cases.draw_params(name)["cell"],
    "readout": readout.init(keys[2]),
  }
  return model, params, Batch(us, targets, lengths)


@pytest.mark.parametrize("every", [1, 3, 7, 20])
@pytest.mark.parametrize("reads", ["last", "every"])
@pytest.mark.parametrize("lengths", [None, 5, (7, 0, 4)])
def test_everything_equals_the_pass_that_keeps_its_states(
  x64, every, reads, lengths
):
  model, params, batch = setting("elman_x_tanh", reads, lengths)
  kept = adjoints(model, cross_entropy)(params, batch)
  recomputed = adjoints(model, cross_entropy, checkpoint_every=every)(
    params, batch
  )
  chex.assert_trees_all_close(recomputed, kept, rtol=ROUNDING, atol=ROUNDING)


def test_states_of_several_leaves(x64):
  model, params, batch = setting("lstm", "every", (7, 0, 4))
  kept = adjoints(model, cross_entropy)(params, batch)
  recomputed = adjoints(model, cross_entropy, checkpoint_every=3)(params, batch)
  chex.assert_trees_all_close(recomputed, kept, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("length, every", [(1, 1), (12, 2), (300, 10)])
def test_sqrt_is_the_interval_that_takes_least(length, every):
  model = recurrent(elman(1, 4), linear_readout(4, 2))
  params = model.init(jax.random.key(0))
  batch = Batch(jnp.ones((length, 2, 1)), jnp.zeros(2, jnp.int32))

  def program(interval):
    run = adjoints(model, cross_entropy, checkpoint_every=interval)
    return str(jax.make_jaxpr(run)(params, batch))

  assert program("sqrt") == program(every) != program(every + 1)


def test_blocks_of_a_transformer_are_computed_again():
  def gradient(length=64, **options):
    size = Size(16, layers=4, heads=2)
    readout = transformer_readout(size, 2, **options)
    model = recurrent(embedding(3, 16), readout)
    params = model.init(jax.random.key(0))
    us = jax.random.normal(jax.random.key(1), (length, 4, 3))
    batch = Batch(us, jnp.zeros(4, jnp.int32))
    run = jax.jit(lambda p, b: adjoints(model, cross_entropy)(p, b)[:2])
    program = run.lower(params, batch).compile()
    return program(params, batch), program.memory_analysis().temp_size_in_bytes

  kept, memory = gradient()
  again, less = gradient(checkpoint=True)
  chex.assert_trees_all_close(again, kept, rtol=1e-4, atol=1e-6)
  assert less < 0.6 * memory


def test_memory_is_what_the_docstring_promises():
  """About T / K + 3 K states in place of 4 T, the inputs left aside."""
  length, batch_size, units, every = 3072, 8, 32, 32
  model = recurrent(elman(1, units), linear_readout(units, 2))
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  batch = Batch(
    jax.ShapeDtypeStruct((length, batch_size, 1), jnp.float32),
    jax.ShapeDtypeStruct((batch_size,), jnp.int32),
  )

  def states(**options):
    def gradient(params, batch):
      return adjoints(model, cross_entropy, **options)(params, batch)[:2]

    program = jax.jit(gradient).lower(shapes, batch).compile()
    state_bytes = 4 * batch_size * units
    return program.memory_analysis().temp_size_in_bytes / state_bytes

  promised = length / every + 3 * every
  # The padded inputs are a copy of T B M numbers, 1 / N of T states.
  promised += 2 * length / units
  assert states(checkpoint_every=every) < 1.5 * promised
  assert states() > 2 * length


@pytest.mark.parametrize("every", [0, -3, "root"])
def test_a_wrong_interval_is_named(every):
  model = recurrent(elman(1, 2), linear_readout(2, 2))
  with pytest.raises(ValueError, match=f"checkpoint_every.*{every}"):
    adjoints(model, cross_entropy, checkpoint_every=every)
