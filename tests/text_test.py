"""Characters: the rules, the cost, and the floors."""

import math

import numpy as np
import pytest

from steadygrad.data import baselines, text
from tests import corpora_cases

# The floors are given with two decimals; the models are the same.
TWO_DECIMALS = 0.01
# float32 softmax of 50 numbers of order 1.
FLOAT32 = 1e-5


@pytest.mark.parametrize(
  "raw, expected",
  [
    (" no it was n't \n", "no_it_was_n't\n"),
    (" a \n b c \n", "a\nb_c\n"),
    (" a \n\n", "a\n\n"),
    (" a", "a\n"),
    ("", ""),
  ],
)
def test_symbols(raw, expected):
  assert text.symbols(raw) == expected


def test_files_become_indices(tmp_path):
  paths = corpora_cases.small_text(tmp_path)
  splits = text.load(paths)
  assert splits.vocabulary == "".join(sorted(set(splits.vocabulary)))
  assert {"\n", "_", "<", "N"} <= set(splits.vocabulary)
  for path, symbols in zip(paths, splits[:3], strict=True):
    assert symbols.dtype == np.uint8
    spelled = "".join(splits.vocabulary[i] for i in symbols)
    assert spelled == text.symbols(path.read_text())


def test_wrong_files_are_named(tmp_path):
  paths = corpora_cases.small_text(tmp_path)
  paths[2].write_text(" été \n", "utf-8")
  with pytest.raises(ValueError, match="ptb.test.txt.*unseen.*é"):
    text.load(paths)
  paths[1].write_bytes(b"\xff\xfe")
  with pytest.raises(ValueError, match="ptb.valid.txt is not text"):
    text.load(paths)
  paths[1].write_text("")
  with pytest.raises(ValueError, match="ptb.valid.txt is empty"):
    text.load(paths)
  paths[0].unlink()
  with pytest.raises(ValueError, match="ptb.train.txt is not there"):
    text.load(paths)


def test_step_losses_are_minus_log_p(rng):
  logits = rng.normal(size=(3, 2, 5)).astype(np.float32)
  targets = rng.integers(0, 5, (3, 2)).astype(np.uint8)
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expected = -np.log(np.take_along_axis(p, targets[..., None], -1))[..., 0]
  got = text.step_losses(logits, targets)
  np.testing.assert_allclose(got, expected, rtol=FLOAT32)
  assert text.BITS * math.log(2) == 1


@pytest.mark.parametrize("ahead", [1, 3])
def test_baselines_equal_counting_by_hand(rng, ahead):
  train, other = rng.integers(0, 4, 200), rng.integers(0, 4, 30)
  counts = {(a, b): 0.5 for a in range(4) for b in range(4)}
  for pair in zip(train, train[ahead:], strict=False):
    counts[pair] += 1
  bits = [
    -math.log2(counts[a, b] / sum(counts[a, c] for c in range(4)))
    for a, b in zip(other, other[ahead:], strict=False)
  ]
  got = baselines.text_ahead(train, other, 4, ahead)
  np.testing.assert_allclose(got, np.mean(bits))
  shares = [(np.sum(train == a) + 0.5) / 202 for a in other]
  got = baselines.text_marginal(train, other, 4)
  np.testing.assert_allclose(got, -np.mean(np.log2(shares)))


def test_floors_of_the_real_data():
  directory = corpora_cases.shared_data() / "ptb"
  splits = text.load(
    [directory / f"ptb.{s}.txt" for s in ("train", "valid", "test")]
  )
  texts, size = splits[:3], len(splits.vocabulary)
  assert [len(t) for t in texts] == [5017482, 393042, 442423] and size == 50
  found = (
    [baselines.text_marginal(texts[0], t, size) for t in texts],
    [baselines.text_ahead(texts[0], t, size) for t in texts],
    [baselines.text_ahead(texts[0], t, size, 5) for t in texts],
  )
  floors = (4.33, 4.34, 4.35), (3.39, 3.39, 3.37), (4.24, 4.25, 4.25)
  np.testing.assert_allclose(found, floors, rtol=0, atol=TWO_DECIMALS)
