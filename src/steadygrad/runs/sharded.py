"""One network at a time, its batch spread over the devices of all processes.

Process 0 has the directory and the queue. It says what is done next, and the
others do the same with the same states, for a program with sums over all
devices has to be run by all of them.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from steadygrad import training
from steadygrad.runs import names, placement, results, signals
from steadygrad.runs.claims import Claim
from steadygrad.runs.directories import Directory, Progress
from steadygrad.runs.fleet import Fleet, waited_for
from steadygrad.runs.hosts import Hosts
from steadygrad.runs.job import Job
from steadygrad.training import Experiment
from steadygrad.training.config import Config
from steadygrad.types import PyTree


class Sharded(Fleet):
  """A fleet with one slot, on all devices together."""

  _map = staticmethod(placement.map_batch)

  def __init__(self, hosts: Hosts, **options):
    """A slot without a run.

    Args:
      hosts: the processes; each has such a fleet.
      **options: as for `Fleet`.
    """
    super().__init__(jax.devices(), 1, **options)
    self._groups = self._own = self.size = 1
    self._hosts = hosts
    self._told: list[int] = []  # Updates of the next part, of a follower.

  def _experiment(self, config: Config, numbers, corpus, mesh) -> Experiment:
    # The compiler cannot spread a kernel of ours over devices.
    exp = training.experiment(
      config, numbers, corpus=corpus, implementation="xla"
    )

    def draw(*arguments):
      batch, x_0 = exp.batches.draw(*arguments)
      us = placement.over_batch(mesh, batch.us, 1)
      lengths = placement.over_batch(mesh, batch.lengths, 0)
      x_0 = placement.over_batch(mesh, x_0, 0)
      return batch._replace(us=us, lengths=lengths), x_0

    return exp._replace(batches=exp.batches._replace(draw=draw))

  def start(
    self, config: Config, directory: Directory, claim: Claim | None = None
  ) -> Job:
    """As of `Fleet`, in process 0; the others get the state."""
    job = super().start(config, directory, claim)
    self._hosts.same(["start", names.run_name(config)])
    self._send(job.state)
    self._ready(job)
    return job

  def _agreed(self, updates: list[int]) -> list[int]:
    if not self._hosts.first:
      return self._told
    self._hosts.heard()  # For the last part was one of all processes.
    self._hosts.same(["advance", updates])
    return updates

  def _tested(self, jobs: list[Job]) -> list[dict[str, np.ndarray]]:
    if jobs and self._hosts.first:
      self._hosts.same(["test"])
    return super()._tested(jobs)

  def end(self, *, stopped: bool) -> None:
    """Nothing more is done; whether because process 0 was stopped."""
    self._hosts.same(["end", stopped])

  def follow(self, configs: list[Config]) -> None:
    """What the other processes do, up to the end of process 0.

    Args:
      configs: the runs.

    Raises:
      Stopped: if process 0 was stopped.
    """
    runs = {names.run_name(config): config for config in configs}

    def tell():
      self._hosts.ask_to_stop()
      return "together with process 0", "its last saved state"

    jobs: list[Job] = []
    with signals.stopping(tell):
      while True:
        what, *about = self._hosts.same(None)
        if what == "start":
          jobs = [self._followed(runs[about[0]])]
        elif what == "advance":
          (self._told,) = about
          self.advance(jobs)
        elif what == "test":
          self._tested(jobs)
        elif about[0]:
          raise signals.Stopped("stopped together with process 0")
        else:
          return

  def _followed(self, config: Config) -> Job:
    """The job of a run whose state process 0 sends."""
    exp = training.experiment(config, corpus=self._program(config).exp.corpus)
    template = jax.eval_shape(lambda: training.init(exp, jax.random.key(0)))
    blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    job = Job(exp, Progress(self._send(blank), {}, results.nothing_spent()))
    self._ready(job)
    return job

  def _ready(self, job: Job) -> None:
    """All have compiled: some systems' sums do not wait for long."""
    program = self._program(job.config)
    for compiled in (program.advance, program.judge):
      waited_for(compiled, job)
    self._hosts.meet()

  def _send(self, state: PyTree) -> PyTree:
    """Process 0's state, to the bit, in all of them."""
    if self._hosts.count == 1:
      return state
    leaves, tree = jax.tree.flatten(jax.device_get(state))
    leaves = [np.asarray(x, order="C") for x in leaves]
    # As bytes, for a sum with zeros would lose the sign of a zero.
    data = [np.frombuffer(x.tobytes(), np.uint8) for x in leaves]
    sent = multihost_utils.broadcast_one_to_all(data)
    return tree.unflatten(
      np.frombuffer(np.asarray(new).tobytes(), x.dtype).reshape(x.shape)
      for new, x in zip(sent, leaves, strict=True)
    )
