"""Processes of one run: what they tell each other, flags, and their parents."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest

from steadygrad.runs import bringing, hosts, parents
from steadygrad.runs.directories import Directory
from steadygrad.runs.hosts import Gone, Hosts

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIMIT = 60


class Service:
  """JAX's store, for threads."""

  def __init__(self):
    self.values, self.changed = {}, threading.Condition()
    self.error = None

  def _fail(self):
    if self.error:
      raise jax.errors.JaxRuntimeError(self.error)

  def key_value_set_bytes(self, key, value):
    self._fail()
    with self.changed:
      assert key not in self.values, "ALREADY_EXISTS"
      self.values[key] = value
      self.changed.notify_all()

  def blocking_key_value_get_bytes(self, key, milliseconds):
    self._fail()
    with self.changed:
      if not self.changed.wait_for(
        lambda: key in self.values, milliseconds / 1e3
      ):
        raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: {key}")
      return self.values[key]

  def key_value_dir_get_bytes(self, root):
    return [kv for kv in self.values.items() if kv[0].startswith(root)]

  def key_value_delete(self, key):
    for name in [k for k in self.values if k == key or k.startswith(f"{key}/")]:
      del self.values[name]


def together(count, function, service=None):
  """[function(host) of each process], in threads."""
  service, results, failures = service or Service(), {}, []

  def work(i):
    try:
      results[i] = function(Hosts(i, count, service))
    except BaseException as e:
      failures.append(e)

  threads = [
    threading.Thread(target=work, args=(i,), daemon=True) for i in range(count)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(LIMIT)
  if failures:
    raise failures[0]
  return [results[i] for i in range(count)]


def test_all_have_what_the_first_one_says(monkeypatch):
  service = Service()

  def work(host):
    told = []
    for i in range(50):
      host.heard()
      told += [host.same([host.index, i]), host.same([host.index, i])]
      host.meet()
    return told

  for told in together(3, work, service):
    assert told == [[0, i] for i in range(50) for _ in range(2)]
  assert len(service.values) < 20  # Old words are forgotten.
  monkeypatch.setattr(hosts, "_PIECE", 10)
  large = "x" * 1234
  assert together(2, lambda host: host.same(large if host.first else "")) == [
    large,
    large,
  ]


def test_one_process_asks_nobody():
  assert hosts.ONE.same(3) == 3 and hosts.ONE.first
  hosts.ONE.meet()
  hosts.ONE.ask_to_stop()
  assert not hosts.ONE.asked_to_stop()


def test_one_asks_the_first_to_stop():
  def work(host):
    if not host.first:
      host.ask_to_stop()
    host.meet()
    return host.asked_to_stop()

  assert together(2, work)[0]


def test_a_process_that_died_is_a_sentence():
  service = Service()
  service.error = "UNAVAILABLE: Failed to send RPC\nand more"
  with pytest.raises(Gone) as error:
    together(2, lambda host: host.same(1), service)
  said = str(error.value)
  assert said.startswith("UNAVAILABLE: Failed to send RPC: another process of")
  assert "Start all of them again with the same commands" in said
  assert "and more" not in said


@pytest.mark.parametrize("disks", ["common", "own"])
def test_the_first_gets_the_files_that_it_lacks(tmp_path, disks):
  runs = [str(i) for i in range(5)]

  def content(part, name):
    return f"{part} of {name}".encode() * 7

  def work(host):
    home = tmp_path / (str(host.index) if disks == "own" else "all")
    lock = "alone" if host.first else "none"
    with Directory(home, "run_dir", lock=lock) as directory:
      host.meet()
      for name in runs[host.index :: host.count]:
        for part, end in (("states", "safetensors"), ("records", "json")):
          (home / part / f"{name}.{end}").write_bytes(content(part, name))
      if host.first and disks == "own":  # Of a smaller budget.
        (home / "records" / "1.json").write_bytes(b"old")
      bringing.bring(host, directory, runs)

  service = Service()
  together(2, work, service)
  home = tmp_path / ("0" if disks == "own" else "all")
  for name in runs:
    for part, end in (("states", "safetensors"), ("records", "json")):
      found = (home / part / f"{name}.{end}").read_bytes()
      assert found == content(part, name)
  sent = [k for k in service.values if "safetensors" in k or ".json" in k]
  assert not sent  # And forgotten, where it was sent.


@pytest.mark.parametrize(
  "given,parts",
  [
    ((True, "h:1", None, None), ("num_processes and process_id must be given",
                                 "coordinator=h:1", "SLURM")),
    ((True, None, 2, None), ("coordinator and process_id", "num_processes=2")),
    ((True, None, None, 0), ("coordinator and num_processes", "process_id=0")),
    ((True, "h:1", 2, None), ("process_id must be given with",)),
    ((False, "h:1", 2, 0), ("distributed must be given with coordinator=h:1",)),
    ((True, "host", 2, 0), ("coordinator must be HOST:PORT", "'host'")),
    ((True, "http://h:1", 2, 0), ("coordinator must be HOST:PORT",)),
    ((True, "h:1", 2, 2), ("process_id must be", "got 2 of 2")),
  ],
)  # fmt: skip
def test_half_given_arguments_are_named(given, parts):
  with pytest.raises(ValueError) as error:
    hosts.check(*given)
  for part in parts:
    assert part in str(error.value)


@pytest.mark.parametrize(
  "given",
  [(False, None, None, None), (True, None, None, None), (True, "h:1", 2, 1)],
)
def test_all_arguments_or_none(given):
  hosts.check(*given)


def test_flags_are_refused_by_the_launcher_and_explained(server, tmp_path):
  words = ("--coordinator=127.0.0.1:1", "--process_id=0")
  told = server.launch("train.py", *words, cwd=tmp_path)
  assert told[0] == 1
  assert "distributed must be given with coordinator=127.0.0.1:1" in told[2]
  status, out, _, _ = server.launch("train.py", "--help", cwd=tmp_path)
  assert status == 0
  for name in ("[no]distributed", "coordinator", "num_processes", "process_id"):
    assert f"  --{name}\n" in out
  out = server.launch("sweep.py", "--help", cwd=tmp_path)[1]
  for name in ("shard", "lease"):
    assert f"  --{name}\n" in out
  told = server.launch("sweep.py", "--shard=3/3", cwd=tmp_path)
  assert told[:2] == (1, "")
  assert "shard must be i/n with 0 <= i < n, got '3/3'" in told[2]


# A program whose child says who it is, and then does as it is told.
CHILD = """
import os, signal, sys, time
from steadygrad.runs import parents
if parents.wanted(sys.argv):
  sys.exit(parents.run())
parents.watch()
print(os.getpid(), flush=True)
end = sys.argv[2]
if end == "sleeps":
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
  time.sleep(600)
os.kill(os.getpid(), int(end)) if end.startswith("-") is False else None
sys.exit(-int(end))
"""


def family(tmp_path, end):
  path = tmp_path / "program.py"
  path.write_text(CHILD)
  return subprocess.Popen(
    [sys.executable, str(path), "--distributed", end],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
  )


@pytest.mark.parametrize(
  "end,status,parts",
  [
    ("-0", 0, ()),
    ("-3", 3, ()),
    ("6", 75, ("program.py: ended by SIGABRT: another process of this run",
               "Start all of them again with the same commands")),
    ("11", 75, ("program.py: ended by SIGSEGV: another process of this run",)),
    ("9", 75, ("program.py: ended by SIGKILL. With the same commands",)),
  ],
)  # fmt: skip
def test_a_parent_says_what_its_child_cannot(tmp_path, end, status, parts):
  process = family(tmp_path, end)
  out, err = process.communicate(timeout=LIMIT)
  assert process.returncode == status
  assert int(out) != process.pid
  assert err.count("\n") == bool(parts)
  for part in parts:
    assert part in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_parent_reaches_the_child(tmp_path, number):
  process = family(tmp_path, "sleeps")
  child = int(process.stdout.readline())
  time.sleep(0.2)  # It sets its handler.
  process.send_signal(number)
  process.wait(LIMIT)  # Not for the pipes, which a child keeps open.
  assert process.returncode == (130 if number == signal.SIGTERM else -9)
  for _ in range(100):  # A dead parent's child dies as well.
    try:
      os.kill(child, 0)
    except ProcessLookupError:
      break
    state = pathlib.Path(f"/proc/{child}/stat")
    if state.exists() and state.read_text().split()[2] == "Z":
      break
    time.sleep(0.05)
  else:
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives")
  process.communicate(timeout=LIMIT)


def test_who_has_a_parent_and_who_does_not(monkeypatch):
  monkeypatch.delenv(parents._PIPE, raising=False)
  assert parents.wanted(["train.py", "--distributed"])
  assert parents.wanted(["train.py", "--distributed=true"])
  assert not parents.wanted(["train.py", "--distributed=false"])
  assert not parents.wanted(["train.py", "--nodistributed"])
  monkeypatch.setenv(parents._PIPE, "3")
  assert not parents.wanted(["train.py", "--distributed"])
