r"""Kills a run, a sweep or one on music; compares its end with one alone.

  PYTHONPATH=src:experiments:tests python tests/long/kills.py \
    --of=train --kills=40

SIGKILL comes at random moments, half of the time within milliseconds of a file
that is being written. The same command then goes on; each run comes to its end,
to the record and states of a run alone, and no temporary file is left. The exit
status is 1 if it was otherwise.
"""

import argparse
import collections
import contextlib
import pathlib
import random
import sys
import tempfile
import time

import races

from steadygrad.runs import sweeps

WRITING, ENDED = "while it wrote", "after its end"


def saved_at(run_dir: pathlib.Path) -> int:
  """When the newest state was written; 0 if there is none."""
  states = (run_dir / sweeps.STATES).glob(f"*{sweeps.STATE}")
  with contextlib.suppress(FileNotFoundError):
    return max((p.stat().st_mtime_ns for p in states), default=0)
  return 0


def kill(
  run_dir: pathlib.Path, work: str, draw: random.Random, at_writing: bool
) -> str:
  """Starts the run and kills it; whether that was while it wrote."""
  process = races.start(run_dir, work)
  before = saved_at(run_dir)
  most = races.SECONDS if at_writing else 1
  deadline = time.monotonic() + most
  while process.poll() is None and time.monotonic() < deadline:
    writes = any(p.name != ".lock" for p in run_dir.rglob(".*"))
    if writes or saved_at(run_dir) != before:
      break
    time.sleep(0.0005)
  time.sleep(draw.uniform(0, 0.002 if at_writing else 3))
  told = WRITING if at_writing else "at any time"
  if process.poll() is not None:
    told = ENDED
  process.kill()
  process.communicate()
  return told


def problems(run_dir: pathlib.Path, alone: pathlib.Path, work: str):
  """What is wrong with a run that was killed, once it has come to its end."""
  status, said = races.end(races.start(run_dir, work))
  if status:
    yield f"status {status}: {said[-500:]}"
  elif races.left(run_dir) != races.left(alone):
    yield "not the record and states of a run alone"
  for name in (p.name for p in run_dir.rglob("*")):
    if "damaged" in name or (name[0] == "." and name != ".lock"):
      yield f"{name} was left"


def main(work: str, kills: int, seed: int) -> int:
  """A run that ends before its next kill is compared, and another begins."""
  draw, wrong, told, runs = random.Random(seed), [], collections.Counter(), 0
  with tempfile.TemporaryDirectory() as home:
    alone = pathlib.Path(home, "alone")
    races.end(races.start(alone, work))
    while told.total() < kills:
      run_dir = pathlib.Path(home, str(runs))
      run_dir.mkdir(exist_ok=True)
      moment = kill(run_dir, work, draw, told[WRITING] < kills // 2)
      if moment != ENDED:
        told[moment] += 1
      if moment == ENDED or told.total() == kills:
        wrong += problems(run_dir, alone, work)
        runs += 1
  for text in wrong:
    print(text, file=sys.stderr)
  counts = ", ".join(f"{told[t]} {t}" for t in sorted(told))
  print(f"{kills} kills in {runs} of {work}: {counts}; {len(wrong)} wrong")
  return int(bool(wrong))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--of", choices=races.WORKS, default="train")
  parser.add_argument("--kills", type=int, default=20, help="How many.")
  parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
  given = parser.parse_args()
  sys.exit(main(given.of, given.kills, given.seed))
