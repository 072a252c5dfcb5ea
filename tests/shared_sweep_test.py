"""Several sweeps on one directory; tests/long/shared.py has more of it."""

import os
import random
import shutil
import subprocess
import sys
import threading

import jax
import pytest

from steadygrad import records, runs
from steadygrad.runs import claims, grids, names, queue, sweeps, tally
from steadygrad.runs.directories import Directory
from tests.long import races, shared

FLAGS = (
  *("--length=10", "--hidden_size=8", "--batch_size=2", "--check_every=50"),
  *("--check_size=20", "--test_size=20", "--solved_below=1e-9"),
  *("--learning_rate=0.01,0.02", "--algorithm=msgd_c", "--seeds=3"),
  *("--max_updates=3000", "--noprogress"),
)
TINY = {
  "length": [10],
  "hidden_size": [4],
  "batch_size": [2],
  "algorithm": ["msgd_c"],
  "max_updates": [20],
  "check_every": [10],
  "check_size": [10],
  "test_size": [10],
  "seeds": [6],
}
CONFIGS = grids.expand([{}], TINY)


def test_one_is_killed_and_one_frozen(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
  monkeypatch.setenv("PYTHONPATH", str(races.ROOT / "src"))

  def start(home):
    script = races.ROOT / "experiments" / "sweep.py"
    return subprocess.Popen(
      [sys.executable, str(script), *FLAGS, f"--sweep_dir={home}", "--lease=2"],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  alone, home = tmp_path / "alone", tmp_path / "home"
  first = start(alone)
  assert races.end(first)[0] == 0
  draw = random.Random(os.getpid())
  harms = [
    shared.freeze,
    lambda home, process: shared.kill(home, process, draw),
  ]
  ends = shared.together(home, lambda: start(home), harms)
  assert [end[3] for end in ends] == ["frozen", "killed", ""]
  assert "another process has taken it over" in ends[0][2]
  assert not list(shared.problems(home, alone, [end[:3] for end in ends]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  """One device, so that each sweep compiles once."""
  one = jax.devices()[:1]
  home = tmp_path_factory.mktemp("undisturbed")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    with Directory(home) as directory:
      runs.sweep(CONFIGS, directory, progress=False)
    yield home


def side_by_side(home, *functions):
  """Each function of a `Directory` of its own, in a thread."""
  results, failures = {}, []

  def work(number):
    try:
      with Directory(home) as directory:
        results[number] = functions[number](directory)
    except BaseException as e:
      failures.append(e)

  threads = [
    threading.Thread(target=work, args=(i,)) for i in range(len(functions))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failures
  return [results[i] for i in range(len(functions))]


def sweep(directory):
  return runs.sweep(CONFIGS, directory, progress=False)


def test_two_share_the_runs_and_both_know_all(undisturbed, tmp_path, capsys):
  ledgers = side_by_side(tmp_path, sweep, sweep)
  assert races.left(tmp_path) == races.left(undisturbed)
  told = capsys.readouterr().err
  for config in CONFIGS:
    assert told.count(f"{names.run_name(config)}: cut at 20") == 1
  written = records.read_json(tmp_path / tally.LEDGER)
  for ledger in (*ledgers, written):
    assert (ledger["runs"], ledger["cut"], ledger["updates_left"]) == (6, 6, 0)


@pytest.mark.parametrize("where", ["state", "record"])
def test_a_run_that_was_taken_over_is_not_written(
  undisturbed, tmp_path, monkeypatch, capsys, where
):
  """Its claim goes to another just before; who lost it waits for the record."""
  monkeypatch.setattr(queue, "LOOK_SECONDS", 0.05)
  name = names.run_name(CONFIGS[2])
  method = "write_record" if where == "record" else "save"
  real, taken = getattr(Directory, method), []
  other = claims.Claims(tmp_path, beats=False)
  other.take("another")

  def losing(directory, run, *arguments):
    if run == name and not taken:
      with monkeypatch.context() as patch:
        patch.setattr(other, "_alive", lambda process: False)
        taken.append(other.take(run))
      assert directory.claims.take(run) is None
    return real(directory, run, *arguments)

  def wait(waiting, stop):
    other.close()
    return waits(waiting, stop)

  waits = queue.Queue.waits
  monkeypatch.setattr(Directory, method, losing)
  monkeypatch.setattr(queue.Queue, "waits", wait)
  with Directory(tmp_path) as directory:
    ledger = sweep(directory)
  assert taken and ledger["cut"] == 6
  told = capsys.readouterr().err
  assert f"{name}: another process has taken it over" in told
  assert races.left(tmp_path) == races.left(undisturbed)
  assert {p.name for p in tmp_path.iterdir()} == {
    ".lock",
    tally.LEDGER,
    sweeps.RECORDS,
    sweeps.STATES,
  }


def test_a_ledger_of_others_is_taken_over_only_when_all_are_over(
  undisturbed, tmp_path
):
  """Runs at their last update without a record are not."""
  with Directory(tmp_path) as directory:
    tallied = tally.Tally(directory, CONFIGS, False)
    tallied._steps = dict.fromkeys(tallied._steps, 20)
    tallied.write()
    assert tallied.ledger()["updates_left"] == 0
    other = tally.Tally(directory, CONFIGS, False)
    other.write()
    assert other.ledger()["updates_left"] == 6 * 20
    assert len(other.waiting()) == 6


def test_a_larger_budget_goes_on_with_what_another_process_has_cut(
  undisturbed, tmp_path, monkeypatch
):
  """It began before the other one; their ledgers are of different runs."""
  name, done = names.run_name(CONFIGS[3]), []
  less = [c for c in CONFIGS if c is CONFIGS[3]]
  less = [type(c)(**vars(c) | {"max_updates": 10}) for c in less]
  take = queue.Queue.take

  def first_the_other(waiting, count, like):
    if not done:
      done.append(name)
      with Directory(tmp_path) as other:
        assert runs.sweep(less, other, progress=False)["cut"] == 1
    return take(waiting, count, like)

  monkeypatch.setattr(queue.Queue, "take", first_the_other)
  # Which would see it as well, by chance.
  monkeypatch.setattr(tally.Tally, "_write_soon", lambda tallied: None)
  with Directory(tmp_path) as directory:
    ledger = sweep(directory)
  assert (ledger["cut"], ledger["updates_left"]) == (6, 0)
  assert races.left(tmp_path) == races.left(undisturbed)


def test_a_run_that_ends_between_a_look_and_a_claim_is_not_repeated(
  undisturbed, tmp_path, monkeypatch
):
  with Directory(tmp_path) as directory:
    tallied = tally.Tally(directory, CONFIGS, False)
    waiting = queue.Queue(CONFIGS, directory, tallied)
    take, name = directory.claims.take, names.run_name(CONFIGS[0])

    def just_after(run):
      if run == name:
        path = sweeps.record_path(undisturbed, name)
        shutil.copy(path, sweeps.record_path(tmp_path, name))
      return take(run)

    monkeypatch.setattr(directory.claims, "take", just_after)
    had = waiting.take(9, None)
    assert [run.config for run in had] == CONFIGS[1:]
    monkeypatch.undo()
    assert take(name) is not None  # It was given back.


def test_who_is_told_to_stop_gives_its_runs_back(tmp_path, monkeypatch):
  """Another process need not wait for a lease."""
  stop = threading.Event()
  with Directory(tmp_path) as directory, Directory(tmp_path) as another:
    tallied = tally.Tally(directory, CONFIGS, False)
    waiting = queue.Queue(CONFIGS, directory, tallied)
    had = waiting.take(2, None)
    assert [run.config for run in had] == CONFIGS[:2]
    others = queue.Queue(CONFIGS, another, tally.Tally(another, CONFIGS, False))
    assert [run.config for run in others.take(9, None)] == CONFIGS[2:]
    assert others.take(9, None) == []
    stop.set()
    assert not others.waits(stop)
    for run in had:
      directory.claims.release(run.claim)
    monkeypatch.setattr(others, "_next_look", 0.0)
    assert [run.config for run in others.take(9, None)] == CONFIGS[:2]
