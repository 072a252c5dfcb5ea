"""The loop of the host: runs go through slots, and what is left is kept.

A run that has ended gives its slot to the next. Nothing here changes a number.
"""

import collections
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from steadygrad import records
from steadygrad.runs import grids, launch, names, signals, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.fleet import Fleet, Job
from steadygrad.runs.parts import when
from steadygrad.runs.signals import Stopped, say
from steadygrad.training.config import BUDGETS, Config, program

LEDGER = "ledger.json"
LEDGER_SECONDS = 30  # Between two ledgers, at least.
_OUTCOMES = ("solved", "stopped", "diverged", "cut")
# What a bar shows of the last judgement, and how.
_SHOWN = {"loss": "{:.3f}", "error": "{:.1%}", "valid": "{:.3f}"}

OnCheck = Callable[[dict[str, Any]], None]


class Queue:
  """The runs still to start, in order; shared by the fleets."""

  def __init__(self, configs: list[Config]):
    self._waiting = collections.deque(configs)
    self._lock = threading.Lock()

  def take(self, count: int, like: Config | None) -> list[Config]:
    """The next `count` runs of one program: that of `like`, if given."""
    with self._lock:
      if like is None and self._waiting:
        like = self._waiting[0]
      wanted = like and program(like)
      taken = []
      while len(taken) < count and self._waiting:
        if program(self._waiting[0]) != wanted:
          break
        taken.append(self._waiting.popleft())
      return taken


class Tally:
  """What is done and left, in a bar and in the ledger."""

  def __init__(
    self, directory: Directory, configs: list[Config], progress: bool
  ):
    self._directory, self._lock = directory, threading.Lock()
    self._configs = {names.run_name(c): c for c in configs}
    self._results = {
      name: directory.finished(c) for name, c in self._configs.items()
    }
    self._steps = {
      name: directory.made(self._configs[name])
      for name, results in self._results.items()
      if results is None
    }
    self._begun = self._steps.keys() & sweeps.state_names(directory.path)
    self._periods: dict[str, int] = {}
    self._began, self._work, self._written = time.perf_counter(), 0, 0.0
    self.bar = tqdm(
      total=sum(self._budget(name) for name in self._steps),
      initial=sum(self._steps.values()),
      unit=" updates",
      unit_scale=True,
      disable=not progress,
      file=sys.stderr,
      dynamic_ncols=True,
    )

  def _budget(self, name: str) -> int:
    """Updates of a run at most; passes, where nobody knows yet how long.

    So are those that it has made, in `_steps`.
    """
    config = self._configs[name]
    budget = getattr(config, BUDGETS[type(config)])
    return budget * self._periods.get(name, 1)

  def begun(self, runs: list[Config]) -> int:
    """How many of these unfinished runs have a state to go on from."""
    return sum(names.run_name(c) in self._begun for c in runs)

  def waiting(self) -> list[Config]:
    """Runs without a final record, in order."""
    return [c for n, c in self._configs.items() if self._results[n] is None]

  def moved(
    self, jobs: list[Job], updates: int, told: list[dict] | None
  ) -> None:
    """Jobs of one program have made so many updates in all."""
    with self._lock:
      self._work += updates * grids.longest(jobs[0].config)
      for job in jobs:
        self._steps[job.name] = int(job.state.step)
        if job.budget != self._budget(job.name):
          self.bar.total -= self._budget(job.name)
          self._periods[job.name] = job.exp.batches.period
          self.bar.total += job.budget
      if time.perf_counter() - self._written > LEDGER_SECONDS:
        self.write()
      if told:
        self._show(told)
      self.bar.update(sum(self._steps.values()) - self.bar.n)

  def _show(self, told: list[dict]) -> None:
    """The last judgement in the bar's end."""
    shown = {
      name: form.format(np.mean([info[name] for info in told]))
      for name, form in _SHOWN.items()
      if name in told[0]
    }
    ended = sum(r is not None for r in self._results.values())
    shown["ended"] = f"{ended}/{len(self._results)}"
    self.bar.set_postfix(shown, refresh=False)

  def finished(self, job: Job, results: dict) -> None:
    """A job has ended, and its record is written."""
    with self._lock:
      self._results[job.name] = results
      # Full, when all is done without the updates that are left.
      self.bar.total -= job.budget - int(job.last.state.step)
      self.bar.refresh()
      say(f"{job.name}: {in_words(results)}")
      self.write()

  def ledger(self) -> dict[str, Any]:
    """Counts by what became of the runs, and updates left at most."""
    groups: dict[str, dict] = {}
    work = 0
    for name, config in self._configs.items():
      words = (grids.subject(config), grids.longest(config), config.algorithm)
      blank = {"runs": 0} | dict.fromkeys(_OUTCOMES, 0) | {"updates_left": 0}
      group = groups.setdefault(" ".join(map(str, words)), blank)
      group["runs"] += 1
      if result := self._results[name]:
        group[outcome(result)] += 1
        continue
      left = max(self._budget(name) - self._steps[name], 0)
      group["updates_left"] += left
      work += left * grids.longest(config)
    rate = self._work / (time.perf_counter() - self._began)
    total: dict[str, Any] = {
      key: sum(g[key] for g in groups.values())
      for key in ("runs", *_OUTCOMES, "updates_left")
    }
    total["seconds_left_at_most"] = work / rate if rate else None
    return total | {"groups": groups}

  def write(self) -> None:
    """Writes the ledger."""
    records.write_json(self._directory.path / LEDGER, self.ledger())
    self._written = time.perf_counter()


def outcome(results: dict[str, Any]) -> str:
  """What became of a run: "solved", "stopped", "diverged" or "cut"."""
  status = results["status"][0]
  return "cut" if status == "running" else status


def in_words(results: dict[str, Any]) -> str:
  """What became of a run, in words."""
  what = outcome(results)
  if "epochs" in results:
    best = results["best_epoch"][0]
    valid = float(results["valid"][0])
    return (
      f"{what} after {results['epochs'][0]} passes; best validation error"
      f" {valid:.3f} {results['unit']}, after pass {best}"
    )
  error = float(results["test_error"][0])
  return f"{what} at {results['updates'][0]} updates, test error {error:.2%}"


def _work(
  fleet: Fleet,
  queue: Queue,
  directory: Directory,
  tally: Tally,
  stop: threading.Event,
  on_check: OnCheck | None,
) -> None:
  """A fleet's loop: fill the free slots, a part of each, empty the ended."""
  jobs: list[Job] = []
  while True:
    like = jobs[0].config if jobs else None
    for config in queue.take(fleet.size - len(jobs), like):
      jobs.append(fleet.start(config, directory))
    if not jobs:
      return
    going = [job for job in jobs if job.final is None]
    if going:
      updates, told = fleet.advance(going)
      tally.moved(going, updates, told)
      for job, info in zip(going, told or [], strict=bool(told)):
        if on_check is not None:
          on_check({"run": job.name} | {k: v.item() for k, v in info.items()})
    stopping = stop.is_set()
    for job in jobs:
      # The state before the record: one without the other could not go on.
      job.save(directory, force=stopping or job.final is not None)
      if job.final is not None:
        path = sweeps.record_path(directory.path, job.name)
        records.write_json(path, fleet.record(job))
        tally.finished(job, sweeps.read_record(path)["results"])
    jobs = [job for job in jobs if job.final is None]
    if stopping:
      return


def run(
  configs: list[Config],
  directory: Directory,
  fleets: list[Fleet],
  *,
  now: list[Config] | None = None,
  progress: bool = True,
  on_check: OnCheck | None = None,
) -> dict[str, Any]:
  """Runs what is not finished; one thread a fleet.

  Args:
    configs: the runs, of one seed each.
    directory: their files.
    fleets: where they run.
    now: those of them to run, of the unfinished; all if None.
    progress: whether to show a bar on standard error.
    on_check: called in the fleet's thread after each judgement of a run with
      {"run": its name, "update" or "epoch": when, and all that was measured}.

  Returns:
    The ledger.

  Raises:
    Stopped: after SIGINT or SIGTERM, within seconds, states saved.
  """
  tally = Tally(directory, configs, progress)
  runs = tally.waiting() if now is None else now
  queue = Queue(runs)
  stop, failures = threading.Event(), list[BaseException]()
  if todo := _todo(runs):
    begun = tally.begun(runs)
    before = f", {begun} of them begun before" if begun else ""
    say(f"compiling for {_devices(fleets)}, then {todo}{before}")

  def guarded(own: Fleet):
    try:
      _work(own, queue, directory, tally, stop, on_check)
    except BaseException as e:
      failures.append(e)
      stop.set()

  def tell():
    return when(f.parts for f in fleets), "each run's last saved state"

  threads = [threading.Thread(target=guarded, args=(own,)) for own in fleets]
  with signals.stopping(tell) as told:
    _join(threads, told, stop)
  tally.bar.close()
  try:
    tally.write()
  except OSError:
    if not failures:  # Of a full disk the first failure is told.
      raise
  for failure in failures:
    raise failure
  if told and tally.waiting():
    raise Stopped(f"stopped by {told[0]}; the same command goes on from here")
  return tally.ledger()


def _join(
  threads: list[threading.Thread], told: list[str], stop: threading.Event
) -> None:
  """Runs threads to their end; sets `stop` once `told` has a signal."""
  for thread in threads:
    thread.start()
  for thread in threads:
    while thread.is_alive():
      thread.join(0.2)
      if told:
        stop.set()


def _devices(fleets: list[Fleet]) -> str:
  return launch.in_words([d for fleet in fleets for d in fleet.devices])


def _todo(runs: list[Config]) -> str:
  """Such as "4 runs of temporal_order, up to 1000 updates each"."""
  if not runs:
    return ""
  subjects = sorted({grids.subject(c) for c in runs})
  told = subjects[0] if len(subjects) == 1 else f"{len(subjects)} tasks"
  most = max(getattr(c, BUDGETS[type(c)]) for c in runs)
  unit = BUDGETS[type(runs[0])].removeprefix("max_").removesuffix("s")
  unit = {"epoch": "pass"}.get(unit, unit)
  plural = unit + ("es" if unit == "pass" else "s") * (most != 1)
  count = launch.counted(len(runs), "run")
  return f"{count} of {told}, up to {most} {plural} each"
