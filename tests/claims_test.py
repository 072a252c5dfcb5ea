"""Claims of several processes on one directory; their clock is a file's time.

Each `Claims` here is a process of its own: a lock on a file belongs to who has
opened it, so that one Python process can play several.
"""

import os
import pathlib
import random
import threading

import pytest

from steadygrad.runs import claims
from steadygrad.runs.claims import Claims, Lost

RUN = "temporal_order-50-x-msgd-12345678-0"


@pytest.fixture
def make(tmp_path):
  """make(lease) -> a process with claims, whose heart beats when told to."""
  made = []

  def one(lease=60.0):
    made.append(Claims(tmp_path, lease=lease, beats=False))
    return made[-1]

  yield one
  for process in made:
    process.close()


def file_of(process):
  return process._processes / process.process


def freeze(process, seconds=1000):
  """Its last heartbeat lies so long back."""
  at = os.stat(file_of(process)).st_mtime - seconds
  os.utime(file_of(process), (at, at))


def kill(process):
  """The system lets go of its locks; nothing is cleared up."""
  os.close(process._handle)
  process._handle = None


def test_a_run_is_of_one_process_at_a_time(make, tmp_path):
  first, second = make(), make()
  claim = first.take(RUN)
  assert claim.held()
  assert second.take(RUN) is None and first.take(RUN) is None
  assert second.take("other") is not None
  first.release(claim)
  assert not claim.held()
  assert second.take(RUN).held()
  first.close()
  second.close()
  assert not list(tmp_path.iterdir())


def test_a_process_that_ends_leaves_its_runs_to_others(make):
  first, second = make(), make()
  claims_of_first = [first.take(str(i)) for i in range(3)]
  assert second.take("1") is None
  first.close()
  assert not any(claim.held() for claim in claims_of_first)
  assert all(second.take(str(i)) for i in range(3))


def test_a_killed_process_is_followed_at_once_on_its_machine(make):
  first, second = make(), make()
  first.take(RUN)
  kill(first)
  assert second.take(RUN).held()


def test_on_another_machine_the_heartbeat_alone_tells(make, monkeypatch):
  first, second = make(), make()
  first.take(RUN)
  kill(first)
  monkeypatch.setattr(claims, "machine", lambda: "another")
  assert second.take(RUN) is None
  freeze(first, 59)
  second._seen.clear()
  assert second.take(RUN) is None
  freeze(first, 62)
  second._seen.clear()
  assert second.take(RUN).held()


def test_a_lease_is_its_holders(make):
  patient, hasty = make(lease=1000), make(lease=1)
  patient.take("a")
  hasty.take("b")
  for process in (patient, hasty):
    freeze(process, 100)
  assert patient.take("b") is not None
  # To take it was a sign of life.
  assert hasty.take("a") is None


def test_a_heartbeat_is_renewed(make, tmp_path):
  first, second = make(), make()
  claim = first.take(RUN)
  freeze(first)
  first.beat()
  assert second.take(RUN) is None and claim.held()
  quick = Claims(tmp_path, lease=0.06)
  quick.take("quick")
  freeze(quick)
  before, beaten = file_of(quick).stat().st_mtime, threading.Event()
  for _ in range(500):
    if file_of(quick).stat().st_mtime > before:
      beaten.set()
      break
    beaten.wait(0.01)
  quick.close()
  assert beaten.is_set()


def test_who_was_frozen_writes_nothing(make, tmp_path):
  first, second = make(), make()
  state, damaged = tmp_path / "state", tmp_path / "other"
  damaged.write_bytes(b"mine")
  claim = first.take(RUN)
  claim.write(state, b"before")
  freeze(first)
  taken = second.take(RUN)
  assert taken.held() and not claim.held()
  for write in (
    lambda: claim.write(state, b"late"),
    lambda: claim.set_aside(damaged),
  ):
    with pytest.raises(Lost, match=f"another process has taken {RUN}"):
      write()
  first.release(claim)
  assert taken.held()
  assert state.read_bytes() == b"before" and damaged.read_bytes() == b"mine"
  taken.write(state, b"after")
  assert state.read_bytes() == b"after"
  assert taken.set_aside(state) == tmp_path / "state.damaged"


@pytest.mark.parametrize("moment", ["os.fsync", "os.chmod", "os.replace"])
def test_frozen_at_any_moment_of_a_write(make, tmp_path, monkeypatch, moment):
  """The other takes the run between two system calls of the write."""
  first, second = make(), make()
  place, taken = tmp_path / "state", []
  place.write_bytes(b"before")
  claim = first.take(RUN)
  second.take("other")
  name = moment.partition(".")[2]
  real = getattr(os, name)

  def freezing(*arguments):
    if not taken:
      freeze(first)
      second._seen.clear()
      taken.append(second.take(RUN))
    return real(*arguments)

  with monkeypatch.context() as patch:
    patch.setattr(moment, freezing)
    with pytest.raises(Lost):
      claim.write(place, b"late")
  assert taken[0].held() and not os.listdir(taken[0].path)
  assert place.read_bytes() == b"before"


def test_who_was_frozen_goes_on_with_what_nobody_took(make, tmp_path):
  first, second = make(), make()
  lost, kept = first.take("lost"), first.take("kept")
  freeze(first)
  assert second.take("lost")
  third = make()
  third.take("its own")  # Which finds the first dead, and removes its file.
  assert not file_of(first).exists()
  assert first.take("lost") is None  # By which it is there again.
  assert file_of(first).exists() and not lost.held()
  kept.write(tmp_path / "state", b"kept")
  second._seen.clear()
  assert second.take("kept") is None
  assert first.take("new") is not None


def test_who_was_stopped_itself_takes_nobody_for_dead(make, monkeypatch):
  """Between its look at the other's heartbeat and whatever comes next."""
  first, second = make(), make()
  first.take(RUN)
  second.take("other")
  second._seen.clear()
  stat, beat, stopped = pathlib.Path.stat, second.beat, [0]

  def look(path, **options):
    found = stat(path, **options)
    if path == file_of(first):
      stopped.append(1000)
    return found

  monkeypatch.setattr(pathlib.Path, "stat", look)
  monkeypatch.setattr(second, "beat", lambda: beat() + stopped[-1])
  assert second.take(RUN) is None and stopped[1:]


@pytest.mark.parametrize("data", [b"", b"[", b"{}"])
def test_a_damaged_heartbeat_is_of_the_usual_lease(make, data):
  first, second = make(), make()
  first.take(RUN)
  file_of(first).write_bytes(data)
  assert second.take(RUN) is None
  freeze(first, claims.LEASE + 2)
  second._seen.clear()
  assert second.take(RUN) is not None


def test_killed_between_the_steps_of_a_release(make):
  first, second = make(), make()
  claim = first.take(RUN)
  claim.path.rmdir()
  assert second.take(RUN).held()


def test_what_is_missing_is_no_loss(make, tmp_path):
  claim = make().take(RUN)
  with pytest.raises(FileNotFoundError):
    claim.write(tmp_path / "nowhere" / "state", b"")
  with pytest.raises(FileNotFoundError):
    claim.set_aside(tmp_path / "nothing")
  assert claim.held()
  full = tmp_path / "file"
  full.mkdir()
  with pytest.raises(OSError):
    claim.write(full, b"")
  assert not os.listdir(claim.path)


def share(process, runs, home, draw, lives):
  """Does what is left of the runs; killed with its so many-th."""
  for name in draw.sample(runs, len(runs)):
    record = home / f"record-{name}"
    claim = None if record.exists() else process.take(name)
    if claim is None:
      continue
    if not record.exists():
      if not (lives := lives - 1):
        return kill(process)
      claim.write(record, process.process.encode())
      yield name
    process.release(claim)


def test_many_at_once(make, tmp_path):
  """Each run is done once; half of the processes are killed with a third."""
  runs, done, failures = [str(i) for i in range(120)], [], []

  def work(number):
    try:
      lives, draw = 3 if number % 2 else 1000, random.Random(number)
      done.extend(share(make(), runs, tmp_path, draw, lives))
    except BaseException as e:
      failures.append(e)

  threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
  for part in (threads, [threading.Thread(target=work, args=(8,))]):
    for thread in part:
      thread.start()
    for thread in part:
      thread.join()
  assert not failures
  assert sorted(done) == sorted(runs)
  assert len(list(tmp_path.glob("record-*"))) == len(runs)
