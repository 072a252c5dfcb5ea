"""Music: the file's format, the cost of a step, and the floors."""

import jax
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from steadygrad.data import baselines, music
from tests import corpora_cases

# The floors are given with two decimals; the models are the same.
TWO_DECIMALS = 0.01
# float32 sums of 88 terms of order 1.
FLOAT32 = 1e-5
# Of PAPER.md: marginal and first-order model, train, valid and test each, per
# step and per piece.
FLOORS = {
  "Piano_midi": (
    ((11.33, 11.25), (11.49, 11.45), (11.05, 11.39)),
    ((8.38, 8.54), (9.24, 8.82), (8.26, 8.58)),
  ),
  "Nottingham": (
    ((10.06, 10.04), (10.00, 10.04), (10.25, 10.12)),
    ((5.23, 5.24), (5.25, 5.30), (5.17, 5.22)),
  ),
  "MuseData": (
    ((11.65, 10.45), (11.85, 10.90), (11.51, 10.55)),
    ((8.70, 8.06), (8.66, 8.45), (8.56, 8.21)),
  ),
  "JSB_Chorales": (
    ((11.10, 11.08), (10.95, 10.93), (11.06, 11.00)),
    ((10.44, 10.48), (10.14, 10.22), (10.48, 10.47)),
  ),
}
MODELS = baselines.music_marginal, baselines.music_first_order


def test_a_file_gives_back_its_pieces(tmp_path):
  splits = music.load(corpora_cases.small_music(tmp_path / "a.mat"))
  wanted = corpora_cases.small_pieces(0, (11, 26, 7, 40))
  assert [len(split) for split in splits] == [4, 2, 2]
  for got, piece in zip(splits.train, wanted, strict=True):
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, piece)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match="nowhere.mat is not there"):
    music.load(tmp_path / "nowhere.mat")


def piece(value=1, shape=(5, 88), dtype=np.uint8):
  return corpora_cases.cells([np.full(shape, value, dtype)])


@pytest.mark.parametrize(
  "changes, said",
  [
    ({"validdata": None}, "a.mat has no validdata"),
    ({"testdata": np.ones((3, 88))}, "testdata must be cells"),
    ({"traindata": piece(shape=(5, 87))}, r"traindata\[0, 0\].*\[5, 87\]"),
    ({"traindata": piece(value=2)}, r"traindata\[0, 0\].*0 and 1 alone"),
    ({"traindata": piece(np.nan, dtype=float)}, "0 and 1 alone"),
    ({"testdata": piece("x", dtype="U1")}, r"testdata\[0, 0\]"),
    ({"testdata": corpora_cases.cells([])}, "testdata"),
  ],
)
def test_a_wrong_file_is_named(tmp_path, changes, said):
  path = corpora_cases.small_music(tmp_path / "a.mat", **changes)
  with pytest.raises(ValueError, match=said):
    music.load(path)


def cell(content):
  cells = np.empty((1, 1), object)
  cells[0, 0] = content
  return cells


ONES = np.ones((5, 88))
# Contents of a cell, and of a key itself, that are no piece.
CONTENTS = {
  "sparse": scipy.sparse.csc_matrix(np.eye(5, 88)),
  "sparse array": scipy.sparse.coo_array(np.eye(5, 88)),
  "struct": {"notes": ONES},
  "struct of the shape": np.ones((5, 88), [("note", "u1")]),
  "nested": cell(ONES),
  "nested twice": cell(cell(ONES)),
  "objects of the shape": np.full((5, 88), None),
  "text": "notes",
  "texts": np.full((5, 88), "1"),
  "complex": ONES + 0j,
  "half": ONES / 2,
  "negative": -ONES,
  "nan": np.where(ONES, np.nan, 0),
  "inf": ONES * np.inf,
  "0-d": np.uint8(1),
  "1-d": np.ones(88),
  "3-d": np.ones((1, 5, 88)),
  "turned": ONES.T,
  "empty": np.ones((0, 88)),
  "nothing": np.zeros((0, 0)),
  "none": None,
  "list": [[1] * 88],
  "integer": 1,
  "bytes": b"notes",
  "record": np.zeros((), [("a", "u1")])[()],
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_no_piece_is_named(tmp_path, monkeypatch, kind):
  path, content = tmp_path / "a.mat", CONTENTS[kind]
  whole = {k: corpora_cases.cells([ONES]) for k in music.KEYS}
  for key in music.KEYS:
    read = whole | {key: cell(content)}
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, read=read, **__: read)
    path.touch()
    with pytest.raises(ValueError, match=rf"a.mat: {key}\[0, 0\] must "):
      music.load(path)
    if not kind.startswith("nested"):
      read[key] = content
      with pytest.raises(ValueError, match=f"a.mat: {key} must be cells"):
        music.load(path)


# SciPy writes these as they are.
STORED = ("sparse", "sparse array", "struct", "struct of the shape", "nested")
STORED += ("nested twice", "text", "texts", "complex", "nan", "3-d", "nothing")


@pytest.mark.parametrize("kind", STORED)
def test_what_is_no_piece_is_named_when_stored(tmp_path, kind):
  path = tmp_path / "a.mat"
  corpora_cases.small_music(path, testdata=cell(CONTENTS[kind]))
  with pytest.raises(ValueError, match=r"a.mat: testdata\[0, 0\] must "):
    music.load(path)


def test_logical_pieces_are_read(tmp_path, monkeypatch):
  read = {key: cell(ONES.astype(bool)) for key in music.KEYS}
  monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: read)
  (tmp_path / "a.mat").touch()
  (piece,) = music.load(tmp_path / "a.mat").train
  assert piece.dtype == np.uint8 and piece.sum() == 5 * 88


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
  path = corpora_cases.small_music(tmp_path / "a.mat")
  data = path.read_bytes()
  path.write_bytes(
    {
      "truncated": data[: len(data) // 2],
      "garbage": b"not a matrix" * 40,
      "empty": b"",
    }[damage]
  )
  with pytest.raises(ValueError, match="a.mat"):
    music.load(path)


def test_step_losses_equal_the_sum_of_bernoulli_terms(rng):
  logits = rng.normal(size=(3, 2, 88)).astype(np.float32) * 3
  targets = rng.integers(0, 2, (3, 2, 88)).astype(np.uint8)
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  expected = -np.sum(targets * np.log(p) + (1 - targets) * np.log(1 - p), -1)
  got = music.step_losses(logits, targets)
  np.testing.assert_allclose(got, expected, rtol=FLOAT32)


def test_step_losses_are_exact_however_sure():
  logits = np.full((1, 88), 1e4, np.float32)
  right, wrong = np.ones((1, 88), np.uint8), np.zeros((1, 88), np.uint8)
  assert float(music.step_losses(logits, right)[0]) == 0
  assert float(music.step_losses(logits, wrong)[0]) == 88e4
  slope = jax.grad(lambda x: music.step_losses(x, wrong).sum())(logits)
  np.testing.assert_array_equal(slope, np.ones((1, 88)))


def by_hand(train, piece, first_order):
  """A piece's total cost by counting note by note and step by step."""
  total = 0.0
  for note in range(piece.shape[1]):
    counts = np.zeros((2, 2))
    for other in train:
      before = 0
      for value in other[:, note]:
        counts[before if first_order else 0, value] += 1
        before = value
    before = 0
    for value in piece[:, note]:
      row = counts[before if first_order else 0] + 0.5
      total -= np.log(row[value] / row.sum())
      before = value
  return total


@pytest.mark.parametrize("model", MODELS)
def test_baselines_equal_counting_by_hand(model):
  train = corpora_cases.small_pieces(0, (11, 6))
  pieces = corpora_cases.small_pieces(1, (5, 9))
  got = model(train, pieces)
  first_order = model is baselines.music_first_order
  totals = [by_hand(train, p, first_order) for p in pieces]
  np.testing.assert_allclose(got.per_step, sum(totals) / 14)
  means = [total / len(p) for total, p in zip(totals, pieces, strict=True)]
  np.testing.assert_allclose(got.per_piece, np.mean(means))


@pytest.mark.parametrize("name", FLOORS)
def test_floors_of_the_real_data(name):
  path = corpora_cases.shared_data() / "music" / f"{name}.mat"
  splits = music.load(path)
  for model, expected in zip(MODELS, FLOORS[name], strict=True):
    got = [model(splits.train, pieces) for pieces in splits]
    np.testing.assert_allclose(got, expected, rtol=0, atol=TWO_DECIMALS)
