"""Long sequences in chunks: which part of which piece is where at each update.

Pieces are laid one behind the other in one array, a `Stream`, which stays on
the device. A `Plan` deals them to B lanes: at update u lane b trains on the
`lengths[u, b]` steps from row `begins[u, b]`, after the state that its previous
chunk ended in, or after the initial state where `fresh`. Every step of every
piece is in a plan exactly once, whatever B and the length of a chunk.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Stream(NamedTuple):
  """Pieces one behind the other; the input at row i has its target at i + k.

  Attributes:
    rows: [rows, ...]. Those of a piece that are inputs are begins[i] to
      begins[i] + lengths[i] − 1.
    begins: row of each piece's first input, int64 [P].
    lengths: steps of each piece, int64 [P].
    ahead: k.
  """

  rows: np.ndarray
  begins: np.ndarray
  lengths: np.ndarray
  ahead: int


class Plan(NamedTuple):
  """Chunks of a pass, [U, B] each; a lane without work has length 0.

  Attributes:
    begins: first row, int32.
    lengths: steps, int32.
    fresh: whether a piece begins here, bool.
    pieces: number of the piece, int32.
  """

  begins: np.ndarray
  lengths: np.ndarray
  fresh: np.ndarray
  pieces: np.ndarray


def pieces_stream(pieces: Sequence[np.ndarray]) -> Stream:
  """The next row from those before it, the first one from a row of zeros.

  Args:
    pieces: [T_i, N] each. A row of zeros is laid before each piece, so that all
      its T_i steps are targets.
  """
  rows = []
  for piece in pieces:
    rows += [np.zeros_like(piece[:1]), piece]
  lengths = np.array([len(piece) for piece in pieces])
  begins = np.cumsum(lengths + 1) - (lengths + 1)
  return Stream(np.concatenate(rows), begins, lengths, 1)


def text_stream(text: np.ndarray, ahead: int, num_pieces: int = 1) -> Stream:
  """The symbol `ahead` steps on; the text in contiguous pieces of one length.

  Args:
    text: integers [n].
    ahead: k, of 1 to n − 1.
    num_pieces: the last is shorter where n − k does not split evenly. Text runs
      through from one piece to the next, so that n − k steps are scored.

  Raises:
    ValueError: if `ahead` or `num_pieces` leaves nothing to score.
  """
  steps = len(text) - ahead
  if ahead < 1 or steps < 1:
    raise ValueError(f"ahead must be in 1..{len(text) - 1}, got {ahead}")
  each = -(-steps // num_pieces)
  begins = np.arange(0, steps, each)
  if len(begins) != num_pieces:
    raise ValueError(
      f"{steps} steps cannot be split into {num_pieces} pieces of one length"
    )
  return Stream(text, begins, np.minimum(each, steps - begins), ahead)


def deal(
  stream: Stream,
  num_lanes: int,
  chunk_length: int,
  rng: np.random.Generator | None = None,
) -> Plan:
  """Deals a stream's pieces to lanes, longest first to the lane with least.

  Args:
    stream: the pieces.
    num_lanes: B.
    chunk_length: steps of a chunk; the last of a piece is shorter.
    rng: if given, equally long pieces change lanes and each lane's pieces their
      order; without it the plan is a function of the stream.

  Returns:
    A `Plan` of U updates, the same U whatever the rng, as near to the total
    number of chunks over B as the longest piece allows.

  Raises:
    ValueError: on num_lanes or chunk_length under 1.
  """
  for name, value in (("num_lanes", num_lanes), ("chunk_length", chunk_length)):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  chunks = -(-stream.lengths // chunk_length)
  order = np.arange(len(chunks))
  if rng is not None:
    rng.shuffle(order)
  order = order[np.argsort(-chunks[order], kind="stable")]
  heap = [(0, lane) for lane in range(num_lanes)]
  lanes: list[list[int]] = [[] for _ in range(num_lanes)]
  for piece in order:
    load, lane = heapq.heappop(heap)
    lanes[lane].append(piece)
    heapq.heappush(heap, (load + int(chunks[piece]), lane))
  num_updates = max(load for load, _ in heap)
  plan = Plan(
    *[np.zeros((num_updates, num_lanes), t) for t in ("i4", "i4", bool, "i4")]
  )
  for b, lane in enumerate(lanes):
    if rng is not None:
      rng.shuffle(lane)
    u = 0
    for piece in lane:
      offsets = chunk_length * np.arange(chunks[piece])
      at = slice(u, u + len(offsets)), b
      plan.begins[at] = stream.begins[piece] + offsets
      left = stream.lengths[piece] - offsets
      plan.lengths[at] = np.minimum(left, chunk_length)
      plan.fresh[u, b] = True
      plan.pieces[at] = piece
      u += len(offsets)
  return plan


def waste(plan: Plan, chunk_length: int) -> float:
  """Share of the plan's steps that are padding."""
  return 1 - float(plan.lengths.sum()) / (plan.lengths.size * chunk_length)
