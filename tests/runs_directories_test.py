"""The directory of a run: what is refused, what a reader need not write."""

import dataclasses
import json
import os
import shutil
import stat

import numpy as np
import pytest

from steadygrad import files, records, runs
from steadygrad.runs import names, requests, store, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.training.config import CorpusConfig, TaskConfig

CONFIG = TaskConfig(
  length=12,
  hidden_size=4,
  batch_size=2,
  algorithm="msgd_c",
  seeds=2,
  max_updates=3,
  check_every=2,
  check_size=10,
  test_size=10,
).resolved()
NAMES = [names.run_name(run) for run in names.of_seeds(CONFIG)]


def ended(run_dir, config=CONFIG):
  return requests.ended(run_dir, config)


def prepare(run_dir, config=CONFIG):
  """What `train` does before its first update."""
  with Directory(run_dir, "run_dir") as directory:
    requests.write_config(directory, config)


def train(run_dir, config=CONFIG):
  record = runs.train(config, run_dir, progress=False)
  return {k: v for k, v in record.items() if k != "provenance"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  run_dir = tmp_path_factory.mktemp("trained") / "run"
  train(run_dir)
  return run_dir


@pytest.fixture
def run(trained, tmp_path):
  """A copy of a run that has ended, and its record."""
  shutil.copytree(trained, tmp_path / "run")
  return tmp_path / "run", records.read_json(trained / "record.json")


def everything(run_dir):
  """Times of all files but the lock, which some versions of filelock touch."""
  return {
    p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.name != store.LOCK
  }


def test_a_directory_has_a_file_for_each_thing(run):
  run_dir, record = run
  assert {str(p.relative_to(run_dir)) for p in everything(run_dir)} == {
    "config.json",
    "ledger.json",
    "record.json",
    "records",
    "states",
    *(f"records/{name}.json" for name in NAMES),
    *(f"states/{name}.safetensors" for name in NAMES),
  }
  assert record["config"]["seeds"] == 2
  assert record["results"]["updates"] == [3, 3]


def test_a_record_is_shown_without_writing(run, monkeypatch):
  """Nor does it matter who holds the directory."""
  run_dir, record = run
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
      assert ended(run_dir) == record
    finally:
      run_dir.chmod(0o700)
  assert not any(flags & (os.O_WRONLY | os.O_RDWR) for flags in opened)
  assert everything(run_dir) == before


def test_nothing_there_is_no_record(tmp_path):
  assert ended(tmp_path / "run") is None
  assert not (tmp_path / "run").exists()


def test_one_process_at_a_time(tmp_path):
  with Directory(tmp_path, "run_dir"):
    with pytest.raises(ValueError, match=f"run_dir {tmp_path} is in use"):
      prepare(tmp_path)
  prepare(tmp_path)


def full(*_):
  raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
  "fails", [(records, "write_json"), (files, "remove_leftovers")]
)
def test_a_run_that_cannot_begin_holds_no_lock(tmp_path, monkeypatch, fails):
  with monkeypatch.context() as patch:
    patch.setattr(*fails, full)
    with pytest.raises((OSError, ValueError), match="No space") as error:
      prepare(tmp_path)
  prepare(tmp_path)
  assert error.tb  # It has kept what the failed call knew, a lock for one.


def test_leftovers_are_removed(tmp_path):
  for part in (".", "states", "records"):
    (tmp_path / part).mkdir(exist_ok=True)
    (tmp_path / part / ".a.safetensors.abcdefgh.tmp").touch()
  (tmp_path / ".parameters.npzabcdefgh").touch()
  prepare(tmp_path)
  assert {p.name for p in tmp_path.rglob("*")} == {
    ".lock",
    "config.json",
    "records",
    "states",
  }
  mode = (tmp_path / "config.json").stat().st_mode
  assert stat.S_IMODE(mode) == 0o644


@pytest.mark.parametrize("act", [ended, prepare])
def test_another_configuration_is_refused(run, act):
  run_dir, _ = run
  before = everything(run_dir)
  with pytest.raises(ValueError) as error:
    act(run_dir, dataclasses.replace(CONFIG, length=60))
  for part in ("run_dir", str(run_dir), "length: 12 there, 60 asked for"):
    assert part in str(error.value)
  with pytest.raises(ValueError, match="holds another configuration"):
    act(run_dir, CorpusConfig().resolved())
  assert everything(run_dir) == before


@pytest.mark.parametrize("field,less", [("max_updates", 2), ("seeds", 1)])
def test_a_run_is_not_made_shorter(run, field, less):
  run_dir, _ = run
  old = getattr(CONFIG, field)
  for act in (ended, prepare):
    with pytest.raises(ValueError) as error:
      act(run_dir, dataclasses.replace(CONFIG, **{field: less}))
    for part in (str(run_dir), f"{field} must be at least {old}, got {less}"):
      assert part in str(error.value)
  more = dataclasses.replace(CONFIG, **{field: 9})
  assert ended(run_dir, more) is None
  prepare(run_dir, more)
  assert records.read_json(run_dir / "config.json")[field] == 9
  assert ended(run_dir, more) is None  # Its record is still of the smaller.


def test_the_record_of_another_configuration_is_refused(run):
  run_dir, record = run
  other = record | {"config": record["config"] | {"length": 60}}
  records.write_json(run_dir / "record.json", other)
  with pytest.raises(ValueError) as error:
    ended(run_dir)
  for part in ("record.json is the record of another", "length: 60 there, 12"):
    assert part in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "record.json"])
@pytest.mark.parametrize(
  "text", ["[]", "null", "{}", '{"a": ', "[" * 100_000, None]
)
def test_what_is_no_record_is_named(run, name, text):
  path = run[0] / name
  path.unlink()
  path.mkdir() if text is None else path.write_text(text)
  with pytest.raises(ValueError) as error:
    ended(run[0])
  other = name == "config.json" and text == "{}"
  said = f"{run[0]} holds another configuration" if other else str(path)
  assert said in str(error.value)


@pytest.mark.parametrize("there", ["x", None, [], {}, 1.5])
@pytest.mark.parametrize("name", ["config.json", "record.json"])
def test_a_budget_that_is_none_is_named(run, name, there):
  run_dir, record = run
  config = record["config"] | {"max_updates": there}
  holds = config if name == "config.json" else record | {"config": config}
  records.write_json(run_dir / name, holds)
  with pytest.raises(ValueError, match="max_updates"):
    ended(run_dir)


def test_a_run_without_its_configuration_is_refused(run):
  run_dir, _ = run
  (run_dir / "config.json").unlink()
  said = "holds a run without its config.json"
  for act in (ended, prepare):
    with pytest.raises(ValueError, match=said):
      act(run_dir)
  (run_dir / "record.json").unlink()
  shutil.rmtree(run_dir / "records")
  with pytest.raises(ValueError, match=said):  # Its states are still there.
    prepare(run_dir)
  shutil.rmtree(run_dir / "states")
  prepare(run_dir)


@pytest.mark.parametrize(
  "fate", ["gone", "damaged", "another's", "a directory"]
)
def test_a_state_that_is_not_whole_is_made_again(run, tmp_path, capsys, fate):
  run_dir, record = run
  path, other = [sweeps.state_path(run_dir, name) for name in NAMES]
  whole, kept = path.read_bytes(), other.stat().st_mtime_ns
  if fate == "damaged":
    path.write_bytes(whole[:-1])
  elif fate == "another's":
    path.write_bytes(other.read_bytes())
  else:
    path.unlink()
  if fate == "a directory":
    path.mkdir()
  assert ended(run_dir) is None
  said = capsys.readouterr().err
  assert str(path) in said and "; made again" in said
  before = path.read_bytes() if path.is_file() else None
  made = train(run_dir)
  assert made == {k: record[k] for k in made}
  assert ended(run_dir)["results"] == record["results"]
  arrays = store.read_arrays(path, NAMES[0]).arrays
  (tmp_path / "whole.safetensors").write_bytes(whole)
  expected = store.read_arrays(tmp_path / "whole.safetensors").arrays
  for name, x in expected.items():
    np.testing.assert_array_equal(arrays[name], x)
  assert other.stat().st_mtime_ns == kept
  aside = path.with_suffix(".damaged")
  assert aside.exists() == (fate != "gone")
  if before is not None:
    assert aside.read_bytes() == before


def old(run_dir, *, over):
  """The directory of a run as versions with Orbax left it."""
  (run_dir / "checkpoints" / "12").mkdir(parents=True)
  config = records.plain(dataclasses.asdict(CONFIG))
  (run_dir / "config.json").write_text(json.dumps(config))
  if over:
    np.savez(run_dir / "parameters.npz", meta=np.array("null"), w=np.ones(2))


@pytest.mark.parametrize(
  "what,commit", [("checkpoints", "06c551e"), ("state.safetensors", "4762e34")]
)
def test_an_unfinished_run_of_before_is_refused(tmp_path, what, commit):
  run_dir = tmp_path / "run"
  old(run_dir, over=False)
  if what != "checkpoints":
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / what).write_bytes(b"")
  before = everything(run_dir)
  assert ended(run_dir) is None
  for act in (prepare, train):
    with pytest.raises(ValueError) as error:
      act(run_dir)
    for part in ("run_dir", str(run_dir), what, f"commit {commit}", "another"):
      assert part in str(error.value)
  assert everything(run_dir) == before


def test_a_finished_run_of_before_is_read(run, tmp_path):
  run_dir = tmp_path / "old"
  old(run_dir, over=True)
  shutil.copy(run[0] / "record.json", run_dir)
  assert ended(run_dir)["kind"] == "training"
  assert train(run_dir)["results"] == run[1]["results"]
  # To go on with it takes the version that has made it.
  with pytest.raises(ValueError, match="commit 06c551e"):
    train(run_dir, dataclasses.replace(CONFIG, max_updates=9))
