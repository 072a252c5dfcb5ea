"""Runs a grid of training runs through a fixed number of slots.

Every field of a configuration is a flag that takes a list, and the grid is
their product; --preset names a grid of experiments/presets. A run that is
solved, has diverged or is out of budget gives its slot to the next, shortest
sequences first. Kill it at any time and start it again: finished runs are not
repeated, unfinished ones go on. A larger --max_updates goes on with the runs
that were cut. The last line on standard output is one JSON object.

  python experiments/sweep.py --task=temporal_order --length=50,100 \
    --init=basic_tanh,smart_tanh --algorithm=msgd,msgd_c,msgd_cr --seeds=5
"""

import collections
import json
import pathlib
import sys
import threading
import time

import grids
import host_loop
import jax
from absl import app, flags, logging
from slots import Job, Slots
from sweep_store import Store
from tqdm import tqdm

from steadygrad import records
from steadygrad.config import TrainConfig

_PRESET = flags.DEFINE_string(
  "preset", None, "A grid of experiments/presets; flags go before its values."
)
_SWEEP_DIR = flags.DEFINE_string(
  "sweep_dir",
  None,
  "Directory of records and states. Default: runs/ and the preset's name, or"
  " runs/sweep. It may hold other grids' runs as well.",
)
_MERGE = flags.DEFINE_list(
  "merge", [], "Directories of other sweeps, whose runs are taken over first."
)
_SLOTS = flags.DEFINE_integer(
  "slots",
  None,
  "Runs at a time on each device. Default: 1 on a CPU's core, 64 elsewhere.",
  lower_bound=1,
)
_PLAN = flags.DEFINE_bool("plan", False, "Print what is left to do, and stop.")
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
grids.define_flags()
flags.adopt_module_key_flags(grids)

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
    self._results = {grids.run_name(c): store.finished(c) for c in configs}
    self._configs = {grids.run_name(c): c for c in configs}
    self._steps = {
      name: result["updates"][0] if result else 0
      for name, result in self._results.items()
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

  def moved(self, jobs: list[Job]) -> None:
    with self._lock:
      for job in jobs:
        step = int(job.state.step)
        old = self._steps[job.name] or step - job.next_updates()
        self._work += max(step - old, 0) * grids.longest(job.config)
        self._steps[job.name] = step
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
      self.bar.write(
        f"{job.name}: {results['status'][0]} at {int(results['updates'][0])}"
        f" updates, test error {error:.2%}",
        file=sys.stderr,
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
        status = result["status"][0]
        group["cut" if status == "running" else status] += 1
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


def _clock(seconds: float | None) -> str:
  if seconds is None:
    return "?"
  return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d} h"


def work(
  slots: Slots, queue: Queue, store: Store, tally: Tally, stop: threading.Event
) -> None:
  """A device's loop: fill the free slots, a chunk of each, empty the ended."""
  jobs: list[Job] = []
  while True:
    like = jobs[0].config if jobs else None
    for config in queue.take(slots.size - len(jobs), like):
      jobs.append(slots.start(config, store))
    if not jobs:
      return
    going = [job for job in jobs if not job.ended()]
    if going:
      slots.advance(going)
      tally.moved(going)
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
  slots_per_device: int | None = None,
  progress: bool = True,
) -> dict:
  """Runs what is not finished; one thread a device.

  Returns:
    The ledger.

  Raises:
    host_loop.Stopped: after SIGINT or SIGTERM, at the end of a chunk.
  """
  tally = Tally(store, configs, progress)
  queue = Queue(tally.waiting())
  stop, failures = threading.Event(), []
  default = 1 if jax.default_backend() == "cpu" else ACCELERATOR_SLOTS

  def guarded(device):
    try:
      slots = Slots(device, slots_per_device or default)
      work(slots, queue, store, tally, stop)
    except BaseException as e:
      failures.append(e)
      stop.set()

  threads = [
    threading.Thread(target=guarded, args=(device,)) for device in jax.devices()
  ]
  with host_loop.stop_signals() as received:
    for thread in threads:
      thread.start()
    for thread in threads:
      while thread.is_alive():
        thread.join(0.2)
        if received:
          stop.set()
  tally.bar.close()
  tally.write()
  if failures:
    raise failures[0]
  if received:
    raise host_loop.Stopped(
      f"stopped by signal {received[0]}; the same command goes on from here"
    )
  return tally.ledger()


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  try:
    if argv[1:]:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    preset = grids.preset(_PRESET.value) if _PRESET.value else [{}]
    configs = grids.expand(preset, grids.values_from_flags(flags.FLAGS))
    host_loop.use_all_cores()
    host_loop.use_compilation_cache()
    default = pathlib.Path("runs", _PRESET.value or "sweep")
    store = Store(_SWEEP_DIR.value or default)
    for other in _MERGE.value:
      print(f"{store.merge(other)} runs taken from {other}", file=sys.stderr)
    if _PLAN.value:
      ledger = Tally(store, configs, False).ledger()
    else:
      ledger = run(
        configs,
        store,
        slots_per_device=_SLOTS.value,
        progress=_PROGRESS.value,
      )
  except ValueError as e:
    sys.exit(f"sweep.py: {e}")
  except host_loop.Stopped as e:
    print(e, file=sys.stderr)
    sys.exit(130)
  print(json.dumps(ledger | {"sweep_dir": str(store.directory)}))


if __name__ == "__main__":
  app.run(main)
