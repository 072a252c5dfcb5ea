"""A run's states: verified, the one before used if the newest is bad."""

import multiprocessing

import numpy as np
import pytest

from steadygrad.runs import checkpoints, store

ARRAYS = {
  "a": np.arange(2000, dtype=np.float32).reshape(40, 50),
  "b": np.array([1, 2], np.int32),
}
NAME = "a-run"


def save(directory, step, meta=None):
  arrays = ARRAYS | {"b": np.array([step, 0], np.int32)}
  checkpoints.save(directory, step, arrays, meta, name=NAME)


@pytest.fixture
def saved(tmp_path):
  for step in (1, 2, 3):
    save(tmp_path, step, {"spent": {"step": step}})
  return tmp_path


def damage(path, place=0.5):
  data = bytearray(path.read_bytes())
  data[int(place * len(data))] ^= 1
  path.write_bytes(data)
  return bytes(data)


def test_round_trip_keeps_bits_and_the_newest_two(saved):
  restored = checkpoints.restore(saved, NAME)
  assert restored.step == 3
  assert restored.meta == {"spent": {"step": 3}}
  assert not restored.problems
  np.testing.assert_array_equal(restored.arrays["a"], ARRAYS["a"])
  assert restored.arrays["a"].dtype == np.float32
  kept = {checkpoints.NEWEST: 3, checkpoints.PREVIOUS: 2}
  assert {p.name for p in saved.iterdir()} == kept.keys()
  for file, step in kept.items():
    assert store.read_arrays(saved / file).meta["step"] == step


def test_nothing_there(tmp_path):
  restored = checkpoints.restore(tmp_path, NAME)
  assert restored.step is None
  assert not restored.problems


@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.999])
def test_the_one_before_is_used_and_the_damaged_one_is_kept(saved, place):
  newest = saved / checkpoints.NEWEST
  damaged = damage(newest, place)
  restored = checkpoints.restore(saved, NAME)
  assert restored.step == 2
  assert restored.arrays["b"].tolist() == [2, 0]
  (problem,) = restored.problems
  assert f"{newest} is damaged" in problem
  assert not newest.exists()
  assert (saved / "state.damaged").read_bytes() == damaged
  # The number is free again, and the next save takes it.
  save(saved, 3)
  assert checkpoints.restore(saved, NAME).step == 3
  # A second one has a place of its own.
  damage(newest)
  assert checkpoints.restore(saved, NAME).step == 2
  assert (saved / "state.damaged").read_bytes() == damaged
  assert (saved / "state.damaged1").exists()


@pytest.mark.parametrize("left", [0, 5, 100])
def test_half_written_states_are_passed_over(saved, left):
  newest = saved / checkpoints.NEWEST
  newest.write_bytes(newest.read_bytes()[:left])
  restored = checkpoints.restore(saved, NAME)
  assert restored.step == 2
  assert len(restored.problems) == 1


def test_all_damaged_is_said_and_nothing_is_deleted(saved):
  for name in (checkpoints.NEWEST, checkpoints.PREVIOUS):
    (saved / name).write_bytes(b"")
  restored = checkpoints.restore(saved, NAME)
  assert restored.step is None
  assert len(restored.problems) == 2
  assert len(list(saved.iterdir())) == 2


def test_what_is_no_state_is_not_used(saved):
  """Parameters of the same run, a state of another, a directory."""
  newest = saved / checkpoints.NEWEST
  store.write_arrays(newest, ARRAYS, name=NAME)
  assert "holds no state" in checkpoints.restore(saved, NAME).problems[0]
  (saved / "other").mkdir()
  checkpoints.save(saved / "other", 9, ARRAYS, name="another")
  (saved / "other" / checkpoints.NEWEST).replace(newest)
  assert "holds the run another" in checkpoints.restore(saved, NAME).problems[0]
  newest.mkdir()
  restored = checkpoints.restore(saved, NAME)
  assert "must be a file" in restored.problems[0] and restored.step == 2


@pytest.mark.parametrize("step", [3, 2, -1])
def test_a_step_that_is_not_above_the_latest_is_refused(saved, step):
  before = {p: p.read_bytes() for p in saved.iterdir()}
  with pytest.raises(ValueError, match=f"step must be above 3.*got {step}"):
    save(saved, step)
  assert {p: p.read_bytes() for p in saved.iterdir()} == before


def test_a_save_sets_a_damaged_state_aside(saved, capsys):
  """It does not take the place of the whole one before."""
  damage(saved / checkpoints.NEWEST)
  save(saved, 4)
  assert "is damaged" in capsys.readouterr().err
  damage(saved / checkpoints.NEWEST)
  assert checkpoints.restore(saved, NAME).step == 2


def _write_on(directory, begun):
  for step in range(1, 200):
    save(directory, step)
    if step == 1:
      begun.set()


def test_a_reader_of_a_moving_directory_gets_a_whole_state(tmp_path):
  spawn = multiprocessing.get_context("spawn")
  begun = spawn.Event()
  writer = spawn.Process(target=_write_on, args=(tmp_path, begun))
  writer.start()
  assert begun.wait(120)
  steps = []
  while writer.is_alive():
    restored = checkpoints.restore(tmp_path, NAME)
    assert not restored.problems
    assert restored.arrays["b"].tolist() == [restored.step, 0]
    steps.append(restored.step)
  writer.join()
  assert writer.exitcode == 0
  assert steps == sorted(steps)
  assert checkpoints.restore(tmp_path, NAME).step == 199


def test_a_save_that_fails_leaves_what_is_there(saved, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  before = {p: p.read_bytes() for p in saved.iterdir()}
  monkeypatch.setattr("os.fsync", full)
  with pytest.raises(OSError, match="No space"):
    save(saved, 4)
  assert {p: p.read_bytes() for p in saved.iterdir()} == before


def test_a_state_that_cannot_be_read_now_is_not_set_aside(saved, monkeypatch):
  """As on a network file system that is away for a moment."""

  def away(*_):
    raise OSError(5, "Input/output error")

  before = {p.name for p in saved.iterdir()}
  with monkeypatch.context() as patch:
    patch.setattr("pathlib.Path.read_bytes", away)
    with pytest.raises(OSError, match="Input/output error"):
      checkpoints.restore(saved, NAME)
  assert {p.name for p in saved.iterdir()} == before
  assert checkpoints.restore(saved, NAME).step == 3
