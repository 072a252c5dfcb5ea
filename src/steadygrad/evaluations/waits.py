"""Where networks of temporal order fail: the error against each wait.

A sequence has three waits: before the first symbol, between the two, and after
the second. Each is made shorter and longer with the others as usual, so that
the error tells which state of the network does not last.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import training
from steadygrad.evaluations import trained
from steadygrad.tasks import temporal_order_with_waits
from steadygrad.training.config import TaskConfig
from steadygrad.types import Array, PyTree

TASK = "temporal_order"
# Distractors before the first symbol, between the two, and after the second, in
# the middle of what sequences of 200 steps have.
USUAL = (30, 79, 89)
WAITS = (10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000)
MAX_SIZE = 10_000  # All sequences of a point are one batch.


def evaluate(
  runs: list[str], *, size: int = 500, out: str = "runs/waits.png"
) -> str:
  """Writes a picture, and the record it is drawn from beside it.

  Args:
    runs: records of a sweep, or directories for the solved runs in them.
    size: sequences a point.
    out: the PNG.

  Raises:
    ValueError: if there is no run, two have one name, or one is not one seed of
      the task that has ended; on another `size`, or an `out` that cannot be.
  """
  from steadygrad.figures import waits as figure  # Matplotlib is an extra.

  if not 1 <= size <= MAX_SIZE:
    raise ValueError(
      f"size must be at least 1 and at most {MAX_SIZE}, got {size}"
    )
  path = trained.picture(out)
  names = trained.named_runs(runs, TASK)
  found = {name: test(run, size) for name, run in names.items()}
  config = {"task": TASK, "usual": USUAL, "waits": WAITS, "size": size}
  return trained.draw_runs("waits", config, found, figure.draw, path)


def test(run: str, size: int) -> dict:
  """What stands in the record of one run.

  Raises:
    ValueError: if it is not one seed of the task that has ended.
  """
  found, key = trained.load_one(run, TASK)
  errors = errors_by_wait(found.config, found.params, key, size=size)
  return trained.tested(found, errors)


def errors_by_wait(
  config: TaskConfig,
  params: PyTree,
  key: Array,
  *,
  waits: Sequence[int] = WAITS,
  size: int,
) -> np.ndarray:
  """Share of `size` sequences answered wrongly, [3, W].

  Row i has wait i, before the first symbol, between the two, or after the
  second, at each of `waits`, and the others as usual.
  """
  program = training.program(config)
  found = np.zeros((len(USUAL), len(waits)))
  for i, j in np.ndindex(found.shape):
    given = (*USUAL[:i], waits[j], *USUAL[i + 1 :])
    own = jax.random.fold_in(key, i * len(waits) + j)
    found[i, j] = _tester(program, given, size)(params, own)
  return found


@functools.cache
def _tester(program: TaskConfig, waits: tuple[int, ...], size: int):
  exp = training.experiment(program)
  task: Any = exp.task

  def error(params, key):
    batch = temporal_order_with_waits(waits, key, size)
    return jnp.mean(task.wrong(exp.model.apply(params, batch.us), batch))

  return jax.jit(error)
