"""Seeds over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import host_loop
from steadygrad import placement


def test_every_seed_has_a_slot_and_active_ones_are_even():
  for seeds, devices, active in (
    (4, 2, [1, 3]),
    (5, 2, [0, 1, 2, 3, 4]),
    (1, 2, [0]),
    (7, 3, [6, 2]),
    (3, 4, []),
  ):
    order, counts = host_loop.spread(np.array(active, int), seeds, devices)
    assert set(order) == set(range(seeds))
    assert counts.sum() == len(active)
    assert counts.max() - counts.min() <= 1
    blocks = zip(order.reshape(devices, -1), counts, strict=True)
    ran = [s for block, n in blocks for s in block[:n]]
    assert sorted(ran) == sorted(active)


@pytest.mark.parametrize("devices", range(1, 10))
@pytest.mark.parametrize("seeds", range(1, 9))
def test_the_first_slot_of_a_seed_that_trains_is_one_that_runs(seeds, devices):
  """For every set of seeds: results are taken from a seed's first slot."""
  for chosen in range(2**seeds):
    active = np.flatnonzero(chosen >> np.arange(seeds) & 1)
    order, counts = host_loop.spread(active, seeds, devices)
    ran = np.arange(len(order) // devices) < counts[:, None]
    _, first = np.unique(order, return_index=True)
    assert ran.reshape(-1)[first[active]].all()


def test_only_the_counted_seeds_are_run():
  devices = jax.devices()
  mapped, _ = placement.map_seeds(lambda x: 2 * x + 1, devices)
  counts = np.zeros(len(devices), np.int32)
  counts[0] = 1
  slots = 2 * len(devices)
  out = jax.jit(mapped)(counts, jnp.arange(1.0, slots + 1))
  expected = np.zeros(slots)
  expected[0] = 3
  np.testing.assert_array_equal(out, expected)


def test_one_program_runs_any_number_of_seeds():
  """The work for a seed stands once in the program, inside a loop."""
  mapped, _ = placement.map_seeds(jnp.sin, jax.devices()[:1])
  for slots in (1, 8):
    arguments = np.ones(1, np.int32), jnp.zeros((slots, 3))
    text = jax.jit(mapped).lower(*arguments).as_text()
    assert text.count("stablehlo.sine") == 1
    assert text.count("stablehlo.while") == 1


@pytest.mark.parametrize(
  "seeds,devices,slots", [(1, 2, 2), (4, 2, 4), (5, 4, 8)]
)
def test_slots(seeds, devices, slots):
  assert placement.slots(seeds, devices) == slots
