"""Runs in slots over devices, and the programs that move them.

One program serves every seed, initialisation, learning rate, threshold and
weight: they are arguments of the compiled function, and the chain is built
inside it.
"""

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from steadygrad import training
from steadygrad.data.corpus import Corpus
from steadygrad.runs import names, placement, results
from steadygrad.runs.claims import Claim
from steadygrad.runs.directories import Directory, Progress
from steadygrad.runs.job import Job
from steadygrad.runs.parts import Parts
from steadygrad.runs.signals import say
from steadygrad.training import Data, Experiment, TrainState
from steadygrad.training.config import Config, CorpusConfig
from steadygrad.types import PyTree


class _Program(NamedTuple):
  """What serves all runs of one program.

  Attributes:
    exp: its experiment.
    shared: its data, on the devices.
    each: how the seats are spread over them.
    advance: the compiled updates, once they are.
    judge: the compiled judgement, which comes after the first updates.
    init: (seeds, ) -> states, jitted, for each initialisation.
    test: jitted.
  """

  exp: Experiment
  shared: PyTree
  each: NamedSharding
  advance: concurrent.futures.Future
  judge: concurrent.futures.Future
  init: dict[str, Callable]
  test: Callable


class Fleet:
  """Slots over some devices, and what was compiled for them."""

  def __init__(
    self,
    devices: Sequence[Any],
    slots: int,
    *,
    corpora: Callable[[CorpusConfig], Corpus] | None = None,
    parameters: dict[str, PyTree] | None = None,
  ):
    """Slots without runs.

    Args:
      devices: one program moves the runs on all of them. Those of other
        processes have runs that these have no part in.
      slots: runs at a time on each device.
      corpora: the data of a configuration, if runs are to be on corpora.
      parameters: {name of a run: those that it begins with}, see `starts`.
    """
    self.devices, self._slots = list(devices), slots
    here = jax.process_index()
    # Groups of seats: all, and those of this process.
    self._groups = len(self.devices)
    self._own = sum(d.process_index == here for d in self.devices)
    self.size = slots * self._own
    self.parts = Parts()  # Of the program that runs.
    self._corpora, self._parameters = corpora, parameters or {}
    self._programs: dict[Config, _Program] = {}
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._said: set[str] = set()

  # What `sharded.Sharded` does otherwise.
  _map = staticmethod(placement.map_seeds)

  def _experiment(self, config: Config, numbers, corpus, mesh) -> Experiment:
    """The experiment inside the program."""
    del mesh
    return training.experiment(config, numbers, corpus=corpus)

  def _agreed(self, updates: list[int]) -> list[int]:
    """Updates of a part, before it begins."""
    return updates

  def start(
    self, config: Config, directory: Directory, claim: Claim | None = None
  ) -> Job:
    """The job of a run: from its stored state, or before its first update.

    Raises:
      Lost: if another process has taken the run over.
      ValueError: if the run was begun on other data.
    """
    program = self._program(config)
    exp = training.experiment(config, corpus=program.exp.corpus)
    name = names.run_name(config)
    if config.init not in program.init:
      own = jax.vmap(lambda seed: training.init(exp, jax.random.key(seed)))
      program.init[config.init] = jax.jit(own)
    template = jax.eval_shape(lambda: training.init(exp, jax.random.key(0)))
    progress = directory.load(name, template, claim)
    if progress is None:
      progress = Progress(
        self._first(exp, program), {}, results.nothing_spent()
      )
    results.check_files(progress.spent, exp, name)
    changed = results.note_machine(
      progress.spent, self.devices, int(progress.state.step)
    )
    if changed and changed not in self._said:
      self._said.add(changed)
      say(f"{name} and others: {changed}")
    return Job(exp, progress, claim)

  def _first(self, exp: Experiment, program: _Program) -> TrainState:
    """The state before the first update."""
    seeds = np.array([exp.config.first_seed], np.uint32)
    if getattr(exp.config, "start", None) is not None:
      params = self._parameters[names.run_name(exp.config)]
      key = jax.random.key(seeds[0])
      return jax.device_get(training.init(exp, key, params))
    states = jax.device_get(program.init[exp.config.init](seeds))
    return jax.tree.map(lambda x: x[0], states)

  def advance(self, jobs: list[Job]) -> tuple[int, list[dict] | None]:
    """A part of the chunk of jobs of one program.

    The chunk ends for all of them at once, where the last has its next
    judgement.

    Returns:
      How many updates in all; and what was measured of each job, if the chunk
      has ended.
    """
    program = self._program(jobs[0].config)
    if not program.advance.done():
      self.parts = Parts()
    advance = waited_for(program.advance, jobs[0])
    left = [job.left() for job in jobs]
    updates = self._agreed([min(n, self.parts.updates) for n in left])
    # A judgement that only the budget asks for is a part of its own, so that
    # the state before it is saved.
    periods = [
      not n or (int(job.state.step) + n) % job.exp.batches.period == 0
      for job, n in zip(jobs, updates, strict=True)
    ]
    ends = updates == left and all(periods)
    judge = waited_for(program.judge, jobs[0]) if ends else None
    counts, seats, *others, states, steps = self._pack(program, jobs, updates)
    first = counts, program.shared, *others
    started = time.perf_counter()
    with self.parts.run(max(updates)):
      states, info = advance(*first, states, steps), None
      if judge is not None:
        states, info = judge(*first, states)
      states, info = placement.own_part((states, info))
    seconds = (time.perf_counter() - started) / len(jobs)
    told = []
    for job, seat, n in zip(jobs, seats, updates, strict=True):
      state, own = jax.tree.map(lambda x, i=seat: x[i], (states, info))
      told.append(job.take(state, own, n, seconds))
    return sum(updates), told if ends else None

  def records(self, jobs: list[Job]) -> list[dict[str, Any]]:
    """The records of jobs of one program that have ended, tested together."""
    return [
      results.record(job.exp, *job.last, tested, self.devices)
      for job, tested in zip(jobs, self._tested(jobs), strict=True)
    ]

  def _tested(self, jobs: list[Job]) -> list[dict[str, np.ndarray]]:
    """What `Stopping.test` measures of each job."""
    if not jobs:
      return []
    program = self._program(jobs[0].config)
    packed = self._pack(program, jobs, [0] * len(jobs))
    counts, seats, seeds, _, _, states, _ = packed
    tested = placement.own_part(
      program.test(counts, program.shared, seeds, states)
    )
    return [{k: v[i] for k, v in tested.items()} for i in seats]

  def _program(self, config: Config) -> _Program:
    key = training.program(config)
    if key not in self._programs:
      corpus = None
      if isinstance(config, CorpusConfig):
        corpus = self._corpora and self._corpora(config)
      exp = training.experiment(key, corpus=corpus)
      self._programs[key] = self._build(key, exp)
    return self._programs[key]

  def _build(self, config: Config, exp: Experiment) -> _Program:
    def experiment_of(numbers):
      return self._experiment(config, numbers, exp.corpus, each.mesh)

    def advance(shared, seed, numbers, plan, state, n):
      own, data = experiment_of(numbers), Data(shared, plan)
      return training.advance(own, data, jax.random.key(seed), state, n)

    def judge(shared, seed, numbers, plan, state):
      own, data = experiment_of(numbers), Data(shared, plan)
      return training.judge(own, data, jax.random.key(seed), state)

    def test(shared, seed, state):
      return exp.stopping.test(Data(shared), jax.random.key(seed), state)

    tests, each = self._map(test, self.devices, shared=1)
    whole = NamedSharding(each.mesh, PartitionSpec())
    shared = exp.data
    if whole.is_fully_addressable:
      shared = jax.device_put(shared, whole)
    shared = placement.over_all(shared, whole)
    # The compiler leaves Python free, which makes the first states meanwhile.
    # Nothing is judged before the first updates, which do not wait for it.
    shapes = self._shapes(exp)
    updates = self._pool.submit(self._compile, advance, shared, shapes)
    judged = self._pool.submit(self._compile, judge, shared, shapes[:-1])
    return _Program(exp, shared, each, updates, judged, {}, jax.jit(tests))

  def _shapes(self, exp: Experiment) -> tuple[PyTree, ...]:
    """Of the arguments of all seats: seed, numbers, plan, state, updates."""
    one = jax.eval_shape(
      lambda: (
        jnp.uint32(0),
        training.Hyper(*jnp.zeros(4, jnp.float32)),
        exp.batches.plan(0, 0),
        training.init(exp, jax.random.key(0)),
        jnp.int32(0),
      )
    )
    size = self._slots * self._groups
    return jax.tree.map(
      lambda s: jax.ShapeDtypeStruct((size, *s.shape), s.dtype), one
    )

  def _compile(self, fn: Callable, shared: PyTree, seats: tuple[PyTree, ...]):
    """(the compiled function of all seats, seconds)."""
    started = time.perf_counter()
    mapped, each = self._map(fn, self.devices, shared=1)
    whole = NamedSharding(each.mesh, PartitionSpec())
    jitted = jax.jit(
      mapped,
      in_shardings=(each, whole, *[each] * len(seats)),
      out_shardings=each,
    )
    counts = jax.ShapeDtypeStruct((self._groups,), jnp.int32)
    compiled = jitted.lower(counts, shared, *seats).compile()
    return compiled, time.perf_counter() - started

  def _pack(self, program: _Program, jobs: list[Job], updates: list[int]):
    """(counts [D], seats of the jobs, seeds, numbers, plans, states, updates).

    Under `vmap` a free seat runs no update, and its result is dropped.
    """
    seats = placement.seats(len(jobs), self._own, self._slots)
    steps = np.zeros(self.size, np.int32)
    steps[seats.of_item] = updates
    padded = [jobs[i] for i in seats.order]

    def stacked(trees):
      return jax.tree.map(lambda *x: np.stack(x), *trees)

    counts, *others = placement.over_all(
      (
        seats.counts,
        np.array([job.config.first_seed for job in padded], np.uint32),
        training.Hyper(*np.array([j.numbers for j in padded], np.float32).T),
        stacked([job.plan() for job in padded]),
        stacked([job.last.state for job in padded]),
        steps,
      ),
      program.each,
    )
    return counts, seats.of_item, *others


def waited_for(future: concurrent.futures.Future, job: Job) -> Callable:
  """What was compiled; the job that waits for it has its seconds."""
  waits = not future.done()
  compiled, seconds = future.result()
  if waits:
    job.spent["compile_seconds"] += seconds
  return compiled
