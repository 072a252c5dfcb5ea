r"""Two and four processes of one run, killed and started again.

  PYTHONPATH=src:experiments:. python tests/long/processes.py

Each has one CPU device. Trained apart the seeds have the bits of one process
with as many devices, also where each process has a disk of its own; trained
together a network differs by rounding. Then the first process is killed, and
the last: the others end with status 75 within a minute and say what to do, and
the same commands go on to the same bits. The exit status is 1 if it was
otherwise.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

from steadygrad import records
from steadygrad.runs import hosts
from steadygrad.runs.directories import RECORD
from tests.long import races

TINY = (
  "--length=10 --hidden_size=8 --batch_size=4 --check_every=50 --check_size=20"
  " --test_size=20 --learning_rate=1e-5 --noprogress"
).split()
APART = (*TINY, "--algorithm=msgd_c", "--seeds=4", "--max_updates=20000")
TOGETHER = (*TINY, "--seeds=1", "--max_updates=600", "--shard_batch")
# Sums in another order, of as many updates; records have six digits.
ROUNDING = 1e-4
SECONDS = 300  # For what takes ten.


def free_port() -> int:
  with contextlib.closing(socket.socket()) as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


def launch(home, *words: str, devices: int = 1) -> subprocess.Popen:
  return subprocess.Popen(
    [
      sys.executable,
      str(races.ROOT / "experiments" / "train.py"),
      *words,
      f"--run_dir={home}",
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ
    | {
      "PYTHONPATH": str(races.ROOT / "src"),
      "JAX_NUM_CPU_DEVICES": str(devices),
    },
  )


def several(homes: list, *words: str) -> list[subprocess.Popen]:
  """A process for each directory, which may be one and the same."""
  address = f"127.0.0.1:{free_port()}"
  return [
    launch(
      home,
      *words,
      "--distributed",
      f"--coordinator={address}",
      f"--num_processes={len(homes)}",
      f"--process_id={i}",
    )
    for i, home in enumerate(homes)
  ]


def end(processes: list) -> list[tuple[int, str]]:
  """[(status, what it said)]; kills what does not end."""
  try:
    return [races.end(process) for process in processes]
  finally:
    for process in processes:
      process.kill()


def wait_for_states(homes: list, processes: list) -> None:
  """Until each process has saved something since it was started.

  Before, a process may not have been there yet, for which the others wait.
  """
  began, wanted = time.time(), len(processes) if homes[1:] else 1
  deadline = time.monotonic() + SECONDS
  while time.monotonic() < deadline:
    found = set()
    for path in (p for home in set(homes) for p in home.glob("states/*")):
      with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mtime > began:
          found.add(path)
    if len(found) >= wanted:
      return
    assert all(p.poll() is None for p in processes), end(processes)
    time.sleep(0.01)
  raise AssertionError("no states")


def after_death(processes: list, victim: int, number=signal.SIGKILL):
  """What is wrong with how the others end; sends a signal to one of them."""
  began = time.monotonic()
  processes[victim].send_signal(number)
  for i, (status, said) in enumerate(end(processes)):
    if i == victim:
      continue
    if status != 75 or hosts.ADVICE not in said.splitlines()[-1]:
      yield f"process {i} ended with {status}: {said[-500:]}"
  if (took := time.monotonic() - began) > 60:
    yield f"the others took {took:.0f} s to end"
  print(f"the others ended after {took:.0f} s")


def differ(home, other) -> float:
  """The largest relative difference of two records' curves."""
  most = 0.0
  one, two = (records.read_json(x / RECORD)["curves"] for x in (home, other))
  assert one.keys() == two.keys() and one["update"] == two["update"]
  for name in one:
    x, y = (np.asarray(c[name], float) for c in (one, two))
    gap = np.abs(x - y) / np.maximum(np.abs(y), 1e-3)
    most = max(most, float(np.nanmax(gap)))
  return most


def apart(top: pathlib.Path, count: int):
  alone = top / f"alone-{count}"
  assert races.end(launch(alone, *APART, devices=count))[0] == 0
  expected = races.left(alone)
  own = [top / f"own-{count}-{i}" for i in range(count)]
  for homes in ([top / f"common-{count}"] * count, own):
    for victim in (0, count - 1):
      processes = several(homes, *APART)
      wait_for_states(homes, processes)
      yield from after_death(processes, victim)
    for status, said in end(several(homes, *APART)):
      if status:
        yield f"status {status}: {said[-500:]}"
    if races.left(homes[0]) != expected:
      yield f"not the bits of one process with {count} devices"


def together(top: pathlib.Path, count: int, *words: str):
  alone, home = top / f"one-{count}-{len(words)}", top / f"{count}-{len(words)}"
  single = [w for w in (*TOGETHER, *words) if w != "--shard_batch"]
  assert races.end(launch(alone, *single))[0] == 0
  for number in (signal.SIGTERM, signal.SIGKILL):
    processes = several([home] * count, *TOGETHER, *words)
    wait_for_states([home], processes)
    if number == signal.SIGKILL:
      yield from after_death(processes, count - 1)
      continue
    processes[-1].send_signal(number)
    for status, said in end(processes):
      if status != 130:
        yield f"told to stop, it ended with {status}: {said[-500:]}"
  for status, said in end(several([home] * count, *TOGETHER, *words)):
    if status:
      yield f"status {status}: {said[-500:]}"
  if (most := differ(home, alone)) > ROUNDING:
    yield f"{count} processes differ from one by {most}"
  print(f"{count} processes differ from one by {most:.1e}")


def main() -> int:
  wrong = []
  with tempfile.TemporaryDirectory() as top:
    for count in (2, 4):
      wrong += apart(pathlib.Path(top), count)
      wrong += together(pathlib.Path(top), count)
  for text in wrong:
    print(text, file=sys.stderr)
  print(f"2 and 4 processes, apart and together: {len(wrong)} wrong")
  return int(bool(wrong))


if __name__ == "__main__":
  sys.exit(main())
