"""Chunks of long pieces: every step once, in order, in one lane."""

import numpy as np
import pytest

from steadygrad.data import streams

LENGTHS = (5, 1, 12, 7, 4, 4, 9)
CHUNK = 4


def pieces(rng):
  return [rng.integers(0, 2, (n, 3)).astype(np.uint8) for n in LENGTHS]


def visited(plan):
  """{piece: rows in the order in which a lane sees them}; checks the flags."""
  seen = {}
  for b in range(plan.begins.shape[1]):
    current = None
    for u in range(len(plan.begins)):
      length, piece = plan.lengths[u, b], int(plan.pieces[u, b])
      if not length:
        assert not plan.fresh[u:, b].any() and not plan.lengths[u:, b].any()
        break
      assert plan.fresh[u, b] == (piece != current)
      if plan.fresh[u, b]:
        assert piece not in seen
        seen[piece] = []
      current = piece
      seen[piece] += range(plan.begins[u, b], plan.begins[u, b] + length)
  return seen


@pytest.mark.parametrize("lanes", [1, 2, 3, 10])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_step_is_there_once_and_in_order(rng, lanes, shuffled):
  data = pieces(rng)
  stream = streams.pieces_stream(data)
  order = np.random.default_rng(1) if shuffled else None
  plan = streams.deal(stream, lanes, CHUNK, order)
  seen = visited(plan)
  assert sorted(seen) == list(range(len(LENGTHS)))
  for i, rows in seen.items():
    np.testing.assert_array_equal(stream.rows[np.array(rows) + 1], data[i])
    inputs = stream.rows[rows]
    assert not inputs[0].any()
    np.testing.assert_array_equal(inputs[1:], data[i][:-1])


def test_shuffling_changes_the_order_and_not_the_shape(rng):
  stream = streams.pieces_stream(pieces(rng))
  plans = [
    streams.deal(stream, 2, CHUNK, np.random.default_rng(s)) for s in range(4)
  ]
  assert len({p.begins.shape for p in plans}) == 1
  assert len({p.pieces.tobytes() for p in plans}) == 4
  again = streams.deal(stream, 2, CHUNK, np.random.default_rng(0))
  np.testing.assert_array_equal(plans[0].pieces, again.pieces)


def test_lanes_are_even_and_the_waste_is_told(rng):
  stream = streams.pieces_stream(pieces(rng))
  plan = streams.deal(stream, 3, CHUNK)
  # 14 chunks over 3 lanes cannot be fewer than 5 updates.
  assert plan.begins.shape == (5, 3)
  steps = 5 * 3 * CHUNK
  assert streams.waste(plan, CHUNK) == 1 - sum(LENGTHS) / steps


@pytest.mark.parametrize("ahead, parts", [(1, 1), (1, 4), (5, 3)])
def test_text_is_cut_into_contiguous_parts(ahead, parts):
  text = np.arange(103) % 50
  stream = streams.text_stream(text, ahead, parts)
  assert stream.lengths.sum() == len(text) - ahead
  plan = streams.deal(stream, parts, 7)
  rows = [r for _, part in sorted(visited(plan).items()) for r in part]
  assert rows == list(range(len(text) - ahead))
  assert len(set(stream.lengths[:-1])) <= 1


@pytest.mark.parametrize(
  "call, said",
  [
    (lambda s: streams.deal(s, 0, 4), "num_lanes.*0"),
    (lambda s: streams.deal(s, 1, 0), "chunk_length.*0"),
    (lambda s: streams.text_stream(np.arange(5), 5), "ahead.*5"),
    (lambda s: streams.text_stream(np.arange(5), 0), "ahead.*0"),
    (lambda s: streams.text_stream(np.arange(5), 1, 9), "9 pieces"),
  ],
)
def test_mistakes_are_named(rng, call, said):
  stream = streams.pieces_stream(pieces(rng))
  with pytest.raises(ValueError, match=said):
    call(stream)
