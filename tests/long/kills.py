r"""Kills a run, a sweep or one on music; compares its end with one alone.

  PYTHONPATH=src:experiments:tests python tests/long/kills.py \
    --of=train --kills=40

SIGKILL comes at random moments, in turns at any time and within milliseconds of
a file that is being written. The same command then goes on; after the kills it
runs to its end, to the record and states of a run alone, and no temporary
file is left. The exit status is 1 if it was otherwise.
"""

import argparse
import contextlib
import pathlib
import random
import sys
import tempfile
import time

import races

from steadygrad.runs import sweeps


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
  told = "while it wrote" if at_writing else "at any time"
  if process.poll() is not None:
    told = "after its end"
  process.kill()
  process.communicate()
  return told


def main(work: str, kills: int, seed: int) -> int:
  draw, wrong = random.Random(seed), []
  with tempfile.TemporaryDirectory() as home:
    alone, run_dir = pathlib.Path(home, "alone"), pathlib.Path(home, "run")
    races.end(races.start(alone, work))
    run_dir.mkdir()
    told = [kill(run_dir, work, draw, bool(n % 2)) for n in range(kills)]
    status, said = races.end(races.start(run_dir, work))
    if status:
      wrong.append(f"status {status}: {said[-500:]}")
    elif races.left(run_dir) != races.left(alone):
      wrong.append("not the record and states of a run alone")
    names = [p.name for p in run_dir.rglob("*")]
    wrong += [f"{n} was left" for n in names if "damaged" in n]
    wrong += [f"{n} was left" for n in names if n[0] == "." and n != ".lock"]
  for text in wrong:
    print(text, file=sys.stderr)
  counts = ", ".join(f"{told.count(t)} {t}" for t in sorted(set(told)))
  print(f"{kills} kills of {work}: {counts}; {len(wrong)} wrong")
  return int(bool(wrong))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--of", choices=races.WORKS, default="train")
  parser.add_argument("--kills", type=int, default=20, help="How many.")
  parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
  given = parser.parse_args()
  sys.exit(main(given.of, given.kills, given.seed))
