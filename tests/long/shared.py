r"""Three sweeps on one directory: one is killed, or frozen and goes on.

  PYTHONPATH=src:experiments:. python tests/long/shared.py \
    --kills=10 --freezes=3

SIGKILL comes at a random moment after the process has a run. A frozen one is
stopped while it has a run, until another process has taken that run over. In
the end there is one record a run, each told once, with the bits of an
undisturbed sweep, and nothing else is left. The exit status is 1 if it was
otherwise.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

from steadygrad import records
from steadygrad.runs import claims, sweeps, tally
from tests.long import races

LEASE = 3  # Seconds; three processes on two cores are late at times.
PROCESSES = 3
SECONDS = 300  # For what takes twenty.


def claims_of(home: pathlib.Path, process: subprocess.Popen) -> list:
  """Runs that the process has now."""
  of_it = re.compile(rf".*-{process.pid}-\w+\.\d+")
  return [
    path
    for path in home.glob(f"{claims.CLAIMS}/*/*")
    if of_it.fullmatch(path.name) and path.parent.name != tally.LEDGER
  ]


def wait(process: subprocess.Popen, until) -> bool:
  """Waits for it; whether it came before the process had ended."""
  deadline = time.monotonic() + SECONDS
  while not until():
    if process.poll() is not None:
      return False
    assert time.monotonic() < deadline
    time.sleep(0.002)
  return True


def kill(home: pathlib.Path, process: subprocess.Popen, draw) -> str:
  """Kills it up to three seconds after it has a run."""
  if wait(process, lambda: claims_of(home, process)):
    time.sleep(draw.uniform(0, 3))
  told = "killed" if process.poll() is None else "after its end"
  process.kill()
  return told


def freeze(home: pathlib.Path, process: subprocess.Popen) -> str:
  """Stops it while it has a run, until another has that run."""
  while wait(process, lambda: claims_of(home, process)):
    process.send_signal(signal.SIGSTOP)
    if found := claims_of(home, process):
      break
    process.send_signal(signal.SIGCONT)  # It has let go in between.
  else:
    return "after its end"
  wait(process, lambda: not found[0].exists())
  process.send_signal(signal.SIGCONT)
  return "frozen"


def problems(home: pathlib.Path, alone: pathlib.Path, ends: list):
  """What is wrong once all of the processes have ended.

  Args:
    home: the directory.
    alone: that of an undisturbed sweep.
    ends: of each process, whether it was killed, its status, what it said.
  """
  said = "".join(err for _, _, err in ends)
  for killed, status, err in ends:
    if status and not killed:
      yield f"status {status}: {err[-500:]}"
  if races.left(home) != races.left(alone):
    yield "not the records and states of a sweep alone"
  names = [path.stem for path in sweeps.records_in(alone)]
  told = [n for n in names if len(re.findall(rf"{n}: (cut|solv)", said)) > 1]
  if told:
    yield f"{told} ended twice"
  ledger = records.read_json(home / tally.LEDGER)
  if (ledger["runs"], ledger["updates_left"]) != (len(names), 0):
    yield f"the ledger has {ledger}"
  kept = {".lock", tally.LEDGER, sweeps.RECORDS, sweeps.STATES}
  if left := {p.name for p in home.iterdir()} - kept:
    yield f"{left} were left"


def together(home: pathlib.Path, start, harms: list) -> list:
  """Runs processes to their end; of each (whether killed, status, words).

  Args:
    home: the directory.
    start: starts a process.
    harms: what is done to the first ones, functions of home and process.
  """
  processes = [start() for _ in range(PROCESSES)]
  try:
    done = [
      harm(home, process)
      for harm, process in zip(harms, processes, strict=False)
    ]
    done += [""] * (PROCESSES - len(done))
    return [
      (how == "killed", process.wait(SECONDS), process.stderr.read(), how)
      for how, process in zip(done, processes, strict=True)
    ]
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def main(kills: int, freezes: int, seed: int) -> int:
  draw, wrong, told = random.Random(seed), [], collections.Counter()
  os.environ["JAX_NUM_CPU_DEVICES"] = "1"
  with tempfile.TemporaryDirectory() as top:
    alone = pathlib.Path(top, "alone")
    assert races.end(races.start(alone, "sweep"))[0] == 0
    lost = 0
    for number in range(kills + freezes):
      home = pathlib.Path(top, str(number))
      harm = freeze
      if number < kills:
        harm = lambda home, process: kill(home, process, draw)  # noqa: E731
      start = lambda home=home: races.start(  # noqa: E731
        home, "sweep", f"--lease={LEASE}"
      )
      ends = together(home, start, [harm])
      told[ends[0][3]] += 1
      lost += sum(end[2].count("has taken it over") for end in ends)
      wrong += problems(home, alone, [end[:3] for end in ends])
  for text in wrong:
    print(text, file=sys.stderr)
  counts = ", ".join(f"{n} {text}" for text, n in sorted(told.items()))
  print(
    f"{kills + freezes} times {PROCESSES} sweeps: {counts}; {lost} runs taken"
    f" over from one that went on; {len(wrong)} wrong"
  )
  return int(bool(wrong))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=10, help="How many.")
  parser.add_argument("--freezes", type=int, default=3, help="How many.")
  parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
  given = parser.parse_args()
  sys.exit(main(given.kills, given.freezes, given.seed))
