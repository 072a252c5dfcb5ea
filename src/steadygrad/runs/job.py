"""A run of one seed in a slot: where it stands, and what is left of it."""

import time

import numpy as np

from steadygrad import training
from steadygrad.runs import names
from steadygrad.runs.claims import Claim
from steadygrad.runs.directories import Directory, Progress
from steadygrad.training import Experiment, TrainState
from steadygrad.training.config import BUDGETS, CorpusConfig
from steadygrad.types import PyTree

SAVE_SHARE = 0.02  # Of a run's time, at most, goes into saving its state.


class Job:
  """A run of one seed in a slot.

  Attributes:
    exp: its `Experiment`.
    name: of its files.
    state: its `TrainState`, as it is saved.
    curves: {name: values so far}.
    spent: {"updates", "seconds", ...}, see `results.record`.
    final: the `Progress` that its record is of, once it has ended.
    claim: on the run, with which it is saved.
  """

  def __init__(
    self, exp: Experiment, progress: Progress, claim: Claim | None = None
  ):
    self.exp, self.config = exp, exp.config
    self.name = names.run_name(exp.config)
    self.numbers = training.program_numbers(exp.config)
    self.state, self.curves, self.spent = progress
    self.claim = claim
    self.final: Progress | None = None
    self._plan: tuple[int, PyTree] = -1, ()
    self._saved, self._cost = time.perf_counter(), 0.0
    self._began = self._saved - self.spent.get("wall_seconds", 0.0)
    self._end()

  @property
  def budget(self) -> int:
    """Updates at which it is cut."""
    most = getattr(self.config, BUDGETS[type(self.config)])
    passes = isinstance(self.config, CorpusConfig)
    return most * self.exp.batches.period if passes else most

  def _judged(self) -> bool:
    """Whether no update has been made since the last judgement."""
    return not self.state.sums["updates"]

  def _end(self) -> None:
    """Sets `final` if there is nothing left to do."""
    active = bool(self.exp.stopping.active(self.state.verdict))
    over = not active or int(self.state.step) >= self.budget
    if over and self._judged():
      self.final = self.last

  @property
  def last(self) -> Progress:
    """What its record is of, or would be of now."""
    return self.final or Progress(self.state, self.curves, self.spent)

  def held(self) -> bool:
    """Whether no other process has taken the run over."""
    return self.claim is None or self.claim.held()

  def left(self) -> int:
    """Updates up to the next judgement."""
    step, period = int(self.state.step), self.exp.batches.period
    if step % period == 0 and not self._judged():
      return 0  # It has waited for others of its chunk.
    return min(period - step % period, self.budget - step)

  def plan(self) -> PyTree:
    """`Batches.plan` of the period in which its next update lies."""
    step, period = int(self.state.step), self.exp.batches.period
    # A pass that is to be judged is still the pass that was made.
    number = (step - (not self._judged())) // period
    if number != self._plan[0]:
      seed = self.config.first_seed
      self._plan = number, self.exp.batches.plan(seed, number)
    return self._plan[1]

  def take(
    self, state: TrainState, info: dict | None, updates: int, seconds: float
  ) -> dict[str, np.ndarray] | None:
    """What a part of a chunk brought, info if it was the last; see `_told`."""
    self.spent["updates"] += updates
    self.spent["seconds"] += seconds
    if info is None:
      self.state = state
      return None
    told = self._told(state, info)
    cut = int(state.step) % self.exp.batches.period != 0
    curves = {k: [*v] for k, v in self.curves.items()} if cut else self.curves
    for name, value in told.items():
      one = name in ("update", "epoch")
      curves.setdefault(name, []).append(value if one else value[None])
    if cut:
      # Only the budget asks for this judgement: a larger one goes on from the
      # state before it, and never knows of it.
      self.final = Progress(state, curves, self.spent)
    else:
      self.state, self.curves = state, curves
      self._end()
    return told

  def _told(self, state: TrainState, info: dict) -> dict[str, np.ndarray]:
    """What was measured, and when, in the units of the record."""
    info, step = {k: np.asarray(v) for k, v in info.items()}, int(state.step)
    info.pop("step")
    if (corpus := self.exp.corpus) is None:
      return info | {"update": np.asarray(step)}
    for name in ("loss", "valid"):
      info[name] = np.float32(info[name] * corpus.scale)
    return info | {"epoch": np.asarray(step // self.exp.batches.period)}

  def save(self, directory: Directory, *, force: bool = False) -> None:
    """Writes the state, no more often than costs `SAVE_SHARE` of the time.

    Raises:
      Lost: if another process has taken the run over.
    """
    started = time.perf_counter()
    if not force and started - self._saved < self._cost / SAVE_SHARE:
      return
    self.spent["wall_seconds"] = started - self._began
    progress = Progress(self.state, self.curves, self.spent)
    directory.save(self.name, progress, self.claim)
    self._saved = time.perf_counter()
    self._cost = self._saved - started
