"""Parts of a chunk or a pass: how long a device is left alone."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator

import numpy as np

PART_SECONDS = 5.0  # Of a part, about: so long a signal waits.


class Parts:
  """How many updates make a part, by the time that the last one took."""

  def __init__(self):
    self.updates = 1
    self._each: float | None = None  # Seconds of an update.
    self._ends: float | None = None  # When the part that runs will be over.

  @contextlib.contextmanager
  def run(self, num_updates: int) -> Iterator[None]:
    """Around a part of so many updates."""
    began = time.perf_counter()
    if self._each is not None:
      self._ends = began + self._each * num_updates
    yield
    if num_updates:
      self._each = (time.perf_counter() - began) / num_updates
      most = PART_SECONDS / max(self._each, 1e-9)
      self.updates = int(np.clip(most, 1, 4 * self.updates))

  def left(self) -> float | None:
    """Seconds of the part that runs; None if nobody knows."""
    return None if self._ends is None else self._ends - time.perf_counter()


def when(parts: Iterable[Parts]) -> str:
  """When all of the parts that run will be over, in words."""
  told = [part.left() for part in parts]
  left = [seconds for seconds in told if seconds is not None]
  if not left or len(left) < len(told):
    return "at the end of this part"
  return f"in about {max(math.ceil(max(left)), 1)} s"
