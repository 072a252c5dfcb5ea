"""What a seed is made of between two updates."""

import enum
from typing import Any, NamedTuple

from steadygrad.types import Array, PyTree


class Status(enum.IntEnum):
  """What became of a seed."""

  RUNNING = 0
  SOLVED = 1
  DIVERGED = 2
  STOPPED = 3  # Out of patience, or of halvings of the learning rate.


class Stream(enum.IntEnum):
  """What a random number is for; folded into the seed's key."""

  INIT = 0
  DATA = 1
  CHECK = 2
  CONFIRM = 3
  TEST = 4
  INITIAL_STATE = 5


class TrainState(NamedTuple):
  """One seed between two updates.

  Attributes:
    params: of the model.
    average: running average of them; None without one.
    opt_state: of the chain.
    carry: what the next batch begins with, see `Batches`.
    step: updates made, int32 [].
    sums: {name: sum over the updates since the last judgement}, float32 [];
      of `gradient_norm_max` the largest; of `updates` their number, int32 [].
    verdict: what `Stopping` has found so far; it has a `status`, int32 [].
    stability: a `stability.Stability`, what was counted at every update.
  """

  params: PyTree
  average: PyTree | None
  opt_state: PyTree
  carry: PyTree
  step: Array
  sums: dict[str, Array]
  verdict: Any
  stability: Any = None

  @property
  def shown(self) -> PyTree:
    """The parameters that are judged and tested: the average, if there is."""
    return self.params if self.average is None else self.average
