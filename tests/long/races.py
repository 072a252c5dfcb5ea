"""Starts two processes on one run directory, again and again.

  PYTHONPATH=src:experiments:tests python tests/long/races.py --starts=20

The second process begins at a random moment of the first: together with it,
while it compiles, trains, writes or has ended. One of them must train to the
record of a run alone, and the other must say that the directory is in use, with
its own status, or return the record. The exit status is 1 if it was otherwise.
"""

import argparse
import collections
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from steadygrad import records
from steadygrad.runs import directories, store, sweeps
from steadygrad.runs.launch import IN_USE

ROOT = pathlib.Path(__file__).resolve().parents[2]
_TASK = (
  "--hidden_size=8 --batch_size=2 --seeds=2 --check_every=20 --check_size=20"
  " --test_size=20 --solved_below=1e-9 --noprogress"
)
# What a process does: its program, its flags, and the flag of its directory.
WORKS = {
  "train": (
    "train.py",
    f"{_TASK} --length=10 --algorithm=msgd_c --max_updates=20000",
    "run_dir",
  ),
  "sweep": (
    "sweep.py",
    f"{_TASK} --length=10,12 --algorithm=msgd_c,msgd_cr --max_updates=4000",
    "sweep_dir",
  ),
  "music": (
    "train.py",
    "--data=jsb --hidden_size=8 --seeds=2 --max_epochs=30 --noprogress",
    "run_dir",
  ),
}
SECONDS = 300  # For one process, which takes ten.


def start(
  run_dir: pathlib.Path, work: str = "train", *more: str
) -> subprocess.Popen:
  """A process of a launcher; music wants $STEADYGRAD_DATA."""
  program, flags, where = WORKS[work]
  words = [*flags.split(), f"--{where}={run_dir}", *more]
  if work == "music":
    words.append(f"--data_dir={os.environ['STEADYGRAD_DATA']}")
  return subprocess.Popen(
    [sys.executable, str(ROOT / "experiments" / program), *words],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
  )


def end(process: subprocess.Popen) -> tuple[int, str]:
  """(exit status, what it said)."""
  _, err = process.communicate(timeout=SECONDS)
  return process.returncode, err


def left(run_dir: pathlib.Path):
  """What is a function of the configuration in a run's directory."""
  made = {}
  paths = [run_dir / directories.RECORD, *sweeps.records_in(run_dir)]
  for path in filter(pathlib.Path.exists, paths):
    made[path.name] = records.read_json(path)
    del made[path.name]["provenance"]
  states = {
    (path.name, name): x.tobytes()
    for path in (run_dir / sweeps.STATES).glob(f"*{sweeps.STATE}")
    for name, x in store.read_arrays(path).arrays.items()
  }
  return made, states


def outcome(status: int, said: str) -> str:
  if status == IN_USE and "is in use by another process" in said:
    return "in use"
  if status == 0:
    return "trained or shown"
  return f"WRONG: status {status}: {said[-500:]}"


def main(starts: int, seed: int) -> int:
  draw, counts, wrong = random.Random(seed), collections.Counter(), []
  with tempfile.TemporaryDirectory() as home:
    alone = pathlib.Path(home, "alone")
    began = time.monotonic()
    assert end(start(alone))[0] == 0
    lasts, expected = time.monotonic() - began, left(alone)
    for number in range(starts):
      run_dir = pathlib.Path(home, str(number))
      first = start(run_dir)
      time.sleep(draw.uniform(0, 1.1 * lasts) if number else 0)
      both = first, start(run_dir)
      found = [outcome(*end(process)) for process in both]
      counts.update(found)
      if "trained or shown" not in found or left(run_dir) != expected:
        found.append("WRONG: not the record of a run alone")
      wrong += [text for text in found if text.startswith("WRONG")]
      leftovers = [p.name for p in run_dir.rglob(".*") if p.name != ".lock"]
      wrong += [f"WRONG: {name} was left" for name in leftovers]
  for text in wrong:
    print(text, file=sys.stderr)
  told = ", ".join(f"{n} {text}" for text, n in sorted(counts.items()))
  print(f"{starts} pairs: {told}; {len(wrong)} wrong")
  return int(bool(wrong))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--starts", type=int, default=20, help="Pairs.")
  parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
  told = parser.parse_args()
  sys.exit(main(told.starts, told.seed))
