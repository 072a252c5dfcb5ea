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
    chunk: the compiled chunk, once it is.
    init: (keys, ) -> states, jitted, for each initialisation.
    test: jitted.
  """

  exp: Experiment
  shared: PyTree
  each: NamedSharding
  chunk: concurrent.futures.Future
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
      own = jax.vmap(lambda key: training.init(exp, key))
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
    keys = jax.random.key(exp.config.first_seed)[None]
    if getattr(exp.config, "start", None) is not None:
      params = self._parameters[names.run_name(exp.config)]
      return jax.device_get(training.init(exp, keys[0], params))
    states = jax.device_get(program.init[exp.config.init](keys))
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
    compiled = self._compiled(program, jobs[0])
    left = [job.left() for job in jobs]
    updates = self._agreed([min(n, self.parts.updates) for n in left])
    # A judgement that only the budget asks for is a part of its own, so that
    # the state before it is saved.
    periods = [
      not n or (int(job.state.step) + n) % job.exp.batches.period == 0
      for job, n in zip(jobs, updates, strict=True)
    ]
    ends = updates == left and all(periods)
    counts, seats, *others = self._pack(program, jobs, updates)
    started = time.perf_counter()
    whole = NamedSharding(program.each.mesh, PartitionSpec())
    ending = placement.over_all(np.bool_(ends), whole)
    with self.parts.run(max(updates)):
      states, info = placement.own_part(
        compiled(counts, ending, program.shared, *others)
      )
    seconds = (time.perf_counter() - started) / len(jobs)
    told = []
    for job, seat, n in zip(jobs, seats, updates, strict=True):
      state, own = jax.tree.map(lambda x, i=seat: x[i], (states, info))
      told.append(job.take(state, own if ends else None, n, seconds))
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
    counts, seats, keys, _, _, states, _ = packed
    tested = placement.own_part(
      program.test(counts, program.shared, keys, states)
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
    def chunk(ends, shared, key, numbers, plan, state, n):
      key = jax.random.wrap_key_data(key)
      exp_of = self._experiment(config, numbers, exp.corpus, each.mesh)
      return training.chunk(exp_of, Data(shared, plan), key, state, n, ends)

    def test(shared, key, state):
      key = jax.random.wrap_key_data(key)
      return exp.stopping.test(Data(shared), key, state)

    mapped, each = self._map(chunk, self.devices, shared=2)
    whole = NamedSharding(each.mesh, PartitionSpec())
    shared = exp.data
    if whole.is_fully_addressable:
      shared = jax.device_put(shared, whole)
    shared = placement.over_all(shared, whole)
    jitted = jax.jit(
      mapped, in_shardings=(each, whole, whole, *[each] * 5), out_shardings=each
    )
    tests = self._map(test, self.devices, shared=1)[0]
    # The compiler leaves Python free, which makes the first states meanwhile.
    compiled = self._pool.submit(self._compile, jitted, exp, shared)
    return _Program(exp, shared, each, compiled, {}, jax.jit(tests))

  def _compile(self, jitted, exp: Experiment, shared: PyTree):
    """(the compiled chunk, seconds)."""
    started = time.perf_counter()
    state = jax.eval_shape(lambda: training.init(exp, jax.random.key(0)))
    one = (
      jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))),
      jax.eval_shape(lambda: training.Hyper(*jnp.zeros(4, jnp.float32))),
      jax.eval_shape(lambda: exp.batches.plan(0, 0)),
      state,
      jax.ShapeDtypeStruct((), jnp.int32),
    )
    size = self._slots * self._groups
    seats = jax.tree.map(
      lambda s: jax.ShapeDtypeStruct((size, *s.shape), s.dtype), one
    )
    counts = jax.ShapeDtypeStruct((self._groups,), jnp.int32)
    ends = jax.ShapeDtypeStruct((), jnp.bool_)
    compiled = jitted.lower(counts, ends, shared, *seats).compile()
    return compiled, time.perf_counter() - started

  def _compiled(self, program: _Program, job: Job):
    new = not program.chunk.done()
    compiled, seconds = program.chunk.result()
    if new:
      self.parts = Parts()
      job.spent["compile_seconds"] += seconds
    return compiled

  def _pack(self, program: _Program, jobs: list[Job], updates: list[int]):
    """(counts [D], seats of the jobs, keys, numbers, plans, states, updates).

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
        _key_data([job.config.first_seed for job in padded]),
        training.Hyper(*np.array([j.numbers for j in padded], np.float32).T),
        stacked([job.plan() for job in padded]),
        stacked([job.last.state for job in padded]),
        steps,
      ),
      program.each,
    )
    return counts, seats.of_item, *others


def _key_data(seeds: list[int]) -> np.ndarray:
  keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
  return np.asarray(jax.random.key_data(keys))
