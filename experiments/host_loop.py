"""From a configuration to a record: the loop on the host, between parts.

Compiles, restores, runs chunk after chunk over all seeds in parts of a few
seconds, shows progress, saves states, stops cleanly when told to. What a chunk
does is in `steadygrad.training`; nothing here changes a number.
"""

import concurrent.futures
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import run_files
from jax.sharding import NamedSharding, PartitionSpec
from parts import Parts, when
from tqdm import tqdm

from steadygrad import files, placement, records, training
from steadygrad.config import TrainConfig
from steadygrad.runs import (
  checkpoints,
  directories,
  kinds,
  launch,
  memory,
  names,
  signals,
  store,
)
from steadygrad.runs.signals import Stopped, say
from steadygrad.training import Status

SAVE_SHARE = 0.02  # Of the time, at most, goes into checkpoints.
_RECORD = kinds.TRAINING | {
  "provenance": {"updates_per_second": float, "wall_seconds": float}
}


class _Seeds:
  """All seeds of a run on the host, and the compiled chunk that moves them."""

  def __init__(self, exp: training.Experiment, devices, arrays=None):
    """Seeds before their first update, or where the arrays of a state are."""
    self.exp, self._devices = exp, devices
    config = exp.config
    seeds = config.first_seed + np.arange(config.seeds)
    self.keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    self.num_devices = len(devices)
    init = jax.jit(jax.vmap(lambda key: training.init(exp, key)))
    self.states = jax.tree.map(
      lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(init, self.keys)
    )
    if arrays is not None:
      self.states = run_files.states_of(self.states, arrays)
    started = time.perf_counter()
    # The compiler leaves Python free: two programs take the time of the longer.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      going = len(self.active())
      chunk = pool.submit(self._compile, devices) if going else None
      states = jax.device_get(init(self.keys)) if arrays is None else None
      self._chunk = chunk and chunk.result()
    self.states = states or self.states
    self.compile_seconds = time.perf_counter() - started

  def _compile(self, devices):
    def fn(ends, key, numbers, state, n):
      # Traced numbers: the same program, and bits, as in a sweep.
      exp = training.experiment(self.exp.config, numbers)
      return training.run_chunk(exp, key, state, n, ends)

    mapped, each = placement.map_seeds(fn, devices, shared=1)
    whole = NamedSharding(each.mesh, PartitionSpec())
    placed = (each, whole, *[each] * 4)
    total = placement.slots(self.exp.config.seeds, self.num_devices)
    counts, *others = self._pack(np.zeros(total, np.int64))
    jitted = jax.jit(mapped, in_shardings=placed, out_shardings=each)
    return jitted.lower(counts, np.bool_(True), *others).compile()

  def _pack(self, order, num_updates: int = 0, counts=None):
    counts = np.zeros(self.num_devices, np.int32) if counts is None else counts
    states = jax.tree.map(lambda x: x[order], self.states)
    steps = np.full(len(order), num_updates, np.int32)
    numbers = jax.tree.map(
      lambda x: np.full(len(order), x, np.float32),
      training.hyper(self.exp.config),
    )
    return counts, self.keys[order], numbers, states, steps

  def active(self) -> np.ndarray:
    """Seeds that still train, or whose last check is still to come."""
    states = self.states
    cut = states.step >= self.exp.config.max_updates
    done = cut & (states.sums["updates"] == 0)
    return np.flatnonzero(
      np.asarray(training.is_active(self.exp, states)) & ~done
    )

  def next(self, most: int) -> tuple[int, bool]:
    """(updates of the next part, at most `most`; whether a check follows)."""
    step = int(self.states.step[self.active()[0]])
    every = self.exp.config.check_every
    left = min(every - step % every, self.exp.config.max_updates - step)
    num_updates = min(left, most)
    # A check that only the budget asks for is a part of its own, so that the
    # state before it is saved: from there a larger budget goes on.
    whole = (step + num_updates) % every == 0
    return num_updates, num_updates == left and (whole or not left)

  def advance(self, num_updates: int, ends: bool) -> dict[str, np.ndarray]:
    """A part of the chunk of every active seed.

    Args:
      num_updates: how many.
      ends: whether the check comes after them.

    Returns:
      Info [S], NaN for those that rest, and for all without a check.
    """
    active = self.active()
    order, counts = spread(active, self.exp.config.seeds, self.num_devices)
    counts, *others = self._pack(order, num_updates, counts)
    states, info = jax.device_get(self._chunk(counts, np.bool_(ends), *others))
    ran = np.flatnonzero(np.isin(order, active))
    _, first = np.unique(order[ran], return_index=True)
    ran = ran[first]

    def put(old, new):
      old = np.array(old)
      old[order[ran]] = new[ran]
      return old

    self.states = jax.tree.map(put, self.states, states)
    blank = np.full(self.exp.config.seeds, np.nan, np.float32)
    return {name: put(blank, values) for name, values in info.items()}

  def test_errors(self) -> np.ndarray:
    """Error of every seed on sequences nothing else has used, [S]."""
    exp = self.exp
    fn = placement.map_seeds(
      lambda key, state: training.test_error(exp, key, state), self._devices
    )[0]
    everyone = np.arange(exp.config.seeds)
    order, counts = spread(everyone, exp.config.seeds, self.num_devices)
    _, keys, _, states, _ = self._pack(order)
    errors = np.asarray(jax.jit(fn)(counts, keys, states))
    # A spare slot repeats a seed and is not run: the first slot is the seed's.
    _, first = np.unique(order, return_index=True)
    return errors[first]


def spread(active: np.ndarray, num_seeds: int, num_devices: int):
  """Which seed goes where, so that active ones are even over the devices.

  Args:
    active: seeds that train.
    num_seeds: S.
    num_devices: D.

  Returns:
    (order [slots], counts [D]): device d takes the slots d·K to (d + 1)·K, the
    first counts[d] of them active, K = slots / D. Slots left over repeat
    resting seeds, or the last one.
  """
  total = placement.slots(num_seeds, num_devices)
  rest = np.setdiff1d(np.arange(num_seeds), active)
  # Where a seed that trains stands twice, the slot that is run might come last.
  spare = np.full(total - num_seeds, rest[-1] if len(rest) else num_seeds - 1)
  queue = np.concatenate([active, rest, spare]).astype(np.int64)
  order = queue.reshape(-1, num_devices).T.reshape(-1)
  counts = len(active) // num_devices + (
    np.arange(num_devices) < len(active) % num_devices
  )
  return order, counts.astype(np.int32)


class Saver:
  """Saves between parts, no more often than costs `SAVE_SHARE` of the time."""

  def __init__(self, directory: pathlib.Path, name: str, number: int | None):
    """Saves in the directory of the run of this name, whose lock is held.

    Args:
      directory: of the run.
      name: of the run.
      number: of its newest state; None if there is none.
    """
    self._directory, self._name, self._number = directory, name, number or 0
    self._last, self._cost = time.perf_counter(), 0.0

  def save(self, seeds, curves, meta, *, force: bool) -> bool:
    """Whether it was saved."""
    started = time.perf_counter()
    if not force and started - self._last < self._cost / SAVE_SHARE:
      return False
    self._number += 1
    arrays = run_files.with_curves(seeds.states, curves)
    checkpoints.save(
      self._directory, self._number, arrays, meta, name=self._name
    )
    self._last = time.perf_counter()
    self._cost = self._last - started
    return True


def restore(directory: pathlib.Path, name: str) -> checkpoints.Restored:
  """Where a run stands whose lock is held; says which states are damaged."""
  restored = checkpoints.restore(directory, name)
  for problem in restored.problems:
    say(problem)
  return restored


def train(
  config: TrainConfig,
  run_dir: str | pathlib.Path,
  *,
  progress: bool = True,
  began: float | None = None,
) -> dict[str, Any]:
  """Runs a configuration to its end, from where it stood; writes the record.

  A run with a smaller `max_updates` goes on, to the bits of one that began with
  the larger.

  Args:
    config: the configuration.
    run_dir: see `directories`. If the record is there already it is returned
      as it is, without writing anything.
    progress: whether to show a bar on standard error.
    began: `time.perf_counter()` from which wall_seconds counts; now if None.

  Returns:
    The record.

  Raises:
    ValueError: see `directories.finished` and `directories.prepare`; or if the
      run does not fit into memory.
    Stopped: after SIGINT or SIGTERM, within seconds, state saved.
  """
  config = config.resolved()
  run_dir, name = files.expand(run_dir), names.name_of(config)
  record = directories.finished(run_dir, config, name, _RECORD)
  if record is not None:
    return record
  memory.refuse_training(config, jax.devices())
  with directories.prepare(run_dir, config):
    return _train(config, run_dir, name, progress, began)


def _train(config, run_dir, name, progress: bool, began) -> dict[str, Any]:
  """`train`, with the lock of the directory held."""
  began = time.perf_counter() if began is None else began
  devices = jax.devices()
  restored, saver = _restore(config, run_dir, name)
  say(
    f"compiling for {launch.in_words(devices)}, then"
    f" {launch.counted(config.seeds, 'seed')} of {config.task}, up to"
    f" {launch.counted(config.max_updates, 'update')} each"
  )
  new = restored.step is None
  exp = training.experiment(config)
  seeds = _Seeds(exp, devices, None if new else restored.arrays)
  curves = run_files.curves_of(restored.arrays)
  spent = {"updates": 0, "seconds": 0.0, "wall_seconds": 0.0}
  if not new:
    spent = restored.meta["spent"]
    at = seeds.states.step.max()
    say(f"continuing after checkpoint {restored.step}, update {at}")
  changed = run_files.note_machine(spent, devices, seeds.states.step.max())
  if changed:
    say(changed)
  wall_before = spent["wall_seconds"]
  _loop(seeds, curves, spent, saver, progress, began - wall_before)
  parameters = store.flatten(seeds.states.params, "state.params")
  directories.write_parameters(run_dir, parameters, name)
  record = directories.record_of(run_dir, config, _RECORD)
  if record is not None:  # Only the parameters were to be made again.
    return record
  spent["compile_seconds"] = seeds.compile_seconds
  record = run_files.record(
    exp, seeds.states, seeds.test_errors(), curves, spent, devices
  )
  wall = wall_before + time.perf_counter() - began
  record["provenance"]["wall_seconds"] = wall
  records.write_json(run_dir / directories.RECORD, record)
  return records.read_json(run_dir / directories.RECORD, _RECORD)


def _restore(config, run_dir, name) -> tuple[checkpoints.Restored, Saver]:
  """The state to go on from, and what saves the next ones."""
  newest = restored = restore(run_dir, name)
  cut_at = newest.meta and newest.meta.get("cut_at")
  if cut_at is not None and cut_at < config.max_updates:
    restored = checkpoints.before(run_dir, name)
    if "cut_at" in restored.meta:  # The newest was damaged.
      raise ValueError(
        f"run_dir {run_dir} has no state from before its budget of {cut_at}"
        " max_updates ended it, from which a larger one goes on; name another"
      )
  return restored, Saver(run_dir, name, newest.step)


def _loop(seeds: _Seeds, curves, spent, saver, progress: bool, began) -> None:
  """Trains until no seed is active; fills `curves` and `spent`.

  Raises:
    Stopped: if told to stop before that, the state saved.
  """
  config, parts = seeds.exp.config, Parts()
  step = saved_at = int(seeds.states.step.max())
  bar = progress_bar(config.max_updates * config.seeds, progress)
  bar.update(int(seeds.states.step.sum()))
  with signals.stopping(lambda: (when([parts]), f"update {saved_at}")) as told:
    while len(active := seeds.active()) and not told:
      num_updates, ends = seeds.next(parts.updates)
      started = time.perf_counter()
      with parts.run(num_updates):
        info = seeds.advance(num_updates, ends)
      spent["seconds"] += time.perf_counter() - started
      spent["wall_seconds"] = time.perf_counter() - began
      spent["updates"] += num_updates * len(active)
      bar.update(num_updates * len(active))
      step = int(seeds.states.step[active[0]])
      if ends:
        info["update"] = np.int64(step)
        for name, values in info.items():
          curves.setdefault(name, []).append(values)
        _show(bar, seeds, info)
      at_budget = step == config.max_updates
      meta = {"spent": spent}
      if ends and at_budget and step % config.check_every:
        meta["cut_at"] = step
      last = at_budget or not len(seeds.active()) or bool(told)
      if saver.save(seeds, curves, meta, force=last):
        saved_at = step
  close(bar, finished=not len(seeds.active()))
  if told and len(seeds.active()):
    raise Stopped(
      f"stopped by {told[0]} at update {step}; the same command goes on from"
      " here"
    )


def progress_bar(total: int, shown: bool) -> tqdm:
  """On standard error, of so many updates."""
  return tqdm(
    total=total,
    unit=" updates",
    unit_scale=True,
    disable=not shown,
    file=sys.stderr,
    dynamic_ncols=True,
  )


def close(bar: tqdm, *, finished: bool) -> None:
  """Closes a bar; full, if all is done without the updates that are left."""
  if finished:
    bar.total = bar.n
    bar.refresh()
  bar.close()


def _show(bar, seeds, info) -> None:
  """Says which seeds were first solved or diverged at this check."""
  config, states = seeds.exp.config, seeds.states
  now = states.step == info["update"]
  for i in np.flatnonzero(now & (states.solved_at == info["update"])):
    say(
      f"seed {config.first_seed + i} solved at {states.solved_at[i]} updates,"
      f" error {info['error'][i]:.2%}"
    )
  for i in np.flatnonzero(now & (states.status == Status.DIVERGED)):
    say(f"seed {config.first_seed + i} diverged by {states.step[i]}")
  ran = np.isfinite(info["error"])
  bar.set_postfix(
    loss=f"{np.mean(info['loss'][ran]):.3f}",
    error=f"{np.mean(info['error'][ran]):.1%}",
    solved=f"{np.sum(states.solved_at >= 0)}/{config.seeds}",
    refresh=False,
  )
