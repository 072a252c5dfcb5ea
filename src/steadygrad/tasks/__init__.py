"""Tasks, by the name they have on the command line.

`register_task` adds one of your own. Names are looked up when a configuration
is made, so that this may come at any time before.
"""

from collections.abc import Callable

from steadygrad.tasks._adding import adding
from steadygrad.tasks._addition import addition
from steadygrad.tasks._copy import copy
from steadygrad.tasks._flip_flop import flip_flop
from steadygrad.tasks._multiplication import multiplication
from steadygrad.tasks._parity import parity
from steadygrad.tasks._random_permutation import random_permutation
from steadygrad.tasks._temporal_order import (
  temporal_order,
  temporal_order_with_waits,
)
from steadygrad.tasks._three_bit_temporal_order import three_bit_temporal_order
from steadygrad.tasks.memorization import (
  memorization_5_bits,
  memorization_20_bits,
)
from steadygrad.types import Task

# (length, max_length) -> Task; max_length is None for one length.
Factory = Callable[[int, int | None], Task]

TASKS: dict[str, Factory] = {
  f.__name__: f
  for f in (
    temporal_order,
    three_bit_temporal_order,
    addition,
    multiplication,
    random_permutation,
    memorization_5_bits,
    memorization_20_bits,
    copy,
    adding,
    parity,
    flip_flop,
  )
}

__all__ = [
  "TASKS",
  "adding",
  "addition",
  "copy",
  "flip_flop",
  "make_task",
  "memorization_20_bits",
  "memorization_5_bits",
  "multiplication",
  "parity",
  "random_permutation",
  "register_task",
  "temporal_order",
  "temporal_order_with_waits",
  "three_bit_temporal_order",
]


def register_task(name: str, factory: Factory) -> None:
  """Adds a task of your own: from now on `TaskConfig(task=name)` means it.

  Args:
    name: of the task. Runs' files have it in their names: letters, digits and
      underscores.
    factory: (length, max_length) -> `Task` of that name. `TaskConfig` calls it
      to check its lengths: it raises ValueError on those that it cannot have.

  Raises:
    ValueError: if there is a task of that name, or no task can have it, or
      `factory` is no function.
  """
  if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
    raise ValueError(
      f"name must be letters, digits and underscores, got {name!r}"
    )
  if name in TASKS:
    raise ValueError(f"name must be new, but there is a task {name!r}")
  if not callable(factory):
    raise ValueError(
      f"factory must be a function of length and max_length, got {factory!r}"
    )
  TASKS[name] = factory


def make_task(name: str, length: int, max_length: int | None = None) -> Task:
  """The task of that name.

  Raises:
    ValueError: if there is none, or it cannot have these lengths, or what was
      registered cannot be called with them or makes no `Task` of this name.
  """
  if name not in TASKS:
    raise ValueError(f"task must be one of {', '.join(TASKS)}; got {name!r}")
  try:
    task = TASKS[name](length, max_length)
  except TypeError as e:
    raise ValueError(
      f"task {name} cannot be made of length={length} and"
      f" max_length={max_length}: {e}"
    ) from e
  if not isinstance(task, Task):
    raise ValueError(
      f"task {name} must be a Task, but its factory made {task!r}"
    )
  if task.name != name:
    raise ValueError(f"task {name} must have this name, but has {task.name!r}")
  return task
