"""The loop of the host: runs go through slots, and what is left is kept.

A run that has ended gives its slot to the next. Nothing here changes a number.
"""

import collections
import threading
from collections.abc import Callable
from typing import Any

from steadygrad import records
from steadygrad.runs import grids, launch, signals, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.fleet import Fleet
from steadygrad.runs.job import Job
from steadygrad.runs.parts import when
from steadygrad.runs.signals import Stopped, say
from steadygrad.runs.tally import Tally
from steadygrad.training.config import BUDGETS, Config, program
from steadygrad.types import PyTree


class Check(dict[str, Any]):
  """What was measured of a run, and when.

  A dictionary with "run", the run's name, "update" or "epoch", and a number for
  each name of a measure.

  Attributes:
    params: the parameters that are trained, at that time; NumPy arrays.
  """

  def __init__(self, values: dict[str, Any], params: PyTree):
    super().__init__(values)
    self.params = params


OnCheck = Callable[[Check], None]


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
          told = {"run": job.name} | {k: v.item() for k, v in info.items()}
          on_check(Check(told, job.last.state.params))
    stopping = stop.is_set()
    for job in jobs:
      # The state before the record: one without the other could not go on.
      job.save(directory, force=stopping or job.final is not None)
    ended = [job for job in jobs if job.final is not None]
    for job, record in zip(ended, fleet.records(ended), strict=True):
      path = sweeps.record_path(directory.path, job.name)
      records.write_json(path, record)
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
    on_check: called in the fleet's thread after each judgement of a run, with
      its `Check`.

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
