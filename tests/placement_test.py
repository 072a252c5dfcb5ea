"""Seeds over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.runs import placement


@pytest.mark.parametrize(
  "count, devices, slots",
  [(1, 1, None), (1, 2, None), (4, 2, None), (5, 2, None), (7, 3, None)]
  + [(3, 4, None), (0, 2, 1), (1, 2, 3), (5, 2, 3), (6, 2, 3)],
)
def test_everything_has_a_seat_and_devices_are_even(count, devices, slots):
  seats = placement.seats(count, devices, slots)
  assert seats.counts.dtype == np.int32
  assert seats.counts.sum() == count
  assert seats.counts.max() - seats.counts.min() <= 1
  blocks = seats.order.reshape(devices, -1)
  assert blocks.shape[1] == (slots or -(-count // devices))
  # Each thing once, in the first seats of its device: those that run.
  ran = [
    i for block, n in zip(blocks, seats.counts, strict=True) for i in block[:n]
  ]
  assert sorted(ran) == list(range(count))
  np.testing.assert_array_equal(seats.order[seats.of_item], np.arange(count))
  place = seats.of_item % blocks.shape[1]
  assert (place < seats.counts[seats.of_item // blocks.shape[1]]).all()
  # What is in a free seat is something that is there.
  assert set(seats.order) <= set(range(max(count, 1)))


def test_things_go_to_the_devices_in_turn():
  seats = placement.seats(5, 2, 4)
  assert seats.order.tolist() == [0, 2, 4, 0, 1, 3, 0, 0]
  assert seats.counts.tolist() == [3, 2]
  assert seats.of_item.tolist() == [0, 4, 1, 5, 2]


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


def test_what_is_shared_has_no_seed_axis():
  devices = jax.devices()
  mapped, _ = placement.map_seeds(lambda table, i: table[i], devices, shared=1)
  seats = placement.seats(3, len(devices))
  rows = jnp.arange(10.0)
  out = jax.jit(mapped)(seats.counts, rows, jnp.asarray(seats.order) + 4)
  np.testing.assert_array_equal(out[seats.of_item], [4, 5, 6])
