"""Whether a run fits into memory, said before anything is compiled.

The least that a run needs is known from shapes alone. What is refused here
could not run; what passes may still turn out to be too large.
"""

import dataclasses
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from steadygrad import options, symbols, training
from steadygrad.tasks import make_task
from steadygrad.training.algorithm import chain
from steadygrad.training.config import Config, CorpusConfig, TaskConfig
from steadygrad.training.evaluation import batch_size_for
from steadygrad.types import Model

GIGA = 1e9
# Files with the limit of a container, of two generations of Linux.
_LIMITS = (
  "/sys/fs/cgroup/memory.max",
  "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_SIZES = ("hidden_size", "length", "max_length", "chunk_length", "batch_size")
_SIZES = (*_SIZES, "seeds")


def refuse_run(
  config: Config,
  devices: Sequence[Any],
  at_once: int | None = None,
  num_symbols: int | None = None,
) -> None:
  """ValueError, naming a size, if a run cannot fit into memory.

  Args:
    config: the configuration.
    devices: that it is spread over.
    at_once: seeds whose states are held together; all of them if None.
    num_symbols: of a corpus, M.
  """
  refuse(
    config,
    lambda c: run_bytes(c, devices, at_once, num_symbols),
    [name for name in _SIZES if name in options.fields(config)],
    room(devices),
  )


def refuse(
  config: Any,
  need: Callable[[Any], int],
  sizes: Sequence[str],
  room: int | None,
) -> None:
  """ValueError if a configuration needs more than there is.

  Args:
    config: a dataclass.
    need: bytes of a configuration.
    sizes: fields that are sizes; the one without whose value the need would be
      least is named.
    room: bytes that there are; None if nobody knows.
  """

  def measured(config):
    try:
      with warnings.catch_warnings(action="ignore"):
        return need(config)
    except OverflowError:  # Sizes that no array of JAX can have.
      return math.inf

  def without(name):
    default = type(config).__dataclass_fields__[name].default
    try:
      return measured(dataclasses.replace(config, **{name: default}))
    except ValueError:  # Not with the other fields' values.
      return math.inf

  if room is None or (needed := measured(config)) <= room:
    return
  name = min(sizes, key=without)
  raise ValueError(
    f"{name} must fit into memory, got {getattr(config, name)}, which needs"
    f" about {_told(needed)}; this machine has {_told(room)}"
  )


def room(devices: Sequence[Any]) -> int | None:
  """Bytes for programs on a device; of all cores of a CPU together.

  None where the system does not tell.
  """
  if devices[0].platform != "cpu":
    return (devices[0].memory_stats() or {}).get("bytes_limit")
  found = []
  if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):  # Not on Windows.
    found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
  for path in map(pathlib.Path, _LIMITS):
    try:
      found.append(int(path.read_text()))
    except (OSError, ValueError):  # Not there; or "max", which is no limit.
      continue
  return min(found, default=None)


def run_bytes(
  config: Config,
  devices: Sequence[Any],
  at_once: int | None = None,
  num_symbols: int | None = None,
) -> int:
  """Bytes that runs of a configuration need at least, see `refuse_run`."""
  if isinstance(config, CorpusConfig):
    need = _on_corpus(config, num_symbols or 1)
  else:
    need = _on_task(config)
  return _together(*need, at_once or config.seeds, devices)


def _on_task(config: TaskConfig) -> tuple[int, int]:
  """Bytes of (a state, a pass)."""
  exp = training.experiment(config)
  task = make_task(config.task, config.length, config.max_length)
  state = _bytes(lambda key: training.init(exp, key))
  sample = symbols.sampler(task.sample)
  checked = batch_size_for(config.check_size, config.test_size)
  batches = [
    _bytes(lambda key, n=n: sample(key, n))
    for n in (config.batch_size, checked)
  ]
  steps = config.max_length or config.length
  passes = [
    batches[0] + 2 * _states_bytes(exp.model, steps, config.batch_size),
    batches[1] + _states_bytes(exp.model, steps, checked),
  ]
  return state, max(passes)


def _on_corpus(config: CorpusConfig, num_symbols: int) -> tuple[int, int]:
  """Bytes of (a state, a pass)."""
  model = training.model_of(config, num_symbols, num_symbols, "every")
  numbers = training.hyper(config)
  tx = chain(config, model.cell, numbers, numbers.learning_rate)
  copies = 2 + (config.average is not None)  # The best ones, and an average.
  state = copies * _bytes(model.init)
  state += _bytes(lambda key: tx.init(model.init(key)))
  steps, batch_size = config.chunk_length, config.batch_size
  state += _states_bytes(model, 1, batch_size)
  inputs = 4 * steps * batch_size * num_symbols
  return state, inputs + 2 * _states_bytes(model, steps, batch_size)


def _together(state: int, one_pass: int, seeds: int, devices) -> int:
  """Bytes of states and passes."""
  if devices[0].platform == "cpu":
    # Of every seed the host has a state, and one in the devices' order, and the
    # program has one before and one after. A core has one seed at a time, with
    # gradients and updates as large as the parameters.
    going = min(seeds, len(devices))
    return 4 * state * seeds + (2 * state + one_pass) * going
  return (2 * state + one_pass) * -(-seeds // len(devices))


def _states_bytes(model: Model, steps: int, batch_size: int) -> int:
  """Of the states of all steps."""

  def start(key):
    params = model.init(key)
    return model.cell.initial_state(params["cell"], batch_size)

  return steps * _bytes(start)


def _bytes(of_key: Callable[[jax.Array], Any]) -> int:
  """Of what a function of a key returns, which is not computed."""
  leaves = jax.tree.leaves(jax.eval_shape(lambda: of_key(jax.random.key(0))))
  return sum(
    int(np.prod(x.shape, dtype=object)) * x.dtype.itemsize for x in leaves
  )


def _told(count: float) -> str:
  return f"{count / GIGA:.3g} GB"
