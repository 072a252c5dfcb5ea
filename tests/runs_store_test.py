"""One run, one file: bits, names, locks, and what killed writers leave."""

import io
import multiprocessing
import os
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from steadygrad import files
from steadygrad.runs import store

ARRAYS = {
  "state.params['w']": np.arange(12, dtype=np.float32).reshape(3, 4).T,
  "state.step": np.int32([7]),
  "curve.update": np.arange(3),
  "curve.finite": np.array([[True], [False], [True]]),
  "curve.loss": np.array([[np.nan], [-0.0], [np.inf]], np.float32),
  "scalar": jnp.float32(2.5),
  "empty": np.zeros((0, 3), np.uint8),
}
META = {"spent": {"seconds": 0.1, "updates": 3}, "told": "ü"}


def test_what_goes_in_comes_out_to_the_bit(tmp_path):
  path = tmp_path / "a.safetensors"
  store.write_arrays(path, ARRAYS, META, name="a-run")
  arrays, meta, name = store.read_arrays(path, "a-run")
  assert (meta, name) == (META, "a-run")
  assert arrays.keys() == ARRAYS.keys()
  for key, x in ARRAYS.items():
    assert arrays[key].dtype == x.dtype and arrays[key].shape == x.shape
    assert arrays[key].tobytes() == np.asarray(x).tobytes()
  before = path.read_bytes()
  store.write_arrays(path, arrays, meta, name=name)
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_other_readers_of_the_format_read_it(tmp_path):
  path = tmp_path / "a.safetensors"
  store.write_arrays(path, ARRAYS, META, name="a-run")
  with safetensors.safe_open(path, "np") as f:
    assert set(f.keys()) == ARRAYS.keys()
    np.testing.assert_array_equal(
      f.get_tensor("curve.update"), ARRAYS["curve.update"]
    )
    assert f.metadata().keys() == {"run"}


def test_every_flipped_bit_is_noticed(tmp_path):
  path = tmp_path / "a.safetensors"
  store.write_arrays(path, ARRAYS, META, name="a-run")
  whole = path.read_bytes()
  for place in range(8 * len(whole)):
    data = bytearray(whole)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a.safetensors is damaged"):
      store.read_arrays(path)


@pytest.mark.parametrize(
  "data",
  [b"", b"\0", b"hello, world", b"\2" + b"\0" * 7 + b"{}", b"\xff" * 100],
)
@pytest.mark.parametrize("name", ["a.safetensors", "a.npz"])
def test_what_is_no_such_file_is_named(tmp_path, name, data):
  path = tmp_path / name
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f"{name} is damaged"):
    store.read_arrays(path)
  path.unlink()
  with pytest.raises(FileNotFoundError):
    store.read_arrays(path)
  path.mkdir()
  with pytest.raises(ValueError, match=f"{name} must be a file"):
    store.read_arrays(path)


def test_a_file_of_another_run_is_refused(tmp_path):
  path = tmp_path / "a.safetensors"
  store.write_arrays(path, ARRAYS, META, name="a-run")
  with pytest.raises(
    ValueError, match="a.safetensors holds the run a-run, not"
  ):
    store.read_arrays(path, "b-run")


@pytest.mark.parametrize(
  "x", [np.array([None]), np.complex128(1j), jnp.bfloat16(1), np.array(["a"])]
)
def test_what_the_format_cannot_hold_is_named(tmp_path, x):
  with pytest.raises(ValueError, match="booleans, integers or floats.* at w"):
    store.write_arrays(tmp_path / "a.safetensors", {"w": x}, name="a")
  assert not list(tmp_path.iterdir())


def old_file(path, **arrays):
  """As runs wrote before."""
  np.savez_compressed(path, meta=np.array('{"spent": 1}'), **arrays)


def test_files_of_before_are_read(tmp_path):
  path = tmp_path / "a.npz"
  arrays = {"state.step": np.int32([3]), "curve.loss": np.ones((40, 1))}
  old_file(path, **arrays)
  stored = store.read_arrays(path, "any name")
  assert (stored.meta, stored.name) == ({"spent": 1}, None)
  assert stored.arrays.keys() == arrays.keys()
  np.testing.assert_array_equal(stored.arrays["curve.loss"], np.ones((40, 1)))


def test_no_flipped_bit_hides_an_array_of_before(tmp_path):
  """In a zip's directory, which no checksum covers."""
  path = tmp_path / "a.npz"
  rng = np.random.default_rng(0)
  names = [f"curve.{name}" for name in ("loss", "error", "omega", "update")]
  old_file(path, **{name: rng.normal(size=30) for name in names})
  whole, expected = path.read_bytes(), store.read_arrays(path).arrays
  with zipfile.ZipFile(io.BytesIO(whole)) as archive:
    start = archive.start_dir
  hidden = 0
  for place in range(8 * start, 8 * len(whole)):
    data = bytearray(whole)
    data[place // 8] ^= 1 << place % 8
    try:
      with np.load(io.BytesIO(data)) as archive:
        found = {name: archive[name] for name in archive.files}
      hidden += found.keys() != expected.keys() | {"meta"}
    except Exception:
      continue
    path.write_bytes(data)
    try:
      got = store.read_arrays(path).arrays
    except ValueError as e:
      assert "a.npz is damaged" in str(e)
    else:
      assert got.keys() == expected.keys()
      for name, x in got.items():
        np.testing.assert_array_equal(x, expected[name])
  assert hidden > 10  # There is something to be noticed.


def _hold(directory, held, let_go):
  with store.lock(directory, "run_dir"):
    held.set()
    let_go.wait(120)


def test_another_process_is_kept_out_until_the_holder_ends(tmp_path):
  directory = tmp_path / "run"
  spawn = multiprocessing.get_context("spawn")
  for ends in ("by itself", "killed"):
    held, let_go = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_hold, args=(directory, held, let_go))
    holder.start()
    assert held.wait(120)
    with pytest.raises(ValueError) as error:
      store.lock(directory, "run_dir")
    assert str(error.value) == (
      f"run_dir {directory} is in use by another process; name another"
    )
    holder.kill() if ends == "killed" else let_go.set()
    holder.join()
    with store.lock(directory, "run_dir"):
      pass


def test_a_lock_is_held_by_what_is_returned(tmp_path):
  held = store.lock(tmp_path, "sweep_dir")
  with pytest.raises(ValueError, match=f"sweep_dir {tmp_path} is in use"):
    store.lock(tmp_path, "sweep_dir")
  held.lock.release()
  store.lock(tmp_path, "sweep_dir").lock.release()


@pytest.mark.parametrize(
  "error",
  [OSError(37, "No locks available"), NotImplementedError("no flock here")],
)
def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, error):
  def acquire(self, *_, **__):
    raise error

  monkeypatch.setattr("filelock.FileLock.acquire", acquire)
  with pytest.raises(ValueError) as said:
    store.lock(tmp_path, "run_dir")
  for part in ("run_dir", str(tmp_path), "written and locked", str(error)):
    assert part in str(said.value)


def test_a_place_that_is_a_file_is_named(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(ValueError, match="run_dir must be a directory that can"):
    store.lock(tmp_path / "file" / "run", "run_dir")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "a"
  files.write_whole(path, b"old")

  def full(*_):
    raise OSError(28, "No space left on device")

  for name in ("os.fsync", "os.replace"):
    with monkeypatch.context() as patch:
      patch.setattr(name, full)
      with pytest.raises(OSError, match="No space"):
        files.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_bytes_are_on_the_disk_before_the_name_and_the_name_after(
  tmp_path, monkeypatch
):
  done = []
  fsync, replace = os.fsync, os.replace
  monkeypatch.setattr(
    "os.fsync", lambda handle: (done.append("fsync"), fsync(handle))
  )
  monkeypatch.setattr(
    "os.replace", lambda *paths: (done.append("replace"), replace(*paths))
  )
  files.write_whole(tmp_path / "a", b"new")
  assert done == ["fsync", "replace", "fsync"]


def test_leftovers_of_killed_writers_are_removed(tmp_path, monkeypatch):
  monkeypatch.setattr("os.unlink", lambda path: None)  # Killed.
  for name in ("record.json", "state.safetensors"):
    with monkeypatch.context() as patch:
      patch.setattr("os.replace", lambda *_: 1 / 0)
      with pytest.raises(ZeroDivisionError):
        files.write_whole(tmp_path / name, b"half")
  monkeypatch.undo()
  assert len(list(tmp_path.iterdir())) == 2
  old = (
    ".parameters.npzab1_d2ef",
    ".record.jsonabcdefgh",
    ".temporal_order-50-x-msgd-12345678-0.npz12345678",
    ".temporal_order-50-x-msgd-12345678-0.npz.merging",
    ".a.json.merging",
  )
  kept = (".lock", "record.json", "a.npz", ".hidden", ".a.json", "b.tmp")
  for name in (*old, *kept):
    (tmp_path / name).touch()
  files.remove_leftovers(tmp_path, "parameters.npz")
  assert not (tmp_path / old[0]).exists() and (tmp_path / old[1]).exists()
  files.remove_leftovers(tmp_path)
  assert {p.name for p in tmp_path.iterdir()} == set(kept)
