"""A fixed number of slots on a device, and the programs that run in them."""

import time

import grids
import jax
import jax.numpy as jnp
import numpy as np
import run_files
from jax.sharding import NamedSharding, PartitionSpec
from parts import Parts
from sweep_store import Progress, Store, ended

from steadygrad import placement, training
from steadygrad.config import TrainConfig
from steadygrad.runs import names
from steadygrad.runs.signals import say
from steadygrad.training import Status
from steadygrad.types import PyTree

SAVE_SHARE = 0.02  # Of a run's time, at most, goes into saving its state.


class Job:
  """A run in a slot."""

  def __init__(self, config: TrainConfig, progress: Progress):
    self.config = config
    self.name = names.run_name(config)
    self.numbers = grids.numbers(config)
    self.state, self.curves, self.spent = progress
    self._saved, self._cost = time.perf_counter(), 0.0

  def _checked(self) -> bool:
    """Whether no update has been made since the last check."""
    return not self.state.sums["updates"]

  def ended(self) -> bool:
    status = Status(int(self.state.status)).name.lower()
    over = ended(self.config, status, int(self.state.step))
    return over and self._checked()

  def updates_left(self) -> int:
    """Up to the next check: a budget in between is a check of its own."""
    step, every = int(self.state.step), self.config.check_every
    if step % every == 0 and not self._checked():
      return 0  # It has waited for others of its chunk.
    return min(every - step % every, self.config.max_updates - step)

  def take(
    self, state, info: dict | None, num_updates: int, seconds: float
  ) -> None:
    """What a part of a chunk brought, info if it was the last."""
    self.state = state
    if info is not None:
      info = info | {"update": np.asarray(int(state.step))}
      for name, value in info.items():
        value = value if name == "update" else np.asarray(value)[None]
        self.curves.setdefault(name, []).append(value)
    self.spent["updates"] += num_updates
    self.spent["seconds"] += seconds

  def save(self, store: Store, *, force: bool = False) -> None:
    """Writes the state, no more often than costs `SAVE_SHARE` of the time."""
    started = time.perf_counter()
    if not force and started - self._saved < self._cost / SAVE_SHARE:
      return
    store.save(self.config, Progress(self.state, self.curves, self.spent))
    self._saved = time.perf_counter()
    self._cost = self._saved - started


class Slots:
  """The slots of one device, and what was compiled for them.

  One program serves every seed, initialisation, learning rate, threshold and
  weight: they are arguments of the compiled function, and the chain is built
  inside it.
  """

  def __init__(
    self,
    device: jax.Device,
    num_slots: int,
    parameters: dict[str, PyTree] | None = None,
  ):
    self.device, self.size = device, num_slots
    self._parameters = parameters or {}
    self._said: set[str] = set()
    self.parts = Parts()  # Of the program that runs.
    self._chunks: dict[TrainConfig, tuple] = {}
    self._tests: dict[TrainConfig, jax.stages.Wrapped] = {}
    self._inits: dict[TrainConfig, jax.stages.Wrapped] = {}

  def start(self, config: TrainConfig, store: Store) -> Job:
    """The job of a run: from its stored state, or before its first update."""
    exp = training.experiment(config)
    same = grids.program(config), config.init
    if same not in self._inits:
      self._inits[same] = jax.jit(jax.vmap(lambda key: training.init(exp, key)))
    keys = _keys([config.first_seed])
    states = jax.device_get(self._inits[same](keys))
    state = jax.tree.map(lambda x: x[0], states)
    if config.start is not None:
      params = self._parameters[names.run_name(config)]
      state = jax.device_get(training.init(exp, keys[0], params))
    spent = {"updates": 0, "seconds": 0.0, "compile_seconds": 0.0}
    progress = store.load(config, state) or Progress(state, {}, spent)
    changed = run_files.note_machine(
      progress.spent, [self.device], progress.state.step
    )
    if changed and changed not in self._said:
      self._said.add(changed)
      say(f"{names.run_name(config)} and others: {changed}")
    return Job(config, progress)

  def advance(self, jobs: list[Job]) -> int:
    """A part of the chunk of jobs of one program; how many updates in all.

    The chunk ends for all of them at once, where the last has its next check.
    """
    compiled = self._compiled(jobs)
    left = [job.updates_left() for job in jobs]
    num_updates = [min(n, self.parts.updates) for n in left]
    ends = num_updates == left
    counts, *others = self._pack(jobs, num_updates)
    started = time.perf_counter()
    with self.parts.run(max(num_updates)):
      done = compiled(counts, np.bool_(ends), *others)
      states, info = jax.device_get(done)
    seconds = (time.perf_counter() - started) / len(jobs)
    for i, (job, n) in enumerate(zip(jobs, num_updates, strict=True)):
      state, told = jax.tree.map(lambda x, i=i: x[i], (states, info))
      job.take(state, told if ends else None, n, seconds)
    return sum(num_updates)

  def _compiled(self, jobs: list[Job]):
    program = grids.program(jobs[0].config)
    if program not in self._chunks:
      started = time.perf_counter()

      def chunk(ends, key, numbers, state, n):
        exp = training.experiment(program, numbers)
        return training.run_chunk(exp, key, state, n, ends)

      mapped, each = placement.map_seeds(chunk, [self.device], shared=1)
      whole = NamedSharding(each.mesh, PartitionSpec())
      placed = (each, whole, *[each] * 4)
      jitted = jax.jit(mapped, in_shardings=placed, out_shardings=each)
      counts, *others = self._pack(jobs, [0] * len(jobs))
      lowered = jitted.lower(counts, np.bool_(True), *others)
      self._chunks[program] = lowered.compile()
      self.parts = Parts()
      jobs[0].spent["compile_seconds"] += time.perf_counter() - started
    return self._chunks[program]

  def _pack(self, jobs: list[Job], num_updates: list[int]):
    """(counts, keys, numbers, states, updates); free slots repeat the first.

    Under `vmap` a free slot runs no update, and its result is dropped.
    """
    free = self.size - len(jobs)
    padded = [*jobs, *jobs[:1] * free]
    numbers = [job.numbers for job in padded]
    return (
      np.array([len(jobs)], np.int32),
      _keys([job.config.first_seed for job in padded]),
      training.Hyper(*np.array(numbers, np.float32).T),
      jax.tree.map(lambda *x: np.stack(x), *[job.state for job in padded]),
      np.array([*num_updates, *[0] * free], np.int32),
    )

  def record(self, job: Job) -> dict:
    """The record of a job that has ended."""
    program = grids.program(job.config)
    if program not in self._tests:
      exp = training.experiment(program)
      mapped, _ = placement.map_seeds(
        lambda key, state: training.test_error(exp, key, state),
        [self.device],
      )
      self._tests[program] = jax.jit(mapped)
    counts, keys, _, states, _ = self._pack([job], [0])
    errors = self._tests[program](counts, keys, states)
    return run_files.record(
      training.experiment(job.config),
      jax.tree.map(lambda x: np.asarray(x)[None], job.state),
      np.asarray(errors)[:1],
      job.curves,
      job.spent,
      [self.device],
    )


def _keys(seeds: list[int]) -> jax.Array:
  return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
