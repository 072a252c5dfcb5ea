"""The loop of the host: runs go through slots, and what is left is kept.

A run that has ended gives its slot to the next. Nothing here changes a number.
Other processes may work on the same directory: each takes the runs that nobody
has, and waits for those that somebody has, for they may be left behind.
"""

import collections
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from steadygrad.runs import grids, launch, signals
from steadygrad.runs.claims import Claim, Lost
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
# Between two looks at the runs of other processes, at least; and the share of
# the time that the looks may take.
LOOK_SECONDS, LOOK_SHARE = 2.0, 0.05
STOP_SECONDS = 2.0  # Which one that is to stop waits to write the ledger.


class Taken(NamedTuple):
  """A run that this process has."""

  config: Config
  claim: Claim


class Queue:
  """The runs still to start, in order; shared by the fleets."""

  def __init__(self, configs: list[Config], directory: Directory, tally: Tally):
    self._waiting = collections.deque(configs)
    self._others: list[Config] = []  # Runs that other processes have,
    self._unread: list[Config] = []  # and those that they have ended.
    self._directory, self._tally = directory, tally
    self._lock = threading.Lock()
    self._next_look = 0.0

  def take(self, count: int, like: Config | None) -> list[Taken]:
    """The next `count` runs of one program: that of `like`, if given."""
    with self._lock:
      began = time.perf_counter()
      looks = bool(self._others) and began >= self._next_look
      if looks:
        self._waiting.extend(self._others)
        self._others.clear()
      taken: list[Taken] = []
      while len(taken) < count and self._waiting:
        config = self._waiting[0]
        if like is not None and program(config) != program(like):
          break
        self._waiting.popleft()
        if (claim := self._claim(config)) is not None:
          taken.append(Taken(config, claim))
          like = config
      if looks or not self._next_look:
        spent = (time.perf_counter() - began) / LOOK_SHARE
        # Processes that were started together do not look together.
        pause = max(spent, LOOK_SECONDS) * random.uniform(0.75, 1.25)
        self._next_look = began + pause
      return taken

  def _claim(self, config: Config) -> Claim | None:
    """The claim on a run; None if another process has it or has ended it."""
    name = self._tally.name_of(config)
    if self._tally.ended_by_others(name):
      self._unread.append(config)
      return None
    claim = self._directory.claims.take(name)
    if claim is None:
      self._others.append(config)
    elif self._tally.ended_by_others(name):  # In the meantime.
      self._unread.append(config)
      self._directory.claims.release(claim)
      return None
    return claim

  def lose(self, config: Config) -> None:
    """Another process has taken this run over."""
    say(f"{self._tally.name_of(config)}: another process has taken it over")
    with self._lock:
      self._others.append(config)

  def waits(self, stop: threading.Event) -> bool:
    """Whether there may be runs to take; after some time if others have them.

    Once all have ended, what the others have ended is looked at: a process with
    a smaller budget may have cut a run that goes on here.
    """
    with self._lock:
      if not (self._waiting or self._others) and self._unread:
        ended = [self._tally.name_of(config) for config in self._unread]
        left = self._tally.settle(ended, stop)
        self._waiting.extend(
          c for c in self._unread if self._tally.name_of(c) in left
        )
        self._unread.clear()
        return bool(self._waiting) and not stop.is_set()
      left = bool(self._waiting or self._others)
      pause = max(self._next_look - time.perf_counter(), 0)
    return left and not stop.wait(pause)


class _Worker(NamedTuple):
  """What a fleet's thread does."""

  fleet: Fleet
  queue: Queue
  directory: Directory
  tally: Tally
  on_check: OnCheck | None

  def run(self, stop: threading.Event) -> None:
    """Fills the free slots, moves all by a part, keeps it, and so on."""
    jobs: list[Job] = []
    while True:
      self._fill(jobs)
      if jobs:
        self._move([job for job in jobs if job.final is None])
        stopping = stop.is_set()
        jobs = self._keep(jobs, stopping)
        if stopping:
          return
      elif not self.queue.waits(stop):
        return

  def _fill(self, jobs: list[Job]) -> None:
    like = jobs[0].config if jobs else None
    for config, claim in self.queue.take(self.fleet.size - len(jobs), like):
      try:
        jobs.append(self.fleet.start(config, self.directory, claim))
      except Lost:
        self.queue.lose(config)

  def _move(self, going: list[Job]) -> None:
    if not going:
      return
    updates, told = self.fleet.advance(going)
    self.tally.moved(going, updates, told)
    for job, info in zip(going, told or [], strict=bool(told)):
      if self.on_check is not None and job.held():
        told = {"run": job.name} | {k: v.item() for k, v in info.items()}
        self.on_check(Check(told, job.last.state.params))

  def _keep(self, jobs: list[Job], stopping: bool) -> list[Job]:
    """Writes states and records; the jobs that go on."""
    kept = []
    for job in jobs:
      # The state before the record: one without the other could not go on.
      try:
        job.save(self.directory, force=stopping or job.final is not None)
        kept.append(job)
      except Lost:
        self.queue.lose(job.config)
    ended = [job for job in kept if job.final is not None]
    for job, record in zip(ended, self.fleet.records(ended), strict=True):
      try:
        made = self.directory.write_record(job.name, record, job.claim)
      except Lost:
        self.queue.lose(job.config)
      else:
        self.tally.finished(job, made["results"])
    for job in kept if stopping else ended:
      if job.claim is not None:
        self.directory.claims.release(job.claim)
    return [job for job in kept if job.final is None]


def run(
  configs: list[Config],
  directory: Directory,
  fleets: list[Fleet],
  *,
  now: list[Config] | None = None,
  progress: bool = True,
  on_check: OnCheck | None = None,
  asked_to_stop: Callable[[], bool] = lambda: False,
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
    asked_to_stop: whether another process was told to stop; called now and
      then.

  Returns:
    The ledger.

  Raises:
    Stopped: after SIGINT or SIGTERM, within seconds, states saved.
  """
  tally = Tally(directory, configs, progress)
  runs = tally.waiting() if now is None else now
  queue = Queue(runs, directory, tally)
  stop, failures = threading.Event(), list[BaseException]()
  if todo := _todo(runs):
    begun = tally.begun(runs)
    before = f", {begun} of them begun before" if begun else ""
    say(f"compiling for {_devices(fleets)}, then {todo}{before}")

  def guarded(own: Fleet):
    try:
      _Worker(own, queue, directory, tally, on_check).run(stop)
    except BaseException as e:
      failures.append(e)
      stop.set()

  def tell():
    return when(f.parts for f in fleets), "each run's last saved state"

  threads = [threading.Thread(target=guarded, args=(own,)) for own in fleets]
  with signals.stopping(tell) as told:
    _join(threads, told, stop, asked_to_stop)
  tally.bar.close()
  try:
    tally.write(STOP_SECONDS if told or failures else None)
  except OSError:
    if not failures:  # Of a full disk the first failure is told.
      raise
  for failure in failures:
    raise failure
  if told and tally.waiting():
    raise Stopped(f"stopped by {told[0]}; the same command goes on from here")
  return tally.ledger()


def _join(
  threads: list[threading.Thread],
  told: list[str],
  stop: threading.Event,
  asked_to_stop: Callable[[], bool],
) -> None:
  """Runs threads to their end; sets `stop` once `told` has a signal."""
  for thread in threads:
    thread.start()
  for thread in threads:
    while thread.is_alive():
      thread.join(0.2)
      if not told and asked_to_stop():
        told.append("another process")
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
