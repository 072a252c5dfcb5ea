r"""Ten thousand runs that only sleep, by 64 processes on one directory.

  PYTHONPATH=src:experiments:. python tests/long/cluster.py \
    --runs=10000 --processes=64 --seconds=0.1

Each run is claimed, looked for and released as the queue of a sweep does it;
its state and its record are files as large as real ones. The exit status is 1
if a run was lost or done twice. The last line is a record in JSON.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

from steadygrad import records
from steadygrad.runs import names, queue, store, sweeps, tally
from steadygrad.runs.directories import Directory
from steadygrad.training.config import TaskConfig

# What `sweeps.read_record` wants of a record; a curve of 40 judgements.
_CURVE = list(range(40))


def record_of(config) -> dict:
  error = {"test_error": [0.5], "chance_error": 0.75, "chance_loss": 1.4}
  results = {
    "task": config.task,
    "algorithm": config.algorithm,
    "length": config.length,
    "seeds": 1,
    "solved": [False],
    "updates_to_solve": [None],
    "status": ["stopped"],
    "relapses": [0],
    "updates": [config.max_updates],
    "success_rate": 0.0,
    "success_interval": [0.0, 0.8],
    "max_updates": config.max_updates,
    "check_every": config.check_every,
  }
  curves = {"update": _CURVE} | {
    name: [[float(x)] for x in _CURVE] for name in ("loss", "error", "omega")
  }
  return {
    "kind": "training",
    "config": records.plain(vars(config)),
    "results": results | error,
    "curves": curves,
    "provenance": {"updates_per_second": 1.0},
  }


def work(home: pathlib.Path, configs: list, seconds: float, done: int) -> None:
  """A process: takes runs as a fleet of one slot does, until all are over."""
  waited = 0.0
  with Directory(home) as directory:
    told = tally.Tally(directory, configs, False)
    waiting = queue.Queue(configs, directory, told)
    state = {"w": np.zeros(5000, np.float32)}  # 50 units and their optimiser.
    began = time.perf_counter()
    while True:
      started = time.perf_counter()
      taken = waiting.take(1, None)
      if not taken:
        if waiting.waits(_Never()):
          continue
        break
      ((config, claim),) = taken
      waited += time.perf_counter() - started
      time.sleep(seconds)
      started = time.perf_counter()
      name = names.run_name(config)
      path = home / sweeps.STATES / f"{name}{sweeps.STATE}"
      store.write_arrays(path, state, {}, name=name, claim=claim)
      directory.write_record(name, record_of(config), claim)
      with told._lock:
        told._look(name)
        told._write_soon()  # As `finished` does.
      directory.claims.release(claim)
      waited += time.perf_counter() - started
      os.write(done, f"{name} {started:.3f}\n".encode())
    worked = time.perf_counter() - began
    told.write()
  os.write(done, f"= {waited} {worked}\n".encode())


class _Never:
  """An event that is never set."""

  def is_set(self) -> bool:
    return False

  def wait(self, seconds: float) -> bool:
    time.sleep(seconds)
    return False


def main(count: int, processes: int, seconds: float) -> int:
  configs = [TaskConfig(seeds=1, first_seed=i).resolved() for i in range(count)]
  with tempfile.TemporaryDirectory() as top:
    home, log = pathlib.Path(top, "sweep"), pathlib.Path(top, "log")
    done = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    began = time.perf_counter()
    children = []
    for _ in range(processes):
      if not (child := os.fork()):
        status = 1
        try:
          work(home, configs, seconds, done)
          status = 0
        finally:
          os._exit(status)
      children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
    took = time.perf_counter() - began
    told = [line.split() for line in log.read_text().splitlines()]
    runs = collections.Counter(line[0] for line in told if line[0] != "=")
    spent = [float(line[1]) for line in told if line[0] == "="]
    found = {path.stem for path in sweeps.records_in(home)}
    wanted = {names.run_name(config) for config in configs}
    ledger = records.read_json(home / tally.LEDGER)
    sizes = [p.stat().st_size for p in home.rglob("*") if p.is_file()]
    made = {
      "runs": count,
      "processes": processes,
      "run_seconds": seconds,
      "cores": len(os.sched_getaffinity(0)),
      "seconds": round(took, 1),
      "seconds_of_sleep_alone": round(count * seconds / processes, 1),
      "lost": len(wanted - found),
      "done_twice": sum(n > 1 for n in runs.values()),
      "failed_processes": sum(map(bool, ends)),
      "claims_per_second": round(count / took, 1),
      "overhead_per_run_ms": round(1e3 * sum(spent) / count, 2),
      "core_ms_per_run": round(1e3 * sum(os.times()[2:4]) / count, 2),
      "files": len(sizes),
      "bytes": sum(sizes),
      "ledger_runs": ledger["runs"],
      "ledger_updates_left": ledger["updates_left"],
    }
  print(json.dumps(made))
  right = not (made["lost"] or made["done_twice"] or made["failed_processes"])
  right &= (ledger["runs"], ledger["updates_left"]) == (count, 0)
  return int(not right or sum(runs.values()) != count)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--runs", type=int, default=10_000)
  parser.add_argument("--processes", type=int, default=64)
  parser.add_argument("--seconds", type=float, default=0.1, help="Of a run.")
  given = parser.parse_args()
  sys.exit(main(given.runs, given.processes, given.seconds))
