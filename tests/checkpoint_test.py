"""Checkpoints: verified on restore, the one before used if the last is bad."""

import numpy as np
import pytest

from steadygrad.checkpoint import Checkpoints

ARRAYS = {
  "a": np.arange(2000, dtype=np.float32).reshape(40, 50),
  "b": np.array([1, 2], np.int32),
}


@pytest.fixture
def saved(tmp_path):
  checkpoints = Checkpoints(tmp_path / "checkpoints")
  for step in (1, 2, 3):
    arrays = ARRAYS | {"b": np.array([step, 0], np.int32)}
    checkpoints.save(step, arrays, {"spent": {"step": step}})
  checkpoints.close()
  return tmp_path / "checkpoints"


def restore(directory):
  checkpoints = Checkpoints(directory)
  restored = checkpoints.restore()
  checkpoints.close()
  return restored


def payloads(directory):
  """Every file of a checkpoint that holds arrays or metadata."""
  return sorted(
    p
    for p in directory.rglob("*")
    if p.is_file() and ("/d/" in p.as_posix() or p.name == "metadata")
  )


def test_round_trip_keeps_bits_and_the_newest_two(saved):
  restored = restore(saved)
  assert restored.step == 3
  assert restored.meta == {"spent": {"step": 3}}
  assert not restored.problems
  np.testing.assert_array_equal(restored.arrays["a"], ARRAYS["a"])
  assert restored.arrays["a"].dtype == np.float32
  kept = sorted(p.name for p in saved.iterdir() if p.name.isdigit())
  assert kept == ["2", "3"]


def test_nothing_there(tmp_path):
  restored = restore(tmp_path / "checkpoints")
  assert restored.step is None
  assert not restored.problems


def test_one_flipped_bit_anywhere_in_a_payload_is_noticed(saved):
  """In every payload file: either Orbax or the digests refuse it."""
  files = payloads(saved / "3")
  assert len(files) >= 2
  refused = 0
  for file in files:
    original = file.read_bytes()
    for place in (len(original) // 3, len(original) // 2):
      damaged = bytearray(original)
      damaged[place] ^= 1
      file.write_bytes(damaged)
      checkpoints = Checkpoints(saved)
      try:
        arrays, meta = checkpoints._load(3)
      except Exception:
        refused += 1
      else:  # A bit that no value depends on, such as a time stamp.
        np.testing.assert_array_equal(arrays["a"], ARRAYS["a"])
        assert arrays["b"].tolist() == [3, 0]
        assert meta == {"spent": {"step": 3}}
      checkpoints.close()
      file.write_bytes(original)
  assert refused >= 2


def test_a_changed_array_is_refused_and_the_one_before_is_used(
  saved, monkeypatch
):
  """A payload that loads without a word but is not what was saved."""
  load = Checkpoints._load

  def load_with_a_flipped_bit(self, step):
    original = self._manager.restore

    def flip(number, args):
      restored = original(number, args=args)
      if number == 3:
        bits = np.array(restored.arrays["a"])
        bits.view(np.uint32)[7, 7] ^= 1
        restored.arrays["a"] = bits
      return restored

    monkeypatch.setattr(self._manager, "restore", flip)
    return load(self, step)

  monkeypatch.setattr(Checkpoints, "_load", load_with_a_flipped_bit)
  restored = restore(saved)
  assert restored.step == 2
  (problem,) = restored.problems
  assert "checkpoint 3 is damaged" in problem
  assert "array a" in problem
  assert (saved.parent / "damaged" / "3.0").is_dir()


def test_half_written_checkpoint_is_passed_over(saved):
  for file in payloads(saved / "3"):
    file.write_bytes(file.read_bytes()[:10])
  restored = restore(saved)
  assert restored.step == 2
  assert len(restored.problems) == 1
  # The number is free again, and the next save takes it.
  checkpoints = Checkpoints(saved)
  checkpoints.save(3, ARRAYS, {})
  checkpoints.close()
  assert restore(saved).step == 3


def test_all_damaged_is_said_and_nothing_is_deleted(saved):
  for step in ("2", "3"):
    for file in payloads(saved / step):
      file.write_bytes(b"")
  restored = restore(saved)
  assert restored.step is None
  assert len(restored.problems) == 2
  assert len(list((saved.parent / "damaged").iterdir())) == 2
