"""What needs no network: marginal and first-order models of music and text.

Probabilities are counts of the training set with a half added to each (the
Krichevsky-Trofimov estimator), so that nothing is impossible. All functions are
NumPy in float64 and pure. They check that a metric averages as it should before
anything is trained, and they are what a network has to beat.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HALF = 0.5


class Score(NamedTuple):
  """A cost under both averages.

  Attributes:
    per_step: mean over all steps of all pieces.
    per_piece: mean over the pieces of each piece's mean.
  """

  per_step: float
  per_piece: float


def score(totals, lengths) -> Score:
  """Both averages, from each piece's total cost and number of steps."""
  totals = np.asarray(totals, np.float64)
  lengths = np.asarray(lengths, np.float64)
  return Score(
    float(totals.sum() / lengths.sum()), float((totals / lengths).mean())
  )


def music_marginal(
  train: Sequence[np.ndarray], pieces: Sequence[np.ndarray]
) -> Score:
  """Each note on its own, with its frequency in `train`; nats per step.

  Args:
    train: pieces [T_i, N] of 0 and 1.
    pieces: those to score.
  """
  count = sum(len(p) for p in train)
  on = np.sum([p.sum(0, dtype=np.float64) for p in train], 0)
  p = (on + HALF) / (count + 2 * HALF)
  totals = [_bernoulli(piece, p).sum() for piece in pieces]
  return score(totals, [len(piece) for piece in pieces])


def music_first_order(
  train: Sequence[np.ndarray], pieces: Sequence[np.ndarray]
) -> Score:
  """Each note given itself a step before; nats per step.

  Before a piece's first step the note counts as silent, in both sets.

  Args:
    train: pieces [T_i, N] of 0 and 1.
    pieces: those to score.
  """
  count = np.zeros((2, train[0].shape[1]))
  on = np.zeros_like(count)
  for piece in train:
    before = _before(piece)
    for state in (0, 1):
      count[state] += (before == state).sum(0)
      on[state] += (piece * (before == state)).sum(0, dtype=np.float64)
  p = (on + HALF) / (count + 2 * HALF)
  totals = [
    _bernoulli(piece, np.where(_before(piece) == 1, p[1], p[0])).sum()
    for piece in pieces
  ]
  return score(totals, [len(piece) for piece in pieces])


def _before(piece: np.ndarray) -> np.ndarray:
  return np.concatenate([np.zeros_like(piece[:1]), piece[:-1]])


def _bernoulli(piece: np.ndarray, p: np.ndarray) -> np.ndarray:
  return -np.where(piece == 1, np.log(p), np.log1p(-p))


def text_marginal(
  train: np.ndarray, text: np.ndarray, num_symbols: int
) -> float:
  """Each symbol with its frequency in `train`; bits per symbol.

  Args:
    train: symbols, integers [n].
    text: those to score.
    num_symbols: size of the vocabulary.
  """
  counts = np.bincount(train, minlength=num_symbols) + HALF
  return float(-np.log2(counts / counts.sum())[text].mean())


def text_ahead(
  train: np.ndarray, text: np.ndarray, num_symbols: int, ahead: int = 1
) -> float:
  """p(symbol k ahead | this symbol); bits, mean over the n − k pairs.

  Args:
    train: symbols, integers [n].
    text: those to score.
    num_symbols: size of the vocabulary.
    ahead: k.
  """
  shape = (num_symbols, num_symbols)
  pairs = np.ravel_multi_index((train[:-ahead], train[ahead:]), shape)
  counts = np.bincount(pairs, minlength=num_symbols**2).reshape(shape) + HALF
  p = counts / counts.sum(1, keepdims=True)
  return float(-np.log2(p)[text[:-ahead], text[ahead:]].mean())
