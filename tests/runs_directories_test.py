"""The directory of a run: what is refused, what a reader need not write."""

import dataclasses
import json
import os
import stat

import numpy as np
import pytest

from steadygrad import records
from steadygrad.runs import checkpoints, directories, store

NAME = "a-run"
SCHEMA = {"kind": "training", "config": dict, "results": dict}


@dataclasses.dataclass
class Config:
  length: int = 50
  max_updates: int = 100
  max_norm: float = float("inf")


def finished(run_dir, config=None):
  return directories.finished(run_dir, config or Config(), NAME, SCHEMA)


@pytest.fixture
def ended(tmp_path):
  """A run that has ended, and its record."""
  run_dir = tmp_path / "run"
  with directories.prepare(run_dir, Config()):
    checkpoints.save(run_dir, 1, {"w": np.ones(2)}, name=NAME)
    path = run_dir / directories.PARAMETERS
    store.write_arrays(path, {"w": np.ones(2)}, name=NAME)
    config = dataclasses.asdict(Config())
    record = {"kind": "training", "config": config, "results": {"solved": [1]}}
    records.write_json(run_dir / directories.RECORD, record)
  return run_dir, records.plain(record)


def everything(run_dir):
  """Times of all files but the lock, which some versions of filelock touch."""
  return {
    p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.name != store.LOCK
  }


def test_a_record_is_shown_without_writing(ended, monkeypatch):
  """Nor does it matter who holds the directory."""
  run_dir, record = ended
  before = everything(run_dir)
  opened = []

  def watched(path, flags, *rest, **options):
    opened.append(flags)
    return os_open(path, flags, *rest, **options)

  os_open = os.open
  with store.lock(run_dir, "run_dir"), monkeypatch.context() as patch:
    patch.setattr("os.open", watched)
    patch.setattr("os.replace", None)
    run_dir.chmod(0o500)
    try:
      assert finished(run_dir) == record
    finally:
      run_dir.chmod(0o700)
  assert not any(flags & (os.O_WRONLY | os.O_RDWR) for flags in opened)
  assert everything(run_dir) == before


def test_nothing_there_is_no_record(tmp_path):
  assert finished(tmp_path / "run") is None
  assert not (tmp_path / "run").exists()


def test_one_process_at_a_time(tmp_path):
  with directories.prepare(tmp_path, Config()):
    with pytest.raises(ValueError, match=f"run_dir {tmp_path} is in use"):
      directories.prepare(tmp_path, Config())
  directories.prepare(tmp_path, Config()).lock.release()


def test_a_run_that_cannot_begin_holds_no_lock(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(records, "write_json", full)
    with pytest.raises(OSError, match="No space") as error:
      directories.prepare(tmp_path, Config())
  directories.prepare(tmp_path, Config()).lock.release()
  assert error.tb  # It has kept what the failed call knew, a lock for one.


def test_leftovers_are_removed(tmp_path):
  (tmp_path / ".state.safetensors.abcdefgh.tmp").touch()
  (tmp_path / ".parameters.npzabcdefgh").touch()
  directories.prepare(tmp_path, Config()).lock.release()
  assert {p.name for p in tmp_path.iterdir()} == {".lock", "config.json"}
  mode = (tmp_path / "config.json").stat().st_mode
  assert stat.S_IMODE(mode) == 0o644


@pytest.mark.parametrize("act", [finished, directories.prepare])
def test_another_configuration_is_refused(ended, act):
  run_dir, _ = ended
  before = everything(run_dir)
  with pytest.raises(ValueError) as error:
    act(run_dir, Config(length=60))
  for part in ("run_dir", str(run_dir), "length: 50 there, 60 asked for"):
    assert part in str(error.value)
  assert everything(run_dir) == before


def test_the_record_of_another_configuration_is_refused(ended):
  run_dir, record = ended
  other = record | {"config": record["config"] | {"length": 60}}
  records.write_json(run_dir / "record.json", other)
  with pytest.raises(ValueError) as error:
    finished(run_dir)
  for part in ("record.json is the record of another", "length: 60 there, 50"):
    assert part in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "record.json"])
@pytest.mark.parametrize(
  "text", ["[]", "null", "{}", '{"a": ', "[" * 100_000, None]
)
def test_what_is_no_record_is_named(ended, name, text):
  path = ended[0] / name
  path.unlink()
  path.mkdir() if text is None else path.write_text(text)
  with pytest.raises(ValueError) as error:
    finished(ended[0])
  other = name == "config.json" and text == "{}"
  said = f"{ended[0]} holds another configuration" if other else str(path)
  assert said in str(error.value)


@pytest.mark.parametrize("there", ["x", None, [], {}, 1.5])
@pytest.mark.parametrize("name", ["config.json", "record.json"])
def test_a_budget_that_is_none_is_named(ended, name, there):
  run_dir, record = ended
  config = record["config"] | {"max_updates": there}
  holds = config if name == "config.json" else record | {"config": config}
  records.write_json(run_dir / name, holds)
  with pytest.raises(ValueError, match="max_updates: .* there, 100 asked for"):
    finished(run_dir)


def test_a_run_without_its_configuration_is_refused(ended):
  run_dir, _ = ended
  (run_dir / "config.json").unlink()
  for act in (finished, directories.prepare):
    with pytest.raises(ValueError, match="holds a run without its config.json"):
      act(run_dir, Config())
  for name in ("record.json", "parameters.safetensors"):
    (run_dir / name).unlink()
  with pytest.raises(ValueError, match="holds a run without its config.json"):
    directories.prepare(run_dir, Config())


@pytest.mark.parametrize(
  "fate", ["gone", "damaged", "another's", "a directory"]
)
def test_parameters_that_are_not_whole_are_to_be_made_again(
  ended, capsys, fate
):
  run_dir, record = ended
  path = run_dir / "parameters.safetensors"
  if fate == "damaged":
    path.write_bytes(path.read_bytes()[:-1])
  elif fate == "another's":
    store.write_arrays(path, {"w": np.ones(2)}, name="b-run")
  else:
    path.unlink()
  if fate == "a directory":
    path.mkdir()
  assert finished(run_dir) is None
  said = capsys.readouterr().err
  assert str(path) in said and "made again from the run's state" in said
  before = path.read_bytes() if path.is_file() else None
  directories.write_parameters(run_dir, {"w": np.ones(2)}, NAME)
  assert finished(run_dir) == record
  aside = run_dir / "parameters.damaged"
  assert aside.exists() == (fate != "gone")
  if before is not None:
    assert aside.read_bytes() == before


def old(run_dir, *, ended):
  """The directory of a run as versions with Orbax left it."""
  (run_dir / "checkpoints" / "12").mkdir(parents=True)
  config = records.plain(dataclasses.asdict(Config()))
  (run_dir / "config.json").write_text(json.dumps(config))
  if ended:
    record = {"kind": "training", "config": config, "results": {}}
    (run_dir / "record.json").write_text(json.dumps(record))
    np.savez(run_dir / "parameters.npz", meta=np.array("null"), w=np.ones(2))


def test_an_unfinished_run_of_before_is_refused(tmp_path):
  run_dir = tmp_path / "run"
  old(run_dir, ended=False)
  before = everything(run_dir)
  assert finished(run_dir) is None
  with pytest.raises(ValueError) as error:
    directories.prepare(run_dir, Config())
  for part in ("run_dir", str(run_dir), "Orbax", "commit 06c551e", "another"):
    assert part in str(error.value)
  assert everything(run_dir) == before


def test_a_finished_run_of_before_is_read(tmp_path):
  run_dir = tmp_path / "run"
  old(run_dir, ended=True)
  assert finished(run_dir)["kind"] == "training"
  path = directories.parameters_path(run_dir)
  assert path.name == "parameters.npz"
  np.testing.assert_array_equal(store.read_arrays(path).arrays["w"], [1, 1])
  path.unlink()
  with pytest.raises(ValueError, match="commit 06c551e"):
    directories.prepare(run_dir, Config())
