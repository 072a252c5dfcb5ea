"""Polyphonic music: piano-rolls of 88 notes, the next step from those before.

Boulanger-Lewandowski, Bengio, Vincent (ICML 2012), as MATLAB 5 files with the
keys traindata, validdata and testdata, each of shape (1, pieces); a piece is
[T_i, 88] of 0 and 1, column = MIDI note − 21.

What is scored: every step of every piece, the first one too, which the network
predicts from an input of zeros. The cost of a step is the binary cross-entropy
summed over the 88 notes, in nats.
"""

import pathlib
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from steadygrad.types import Array

NUM_NOTES = 88
LOWEST_NOTE = 21  # MIDI number of column 0, the A of a piano's lowest key.
KEYS = ("traindata", "validdata", "testdata")


class Splits(NamedTuple):
  """Three sets of pieces, in the file's order; uint8 [T_i, 88] each."""

  train: tuple[np.ndarray, ...]
  valid: tuple[np.ndarray, ...]
  test: tuple[np.ndarray, ...]


def load(path: str | pathlib.Path) -> Splits:
  """The pieces of a .mat file. Nothing is unpickled.

  Raises:
    ValueError: if the file cannot be read as MATLAB 5 or is not as the module
      docstring says, naming it and what is wrong.
  """
  import scipy.io  # What trains on pieces needs no SciPy.

  try:
    with open(path, "rb") as f:
      found = scipy.io.loadmat(f, variable_names=KEYS)
  except FileNotFoundError:
    raise ValueError(f"{path} is not there") from None
  except Exception as e:  # A damaged file may raise anything in scipy.
    reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
    raise ValueError(f"{path} is not a whole MATLAB 5 file: {reason}") from e
  if missing := [key for key in KEYS if key not in found]:
    raise ValueError(f"{path} has no {', '.join(missing)}")
  return Splits(*[_pieces(path, key, found[key]) for key in KEYS])


def _pieces(path, key: str, cells) -> tuple[np.ndarray, ...]:
  ok = isinstance(cells, np.ndarray) and cells.dtype == object
  if not ok or cells.ndim != 2 or cells.shape[0] != 1:
    raise ValueError(
      f"{path}: {key} must be cells of shape (1, pieces), got {_told(cells)}"
    )
  if not cells.size:
    raise ValueError(f"{path}: {key} has no pieces")
  pieces = []
  for i, piece in enumerate(cells[0]):
    name = f"{path}: {key}[0, {i}]"
    if not isinstance(piece, np.ndarray):  # A cell may be sparse.
      raise ValueError(f"{name} must be an array, got {_told(piece)}")
    if piece.ndim != 2 or piece.shape[1] != NUM_NOTES or not len(piece):
      raise ValueError(
        f"{name} must be [steps, {NUM_NOTES}], got {list(piece.shape)}"
      )
    real = piece.dtype.kind in "biuf"
    if not real or not np.all((piece == 0) | (piece == 1)):
      raise ValueError(f"{name} must hold 0 and 1 alone, got {_told(piece)}")
    pieces.append(np.ascontiguousarray(piece, np.uint8))
  return tuple(pieces)


def _told(value) -> str:
  """Type, and of arrays dtype and shape."""
  shape = list(getattr(value, "shape", ()))
  return f"{type(value).__name__} {getattr(value, 'dtype', '')}{shape}"


def step_losses(logits: Array, targets: Array) -> Array:
  """−Σ_n [v_n log p_n + (1 − v_n) log(1 − p_n)], in nats: [...].

  From logits, so that it is exact however sure the network is.

  Args:
    logits: of the notes, [..., 88].
    targets: 0 and 1, [..., 88].
  """
  targets = targets.astype(logits.dtype)
  return jnp.sum(optax.sigmoid_binary_cross_entropy(logits, targets), -1)
