"""The queue of a sweep, its slots' loops, and the ledger of what is left."""

import collections
import contextlib
import sys
import threading
import time

import grids
import jax
import starts
from parts import when
from slots import Job, Slots
from sweep_store import Store
from tqdm import tqdm

from steadygrad import records
from steadygrad.config import TrainConfig
from steadygrad.runs import launch, memory, names, signals
from steadygrad.runs.signals import Stopped, say
from steadygrad.types import PyTree

ACCELERATOR_SLOTS = 64
LEDGER_SECONDS = 30  # Between two ledgers, at least.


class Queue:
  """The runs still to start, in order; shared by the devices."""

  def __init__(self, configs: list[TrainConfig]):
    self._waiting = collections.deque(configs)
    self._lock = threading.Lock()

  def take(self, count: int, like: TrainConfig | None) -> list[TrainConfig]:
    """The next `count` runs of one program: that of `like`, if given."""
    with self._lock:
      if like is None and self._waiting:
        like = self._waiting[0]
      wanted = like and grids.program(like)
      taken = []
      while len(taken) < count and self._waiting:
        if grids.program(self._waiting[0]) != wanted:
          break
        taken.append(self._waiting.popleft())
      return taken


class Tally:
  """What is done and left, in a bar and in the ledger."""

  def __init__(self, store: Store, configs: list[TrainConfig], progress: bool):
    self._store, self._lock = store, threading.Lock()
    self._results = {names.run_name(c): store.finished(c) for c in configs}
    self._configs = {names.run_name(c): c for c in configs}
    self._steps = {
      name: store.updates(name)
      for name, results in self._results.items()
      if results is None
    }
    self._began, self._work, self._written = time.perf_counter(), 0, 0.0
    self.bar = tqdm(
      total=len(configs),
      initial=sum(r is not None for r in self._results.values()),
      unit=" runs",
      disable=not progress,
      file=sys.stderr,
      dynamic_ncols=True,
    )

  def waiting(self) -> list[TrainConfig]:
    """Runs without a final record, in order."""
    return [c for n, c in self._configs.items() if self._results[n] is None]

  def moved(self, jobs: list[Job], updates: int) -> None:
    """Jobs of one program have made so many updates in all."""
    with self._lock:
      self._work += updates * grids.longest(jobs[0].config)
      self._steps |= {job.name: int(job.state.step) for job in jobs}
      if time.perf_counter() - self._written > LEDGER_SECONDS:
        self.write()
      left = self.ledger()["seconds_left_at_most"]
      self.bar.set_postfix(at_most=_clock(left), refresh=False)
      self.bar.update(0)

  def finished(self, job: Job, results: dict) -> None:
    with self._lock:
      self._results[job.name] = results
      self.bar.update(1)
      error = float(results["test_error"][0])
      say(
        f"{job.name}: {_outcome(results)} at {int(results['updates'][0])}"
        f" updates, test error {error:.2%}"
      )
      self.write()

  def ledger(self) -> dict:
    """Counts by what became of the runs, and updates left at most."""
    groups: dict[str, dict] = {}
    work = 0
    for name, config in self._configs.items():
      words = (config.task, grids.longest(config), config.algorithm)
      group = groups.setdefault(
        " ".join(map(str, words)),
        {"runs": 0, "solved": 0, "diverged": 0, "cut": 0, "updates_left": 0},
      )
      group["runs"] += 1
      if result := self._results[name]:
        group[_outcome(result)] += 1
        continue
      left = max(config.max_updates - self._steps[name], 0)
      group["updates_left"] += left
      work += left * grids.longest(config)
    seconds = time.perf_counter() - self._began
    rate = self._work / seconds
    total = {
      key: sum(g[key] for g in groups.values())
      for key in ("runs", "solved", "diverged", "cut", "updates_left")
    }
    total["seconds_left_at_most"] = work / rate if rate else None
    return total | {"groups": groups}

  def write(self) -> None:
    records.write_json(self._store.directory / "ledger.json", self.ledger())
    self._written = time.perf_counter()


def _outcome(results: dict) -> str:
  """ "solved", "diverged" or "cut"."""
  status = results["status"][0]
  return "cut" if status == "running" else status


def _clock(seconds: float | None) -> str:
  if seconds is None:
    return "?"
  return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d} h"


def work(
  slots: Slots, queue: Queue, store: Store, tally: Tally, stop: threading.Event
) -> None:
  """A device's loop: fill the free slots, a part of each, empty the ended."""
  jobs: list[Job] = []
  while True:
    like = jobs[0].config if jobs else None
    for config in queue.take(slots.size - len(jobs), like):
      jobs.append(slots.start(config, store))
    if not jobs:
      return
    going = [job for job in jobs if not job.ended()]
    if going:
      tally.moved(going, slots.advance(going))
    stopping = stop.is_set()
    for job in jobs:
      # The state before the record: one without the other could not go on.
      job.save(store, force=stopping or job.ended())
      if job.ended():
        record = slots.record(job)
        path = store.record_path(job.name)
        records.write_json(path, record)
        tally.finished(job, records.read_json(path)["results"])
    jobs = [job for job in jobs if not job.ended()]
    if stopping:
      return


def run(
  configs: list[TrainConfig],
  store: Store,
  *,
  now: list[TrainConfig] | None = None,
  parameters: dict[str, PyTree] | None = None,
  slots_per_device: int | None = None,
  progress: bool = True,
) -> dict:
  """Runs what is not finished; one thread a device.

  Args:
    configs: the runs.
    store: their files.
    now: those of them to run, of the unfinished; all if None.
    parameters: of `starts.load`, for the runs that begin with another's.
    slots_per_device: runs at a time.
    progress: whether to show a bar.

  Returns:
    The ledger.

  Raises:
    Stopped: after SIGINT or SIGTERM, within seconds, states saved.
  """
  tally = Tally(store, configs, progress)
  runs = tally.waiting() if now is None else now
  queue = Queue(runs)
  stop, failures, devices = threading.Event(), [], jax.devices()
  default = 1 if jax.default_backend() == "cpu" else ACCELERATOR_SLOTS
  size = slots_per_device or default
  slots = [Slots(device, size, parameters) for device in devices]
  todo = launch.counted(len(runs), "run")
  say(f"{todo} to do on {launch.in_words(devices)}")

  def guarded(own: Slots):
    try:
      work(own, queue, store, tally, stop)
    except BaseException as e:
      failures.append(e)
      stop.set()

  def tell():
    return when(s.parts for s in slots), "each run's last saved state"

  threads = [threading.Thread(target=guarded, args=(own,)) for own in slots]
  with signals.stopping(tell) as told:
    for thread in threads:
      thread.start()
    for thread in threads:
      while thread.is_alive():
        thread.join(0.2)
        if told:
          stop.set()
  tally.bar.close()
  if failures:
    with contextlib.suppress(OSError):  # Of a full disk the first is told.
      tally.write()
    raise failures[0]
  tally.write()
  if told and tally.waiting():
    raise Stopped(f"stopped by {told[0]}; the same command goes on from here")
  return tally.ledger()


def refuse_too_large(
  configs: list[TrainConfig], slots_per_device: int | None
) -> None:
  """ValueError, naming a size, if a run cannot fit into memory."""
  devices = jax.devices()
  at_once = len(devices) * (slots_per_device or 1)
  sizes = (
    lambda c: c.hidden_size,
    lambda c: c.batch_size * grids.longest(c),
    lambda c: c.batch_size * grids.longest(c) * c.hidden_size,
  )
  for config in {max(configs, key=size) for size in sizes if configs}:
    memory.refuse_training(config, devices, at_once)


def run_in_turns(
  configs: list[TrainConfig], store: Store, directory: str | None, **options
) -> dict:
  """`run`, those runs first with which others begin; see `starts.stages`.

  Args:
    configs: the runs.
    store: their files.
    directory: of another sweep, with the runs with which the first turn begins.
    **options: of `run`.

  Raises:
    ValueError: as `starts.load`.
    Stopped: as `run`.
  """
  waiting = [c for c in configs if store.finished(c) is None]
  for turn in starts.stages(waiting):
    parameters = starts.load(directory, turn, store.directory)
    ledger = run(configs, store, now=turn, parameters=parameters, **options)
  return ledger
