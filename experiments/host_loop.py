"""From a configuration to a record: the loop on the host, between chunks.

Compiles, restores, runs chunk after chunk over all seeds, shows progress, saves
checkpoints, stops cleanly when told to. What a chunk does is in
`steadygrad.training`; nothing here changes a number.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import run_files
from tqdm import tqdm

from steadygrad import placement, records, training
from steadygrad.config import TrainConfig
from steadygrad.runs import checkpoints, directories, kinds, store
from steadygrad.training import Status

SAVE_SHARE = 0.02  # Of the time, at most, goes into checkpoints.
_RECORD = kinds.TRAINING | {
  "provenance": {"updates_per_second": float, "wall_seconds": float}
}


class Stopped(Exception):
  """The process was told to stop, and has saved its state."""


def use_all_cores(devices: int | None = None) -> None:
  """Makes every core a JAX device of its own; before JAX is first used."""
  cores = devices or len(os.sched_getaffinity(0))
  jax.config.update("jax_num_cpu_devices", cores)
  # Each core has a network of its own: a product split over cores would only
  # make them wait for each other, and its bits depend on how it was split.
  flags = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache directory."""
  if jax.config.jax_compilation_cache_dir is None:
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = pathlib.Path(root) / "steadygrad" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextlib.contextmanager
def stop_signals():
  """Yields a list that a SIGINT or SIGTERM is appended to, instead of dying."""
  received: list[int] = []
  old = {
    s: signal.signal(s, lambda number, _: received.append(number))
    for s in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield received
  finally:
    for s, handler in old.items():
      signal.signal(s, handler)


class _Seeds:
  """All seeds of a run on the host, and the compiled chunk that moves them."""

  def __init__(self, exp: training.Experiment, devices):
    self.exp = exp
    config = exp.config
    seeds = config.first_seed + np.arange(config.seeds)
    self.keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    self.num_devices = len(devices)
    init = jax.jit(jax.vmap(lambda key: training.init(exp, key)))
    self.states = jax.tree.map(
      lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(init, self.keys)
    )
    started = time.perf_counter()
    # The compiler leaves Python free: two programs take the time of the longer.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      chunk = pool.submit(self._compile, devices)
      states = jax.device_get(init(self.keys))
      self._chunk = chunk.result()
    self.states = states
    self.compile_seconds = time.perf_counter() - started
    self._devices = devices

  def _compile(self, devices):
    def fn(key, numbers, state, n):
      # Traced numbers: the same program, and bits, as in a sweep.
      exp = training.experiment(self.exp.config, numbers)
      return training.run_chunk(exp, key, state, n)

    mapped, sharding = placement.map_seeds(fn, devices)
    total = placement.slots(self.exp.config.seeds, self.num_devices)
    example = self._pack(np.zeros(total, np.int64))
    jitted = jax.jit(mapped, in_shardings=sharding, out_shardings=sharding)
    return jitted.lower(*example).compile()

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
    """Seeds that still train."""
    done = self.states.step >= self.exp.config.max_updates
    return np.flatnonzero(
      np.asarray(training.is_active(self.exp, self.states)) & ~done
    )

  def advance(self, num_updates: int) -> dict[str, np.ndarray]:
    """One chunk of every active seed; info [S], NaN for those that rest."""
    active = self.active()
    order, counts = spread(active, self.exp.config.seeds, self.num_devices)
    packed = self._pack(order, num_updates, counts)
    states, info = jax.device_get(self._chunk(*packed))
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


def cannot_write(directory: pathlib.Path, error: OSError) -> str:
  """What to tell when a disk is full, or gone, in the middle of a run."""
  return (
    f"run_dir {directory} cannot be written: {error}. With room for it the same"
    " command goes on from the last whole checkpoint"
  )


class Saver:
  """Saves at chunk ends, no more often than costs `SAVE_SHARE` of the time."""

  def __init__(self, directory: pathlib.Path, name: str):
    """Saves in the directory of the run of this name, whose lock is held."""
    self._directory, self._name = directory, name
    self._last = time.perf_counter()
    self._cost = 0.0

  def save(self, step: int, seeds, curves, meta, *, force: bool) -> None:
    started = time.perf_counter()
    if not force and started - self._last < self._cost / SAVE_SHARE:
      return
    arrays = run_files.with_curves(seeds.states, curves)
    checkpoints.save(self._directory, step, arrays, meta, name=self._name)
    self._last = time.perf_counter()
    self._cost = self._last - started


def restore(directory: pathlib.Path, name: str) -> checkpoints.Restored:
  """Where a run stands whose lock is held; says which states are damaged."""
  restored = checkpoints.restore(directory, name)
  for problem in restored.problems:
    print(problem, file=sys.stderr)
  return restored


def train(
  config: TrainConfig,
  run_dir: str | pathlib.Path,
  *,
  progress: bool = True,
  began: float | None = None,
) -> dict[str, Any]:
  """Runs a configuration to its end, from where it stood; writes the record.

  Args:
    config: the configuration.
    run_dir: see `directories`. If the record is there already it is returned
      as it is, without writing anything.
    progress: whether to show a bar on standard error.
    began: `time.perf_counter()` from which wall_seconds counts; now if None.

  Returns:
    The record.

  Raises:
    ValueError: see `directories.finished` and `directories.prepare`.
    Stopped: after SIGINT or SIGTERM, at the end of a chunk, state saved.
  """
  config = config.resolved()
  run_dir, name = pathlib.Path(run_dir), run_files.name_of(config)
  record = directories.finished(run_dir, config, name, _RECORD)
  if record is not None:
    return record
  with directories.prepare(run_dir, config):
    return _train(config, run_dir, name, progress, began)


def _train(config, run_dir, name, progress: bool, began) -> dict[str, Any]:
  """`train`, with the lock of the directory held."""
  began = time.perf_counter() if began is None else began
  devices = jax.devices()
  exp = training.experiment(config)
  seeds = _Seeds(exp, devices)
  restored = restore(run_dir, name)
  curves = run_files.curves_of(restored.arrays)
  spent = {"updates": 0, "seconds": 0.0, "wall_seconds": 0.0, "chunks": 0}
  if restored.step is not None:
    seeds.states = store.unflatten(seeds.states, restored.arrays)
    spent = restored.meta["spent"]
    print(f"continuing after checkpoint {restored.step}", file=sys.stderr)
  wall_before = spent["wall_seconds"]
  saver = Saver(run_dir, name)
  bar = tqdm(
    total=config.max_updates * config.seeds,
    initial=int(seeds.states.step.sum()),
    unit=" updates",
    unit_scale=True,
    disable=not progress,
    file=sys.stderr,
    dynamic_ncols=True,
  )
  with stop_signals() as received:
    while len(active := seeds.active()) and not received:
      step = int(seeds.states.step[active[0]])
      num_updates = min(config.check_every, config.max_updates - step)
      started = time.perf_counter()
      info = seeds.advance(num_updates)
      spent["seconds"] += time.perf_counter() - started
      spent["updates"] += num_updates * len(active)
      spent["chunks"] += 1
      spent["wall_seconds"] = wall_before + time.perf_counter() - began
      info["update"] = np.int64(step + num_updates)
      for name, values in info.items():
        curves.setdefault(name, []).append(values)
      _show(bar, seeds, info, num_updates * len(active))
      last = not len(seeds.active()) or bool(received)
      saver.save(spent["chunks"], seeds, curves, {"spent": spent}, force=last)
  bar.close()
  if received:
    raise Stopped(
      f"stopped by signal {received[0]} at update"
      f" {int(seeds.states.step.max())}; the same command goes on from here"
    )
  parameters = store.flatten(seeds.states.params, "state.params")
  directories.write_parameters(run_dir, parameters, name)
  path = run_dir / directories.RECORD
  if path.exists():  # Only the parameters were to be made again.
    return records.read_json(path, _RECORD)
  record = run_files.record(
    exp,
    seeds.states,
    seeds.test_errors(),
    curves,
    spent | {"compile_seconds": seeds.compile_seconds},
    devices,
  )
  record["provenance"]["wall_seconds"] = (
    wall_before + time.perf_counter() - began
  )
  records.write_json(path, record)
  return records.read_json(path, _RECORD)


def _show(bar, seeds, info, updates: int) -> None:
  """Moves the bar, and says which seeds were first solved or diverged now."""
  config, states = seeds.exp.config, seeds.states
  now = states.step == info["update"]
  for i in np.flatnonzero(now & (states.solved_at == info["update"])):
    bar.write(
      f"seed {config.first_seed + i} solved at {states.solved_at[i]} updates,"
      f" error {info['error'][i]:.2%}"
    )
  for i in np.flatnonzero(now & (states.status == Status.DIVERGED)):
    bar.write(f"seed {config.first_seed + i} diverged by {states.step[i]}")
  ran = np.isfinite(info["error"])
  bar.set_postfix(
    loss=f"{np.mean(info['loss'][ran]):.3f}",
    error=f"{np.mean(info['error'][ran]):.1%}",
    solved=f"{np.sum(states.solved_at >= 0)}/{config.seeds}",
    refresh=False,
  )
  bar.update(updates)
