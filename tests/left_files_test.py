"""What runs and sweeps leave: flipped bits, mixed up files, files of before."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from presets import identity_start, memorization_20_bits, quiet_start

from steadygrad import records, runs
from steadygrad.evaluations import lengths, trained
from steadygrad.runs import (
  directories,
  gather,
  grids,
  loading,
  starts,
  store,
  sweeps,
)
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from tests.long import flips

ROOT = pathlib.Path(__file__).resolve().parents[1]
UNFINISHED = ROOT / "experiments" / "results" / "unfinished"
FLIPS = 6  # Of each kind; tests/long/flips.py makes more.
NAMES = [run_name(config) for config in flips.SWEPT]
SEEDS = [run_name(config) for config in flips.SEEDS]


@pytest.fixture(scope="module", autouse=True)
def one_device():
  one = jax.devices()[:1]  # Each further one compiles the sweep's again.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    yield


@pytest.fixture(scope="module")
def left(tmp_path_factory):
  home = tmp_path_factory.mktemp("left")
  flips.leave(home)
  return home


@pytest.fixture
def home(left, tmp_path):
  """A copy, to damage."""
  shutil.copytree(left, tmp_path / "home")
  return tmp_path / "home"


@pytest.mark.parametrize("name", flips.KINDS)
def test_a_flipped_bit_is_noticed_or_harmless(left, name):
  kind = flips.KINDS[name]
  expected = kind.read(left)
  assert flips.same(kind.read(left), expected)
  rng = np.random.default_rng(sorted(flips.KINDS).index(name))
  outcomes = [flips.flip(left, kind, expected, rng) for _ in range(FLIPS)]
  assert set(outcomes) <= {"noticed", "harmless"}
  assert "noticed" in outcomes


def test_all_files_but_pictures_are_flipped(left):
  """But for locks, which are empty, and a ledger, which the sweep's is like."""
  found = {p for kind in flips.KINDS.values() for p in left.glob(kind.file)}
  others = {p for p in left.rglob("*") if p.is_file()} - found
  assert {p.name for p in others} == {".lock", "ledger.json"}


JSON = [name for name, kind in flips.KINDS.items() if ".json" in kind.file]
WRONG = {
  "a list": b"[1]",
  "null": b"null",
  "no key": b"{}",
  "kind alone": b'{"kind": "training"}',
  "nested": b"[" * 100_000,
  "not UTF-8": b'{"kind": "\xff"}',
  "long integers": b'{"kind": ' + b"9" * 5000 + b"}",
  "a directory": None,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", JSON)
def test_json_of_the_wrong_kind_is_named(home, name, wrong):
  kind = flips.KINDS[name]
  path = sorted(home.glob(kind.file))[0]
  path.unlink()
  path.mkdir() if WRONG[wrong] is None else path.write_bytes(WRONG[wrong])
  if name == "ledger" and wrong in ("no key", "kind alone"):
    return  # It is for people: nothing looks for a key.
  with pytest.raises(ValueError) as error:
    kind.read(home)
  where = str(path.parent if name.startswith("config") else path)
  assert where in str(error.value)


def readers(home):
  """What reads a sweep's record, each by itself."""
  path = home / "sweep" / "records" / f"{NAMES[0]}.json"
  begins = dataclasses.replace(
    flips.SWEPT[1], start=NAMES[0].rpartition("-")[0]
  )
  return {
    "gather": lambda: gather.gather(home / "sweep"),
    "load": lambda: flips.load(path),
    "check": lambda: lengths.check(str(path), [10], 20),
    "lengths": lambda: lengths.test(str(path), [10], 20),
    "runs_of": lambda: trained.runs_of(str(home / "sweep")),
    "starts": lambda: starts.load(str(home / "sweep"), [begins]),
  }


@pytest.mark.parametrize("reader", readers(ROOT))
def test_every_reader_of_a_record_notices(home, reader):
  path = home / "sweep" / "records" / f"{NAMES[0]}.json"
  read = readers(home)[reader]
  read()
  whole = path.read_bytes()
  digit = whole.replace(b'"updates": [30]', b'"updates": [31]')
  for data in (digit, b"[1]", b"{}", b"\xff"):
    assert data != whole
    path.write_bytes(data)
    with pytest.raises(ValueError, match=path.name):
      read()


def times(run_dir):
  """Of all files but the lock, which some versions of filelock touch."""
  return {
    p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.name != store.LOCK
  }


def test_a_run_in_use_is_left_alone(home):
  run_dir = home / "stopped"
  before = times(run_dir)
  with store.lock(run_dir, "run_dir"):
    with pytest.raises(ValueError, match=f"run_dir {run_dir} is in use"):
      runs.train(flips.CONFIG, run_dir, progress=False)
  assert times(run_dir) == before


def as_run_before(run_dir, suffix):
  """The directory as train.py left it when a run had one file of all seeds."""
  for path in run_dir.glob("*.json"):
    path.write_text(json.dumps(records.read_json(path)))
  found = [sweeps.read_state(sweeps.state_path(run_dir, n), n) for n in SEEDS]
  joined = {
    name: np.concatenate([own.arrays[name] for own in found])
    for name in found[0].arrays
    if name.startswith("state.params")
  }
  for part in (sweeps.RECORDS, sweeps.STATES):
    shutil.rmtree(run_dir / part)
  path = run_dir / f"parameters{suffix}"
  if suffix == ".npz":
    np.savez_compressed(path, meta=np.array("null"), **joined)
    (run_dir / "checkpoints").mkdir()
    return
  name = loading.name_before(flips.CONFIG)
  store.write_arrays(path, joined, name=name)
  store.write_arrays(run_dir / "state.safetensors", joined, name=name)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_finished_run_of_before_is_read(home, left, suffix):
  """No digests, and a file of parameters of all seeds."""
  run_dir = home / "ended"
  as_run_before(run_dir, suffix)
  before = times(run_dir)
  again = runs.train(flips.CONFIG, run_dir, progress=False)
  assert again == records.read_json(left / "ended" / "record.json")
  loaded = [flips.load(x / "ended") for x in (home, left)]
  assert flips.same(*loaded)
  assert times(run_dir) == before


def test_a_stopped_run_ends_with_the_bits_of_one_that_was_not(home, left):
  runs.train(flips.CONFIG, home / "stopped", progress=False)
  for name in SEEDS:
    found = [
      sweeps.read_state(sweeps.state_path(x, name), name).arrays
      for x in (home / "stopped", left / "ended")
    ]
    assert flips.same(*found)


def load(sweep, index):
  return flips.load_state(sweep, flips.SWEPT[index])


@pytest.fixture
def sweep(home):
  held = Directory(home / "sweep")
  yield held
  held.close()


def test_a_state_of_another_run_is_set_aside(sweep, capsys):
  path = sweeps.state_path(sweep.path, NAMES[1])
  shutil.copy(sweeps.state_path(sweep.path, NAMES[0]), path)
  other = path.read_bytes()
  assert load(sweep, 1) is None
  said = capsys.readouterr().err
  assert f"{path} holds the run {NAMES[0]}, not {NAMES[1]}; set aside" in said
  assert path.with_suffix(".damaged").read_bytes() == other
  assert load(sweep, 0) is not None


def test_a_state_that_cannot_be_read_now_is_not_set_aside(sweep, monkeypatch):
  """As on a network file system that is away for a moment."""

  def away(*_):
    raise OSError(5, "Input/output error")

  before = times(sweep.path)
  with monkeypatch.context() as patch:
    patch.setattr("pathlib.Path.read_bytes", away)
    with pytest.raises(OSError, match="Input/output error"):
      load(sweep, 0)
  assert times(sweep.path) == before
  assert load(sweep, 0) is not None


def test_a_record_of_another_run_is_refused(sweep):
  path = sweeps.record_path(sweep.path, NAMES[1])
  shutil.copy(sweeps.record_path(sweep.path, NAMES[0]), path)
  for read in (
    lambda: sweep.finished(flips.SWEPT[1]),
    lambda: gather.gather(sweep.path),
    lambda: flips.load(path),
  ):
    with pytest.raises(ValueError, match=f"{path} holds the run {NAMES[0]}"):
      read()


def half_of(path):
  path.write_bytes(path.read_bytes()[:-100])


def test_a_merge_says_what_it_passes_over(home, tmp_path, capsys):
  """A damaged state, another run's state, and a damaged record."""
  other = home / "sweep"
  states = [sweeps.state_path(other, name) for name in NAMES]
  paths = [sweeps.record_path(other, name) for name in NAMES]
  half_of(states[0])
  paths[0].unlink()
  half_of(paths[1])
  taken = {}
  for change in ("a damaged record", "and no state"):
    mine = Directory(tmp_path / change)
    taken[change] = mine.merge(other)
    mine.close()
    half_of(states[1])
  assert taken == {"a damaged record": 1, "and no state": 0}
  first, second = capsys.readouterr().err.split(f"{states[1]} is damaged")
  for path in (states[0], paths[1]):
    assert f"{path} is" in first
  assert first.count("; passed over") == 4
  assert second.count("; passed over") == 1
  merged = tmp_path / "a damaged record"
  assert sweeps.state_path(merged, NAMES[1]).exists()
  assert not sweeps.record_path(merged, NAMES[1]).exists()
  assert not sweeps.state_path(merged, NAMES[0]).exists()


def test_a_merge_sets_its_own_damaged_state_aside(sweep, left, capsys):
  path = sweeps.state_path(sweep.path, NAMES[0])
  sweeps.record_path(sweep.path, NAMES[0]).unlink()
  half_of(path)
  half = path.read_bytes()
  assert sweep.merge(left / "sweep") == 1
  assert f"{path} is damaged" in capsys.readouterr().err
  assert path.with_suffix(".damaged").read_bytes() == half
  there = left / "sweep" / "states" / path.name
  assert path.read_bytes() == there.read_bytes()
  assert sweep.finished(flips.SWEPT[0]) is not None


def as_before(sweep):
  """The directory as runs left it when states were .npz."""
  for name in NAMES:
    path = sweep / "states" / f"{name}.safetensors"
    arrays, meta, _ = store.read_arrays(path)
    text = np.array(json.dumps(meta))
    np.savez_compressed(path.with_suffix(".npz"), meta=text, **arrays)
    path.unlink()


def test_states_of_before_go_on(home, left):
  as_before(home / "sweep")
  sweep, now = (Directory(x / "sweep") for x in (home, left))
  progress = load(sweep, 0)
  assert flips.same(progress, load(now, 0))
  sweep.save(NAMES[0], progress)
  for held in (sweep, now):
    held.close()
  assert {p.name for p in (home / "sweep" / "states").iterdir()} == {
    f"{NAMES[0]}.safetensors",
    f"{NAMES[1]}.npz",
  }
  loaded = [
    flips.load(x / "sweep" / "records" / f"{NAMES[1]}.json")
    for x in (home, left)
  ]
  assert flips.same(*loaded)


def test_states_of_before_are_merged_and_carried(home, left, tmp_path):
  as_before(home / "sweep")
  mine = Directory(tmp_path / "mine")
  assert mine.merge(home / "sweep") == 2
  mine.close()
  assert directories.carry([home / "sweep"], tmp_path / "carried", {}) == 2
  for directory in ("mine", "carried"):
    for path in (left / "sweep" / "states").iterdir():
      made = tmp_path / directory / "states" / path.name
      assert made.read_bytes() == path.read_bytes()
  assert directories.carry([home / "sweep"], tmp_path / "carried", {}) == 0


def test_a_damaged_state_is_not_carried(home, tmp_path, capsys):
  path = sweeps.state_path(home / "sweep", NAMES[0])
  half_of(path)
  assert directories.carry([home / "sweep"], tmp_path / "carried", {}) == 1
  assert f"{path} is damaged" in capsys.readouterr().err


def test_leftovers_of_a_killed_sweep_are_removed(home):
  names = (
    ".ledger.jsonabcdefgh",
    "states/.a.npz.merging",
    "records/.a.json_1234567",
  )
  for name in (*names, "states/.a.safetensors.abcdefgh.tmp"):
    (home / "sweep" / name).touch()
  Directory(home / "sweep").close()
  assert not [p for p in (home / "sweep").rglob(".*") if p.name != ".lock"]


def test_the_carried_states_are_of_their_runs():
  found = sorted(UNFINISHED.rglob("states/*"))
  assert len(found) == 4
  for path in found:
    stored = store.read_arrays(path, path.stem)
    (step,) = stored.arrays["state.step"]
    assert step == stored.meta["spent"]["updates"] > 0
    assert stored.arrays["curve.update"][-1] == step


def test_the_carried_states_go_on(tmp_path):
  """They were made when a state's arrays had other names."""
  given = {"seeds": [3], "first_seed": [100]}
  configs = {
    run_name(config): config
    for preset in (identity_start, memorization_20_bits, quiet_start)
    for config in grids.expand(preset.GRIDS, given)
  }
  with Directory(tmp_path) as directory:
    assert directory.merge(UNFINISHED / "tasks") == 4
    for name in sweeps.state_names(tmp_path):
      state, curves, spent = flips.load_state(directory, configs[name])
      assert state.step == spent["updates"] == curves["update"][-1] > 0
      assert directory.made(configs[name]) == state.step
