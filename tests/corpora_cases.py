"""Small data files in the formats of the real ones, and where those may be."""

import os
import pathlib

import numpy as np
import pytest
import scipy.io

from steadygrad.data import music

WORDS = ("no", "it", "was", "<unk>", "N", "black", "monday", "$", "n't")


def shared_data() -> pathlib.Path:
  """The directory with the real data; skips the test where there is none.

  $STEADYGRAD_DATA, or ../shared/data beside the repository.
  """
  repository = pathlib.Path(__file__).resolve().parents[1]
  default = repository.parent / "shared" / "data"
  path = pathlib.Path(os.environ.get("STEADYGRAD_DATA", default))
  if not (path / "music").is_dir():
    pytest.skip(f"no data at {path}: set STEADYGRAD_DATA")
  return path


def small_pieces(seed: int, lengths) -> list[np.ndarray]:
  """Pieces [T, 88] in which a few notes are held for a while."""
  rng = np.random.default_rng(seed)
  pieces = []
  for length in lengths:
    piece = np.zeros((length, music.NUM_NOTES), np.uint8)
    for start in range(0, length, 4):
      piece[start : start + 4, rng.integers(20, 60, 3)] = 1
    pieces.append(piece)
  return pieces


def cells(pieces) -> np.ndarray:
  """Pieces as the (1, n) array of cells of a .mat file."""
  out = np.empty((1, len(pieces)), object)
  out[0, :] = pieces
  return out


def small_music(path: pathlib.Path, **changes) -> pathlib.Path:
  """Writes a music file; `changes` go in the place of what is right."""
  keys = {
    "traindata": cells(small_pieces(0, (11, 26, 7, 40))),
    "validdata": cells(small_pieces(1, (9, 14))),
    "testdata": cells(small_pieces(2, (12, 5))),
  } | changes
  scipy.io.savemat(path, {k: v for k, v in keys.items() if v is not None})
  return path


def small_text(directory: pathlib.Path, lines=(60, 15, 12)) -> list:
  """Writes the three files of a text; their paths."""
  rng = np.random.default_rng(0)
  paths = []
  for split, count in zip(("train", "valid", "test"), lines, strict=True):
    sentences = [rng.choice(WORDS, rng.integers(2, 9)) for _ in range(count)]
    path = directory / f"ptb.{split}.txt"
    path.write_text("".join(f" {' '.join(s)} \n" for s in sentences))
    paths.append(path)
  return paths
