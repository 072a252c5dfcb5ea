"""`in_segments` against the same function of all steps at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import segments
from steadygrad.segments import in_segments, num_steps

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# Sums of 40 numbers in another order.
ROUNDING = 1e-6


def both(slices, counts):
  x, y = slices
  kept = x if counts is None else jnp.where(counts[:, None, None], x, 0)
  return jnp.sum(kept * y, 0), jnp.sum(x, (1, 2))


def draw(length):
  rng = np.random.default_rng(length)
  return [rng.normal(size=(length, 2, 3)).astype("f") for _ in range(2)]


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
  monkeypatch.setattr(segments, "NUMBERS", 24)  # Four steps of 2 x 3 numbers.
  monkeypatch.setattr(segments, "ROWS", 4)


# Shorter than a segment, one, several that divide, and several that overlap.
@pytest.mark.parametrize("length", [1, 4, 5, 12, 13, 22])
def test_is_the_function_of_all_steps(length):
  sequences = draw(length)
  sums, rows = jax.jit(lambda s: in_segments(both, s))(sequences)
  expected_sums, expected_rows = both(sequences, None)
  np.testing.assert_allclose(sums, expected_sums, rtol=0, atol=ROUNDING * 10)
  np.testing.assert_allclose(rows, expected_rows, rtol=ROUNDING)


@pytest.mark.parametrize("steps", [0, 1, 8, 9, 13])
def test_steps_that_are_not_needed_are_left_out(steps):
  x, y = draw(13)
  x[steps:] = 0
  sums, rows = jax.jit(lambda n: in_segments(both, (x, y), n))(steps)
  expected_sums, expected_rows = both((x, y), None)
  np.testing.assert_allclose(sums, expected_sums, rtol=0, atol=ROUNDING * 10)
  np.testing.assert_allclose(rows[:steps], expected_rows[:steps], rtol=ROUNDING)


def test_stops_at_the_last_step_that_is_needed():
  # What lies beyond would show: segments of 4 of 13 steps, 5 needed.
  x, y = draw(13)
  x[8:] = np.nan
  sums, _ = jax.jit(lambda n: in_segments(both, (x, y), n))(5)
  assert np.all(np.isfinite(sums))


def test_rows_stretch_thin_segments(monkeypatch):
  monkeypatch.setattr(segments, "ROWS", 26)
  seen = []
  in_segments(lambda s, c: (seen.append(len(s[0])), (0.0, s[0]))[1], draw(13))
  assert seen == [13]


def test_none_among_the_sequences_stays_none():
  x, _ = draw(13)
  fn = lambda s, counts: (0.0, s[0] + (0 if s[1] is None else 1))  # noqa: E731
  np.testing.assert_array_equal(in_segments(fn, (x, None))[1], x)


def test_num_steps():
  mask = jnp.arange(6)[:, None] < jnp.array([[2, 4, 0]])
  assert num_steps(mask) == 4
  assert num_steps(jnp.zeros((6, 3), bool)) == 0
  assert num_steps(None) is None
