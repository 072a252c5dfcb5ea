"""From a configuration to a record, on music and text: the loop on the host.

As `host_loop`, with passes in place of checks: it restores, trains in parts of
a few seconds, validates after each pass, saves, and stops cleanly when told to.
How a pass is cut into parts changes no bit.
"""

import dataclasses
import pathlib
import time
from typing import Any

import host_loop
import jax
import jax.numpy as jnp
import natural_data
import numpy as np
import run_files
from jax.sharding import NamedSharding, PartitionSpec
from natural_data import Corpus
from parts import Parts, when

from steadygrad import (
  files,
  natural,
  natural_experiment,
  packing,
  placement,
  records,
)
from steadygrad.natural import Status
from steadygrad.natural_config import MUSIC, NaturalConfig
from steadygrad.runs import (
  directories,
  kinds,
  launch,
  memory,
  names,
  signals,
  store,
)
from steadygrad.runs.signals import Stopped, say


class Seeds:
  """All seeds of a run on the host, and the programs that move them."""

  def __init__(self, config: NaturalConfig, corpus: Corpus, devices):
    self.config, self.corpus, self._devices = config, corpus, devices
    self.numbers = first = config.first_seed + np.arange(config.seeds)
    keys = jax.vmap(jax.random.key)(jnp.asarray(first, jnp.uint32))
    exp = natural_experiment.experiment(config, corpus.num_symbols)
    self.states = jax.device_get(
      jax.jit(jax.vmap(lambda key: natural.init(exp, key)))(keys)
    )
    self._hyper = natural_experiment.hyper(config)
    self._train = self._program(self._train_one, shared=1)
    self._end = self._program(self._end_one, shared=2)
    self._valid = corpus.streams["valid"]
    self._valid_plan = self._evaluation_plan(self._valid)
    self._rows = {
      "train": self._everywhere(corpus.training.rows),
      "valid": self._everywhere(self._valid.rows),
    }
    self._plans: packing.Plan | None = None
    self._planned: tuple[int, ...] = ()

  def _program(self, fn, shared: int):
    mapped, sharding = placement.map_seeds(fn, self._devices, shared=shared)
    self._whole = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.jit(mapped)

  def _everywhere(self, array):
    return jax.device_put(array, self._whole)

  def _evaluation_plan(self, stream) -> packing.Plan:
    lanes = min(self.config.eval_lanes, len(stream.lengths))
    return packing.deal(stream, lanes, self.config.chunk_length)

  def _experiment(self, numbers) -> natural_experiment.Experiment:
    return natural_experiment.experiment(
      self.config, self.corpus.num_symbols, natural_experiment.Hyper(*numbers)
    )

  def _train_one(self, rows, numbers, plan, state, stop):
    exp, ahead = self._experiment(numbers), self.corpus.training.ahead
    return natural.train_updates(exp, rows, ahead, plan, state, stop)

  def _end_one(self, rows, plan, numbers, state):
    exp = self._experiment(numbers)
    stream = self.corpus.streams["valid"]
    pieces = len(stream.lengths)
    return natural.end_epoch(exp, rows, stream.ahead, plan, pieces, state)

  def active(self) -> np.ndarray:
    """Seeds that still train."""
    states = self.states
    running = states.status == Status.RUNNING
    return np.flatnonzero(running & (states.epoch < self.config.max_epochs))

  def _place(self, active):
    order, counts = host_loop.spread(
      active, self.config.seeds, len(self._devices)
    )
    numbers = [np.full(len(order), x, np.float32) for x in self._hyper]
    states = jax.tree.map(lambda x: x[order], self.states)
    return order, counts, numbers, states

  def _put(self, order, active, old, new):
    """`old` [S, ...] with what the active seeds' slots hold in its place."""
    ran = np.flatnonzero(np.isin(order, active))
    _, first = np.unique(order[ran], return_index=True)
    ran = ran[first]

    def put(old, new):
      old = np.array(old)
      old[order[ran]] = new[ran]
      return old

    return jax.tree.map(put, old, new)

  def plans(self) -> packing.Plan:
    """Of every seed's present pass, [S, U, B] each."""
    epochs = tuple(int(e) for e in self.states.epoch)
    if epochs != self._planned:
      each = [
        natural_data.plan_of_pass(self.config, self.corpus, int(seed), epoch)
        for seed, epoch in zip(self.numbers, epochs, strict=True)
      ]
      self._plans = packing.Plan(
        *[np.stack(x) for x in zip(*each, strict=True)]
      )
      self._planned = epochs
    return self._plans

  def compile(self) -> None:
    """Compiles the programs, in a call that runs no seed where one can."""
    order, _, numbers, states = self._place(self.active())
    none = np.zeros(len(self._devices), np.int32)
    plan = jax.tree.map(lambda x: x[order], self.plans())
    self._train(none, self._rows["train"], numbers, plan, states, states.update)
    rows = self._rows["valid"]
    jax.block_until_ready(
      self._end(none, rows, self._valid_plan, numbers, states)
    )

  def advance(self, parts: Parts) -> int:
    """A part of the pass of every active seed; updates made, over all seeds."""
    active, plans = self.active(), self.plans()
    order, counts, numbers, states = self._place(active)
    before = int(self.states.update[active[0]])
    stop = min(before + parts.updates, plans.begins.shape[1])
    plan = jax.tree.map(lambda x: x[order], plans)
    stops = np.full(len(order), stop, np.int32)
    rows = self._rows["train"]
    with parts.run(stop - before):
      done = jax.device_get(
        self._train(counts, rows, numbers, plan, states, stops)
      )
    self.states = self._put(order, active, self.states, done)
    return (stop - before) * len(active)

  def pass_ended(self) -> bool:
    update = self.states.update[self.active()[0]]
    return update == self.plans().begins.shape[1]

  def end_epoch(self) -> dict[str, np.ndarray]:
    """Validation of every active seed; info [S], NaN for those that rest."""
    active = self.active()
    order, counts, numbers, states = self._place(active)
    states, info = jax.device_get(
      self._end(counts, self._rows["valid"], self._valid_plan, numbers, states)
    )
    self.states = self._put(order, active, self.states, states)
    blank = np.full(self.config.seeds, np.nan, np.float32)
    info = {k: self._put(order, active, blank, v) for k, v in info.items()}
    for name in ("loss", "valid"):
      info[name] *= self.corpus.scale
    return info

  def errors(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Error of the best parameters: per step, and mean over pieces, [S] each.

    NaN for a seed that diverged in its first pass.
    """
    stream = self.corpus.streams[split]
    plan = self._evaluation_plan(stream)

    def one(rows, plan, numbers, params):
      exp, pieces = self._experiment(numbers), len(stream.lengths)
      return natural.evaluate(exp, rows, stream.ahead, plan, params, pieces)

    everyone = np.arange(self.config.seeds)
    order, counts, numbers, states = self._place(everyone)
    program = self._program(one, shared=2)
    rows = self._everywhere(stream.rows)
    totals = program(counts, rows, plan, numbers, states.best_params)
    blank = np.zeros((self.config.seeds, len(stream.lengths)), np.float32)
    totals = self._put(order, everyone, blank, np.asarray(totals))
    totals = totals.astype(np.float64) * self.corpus.scale
    totals[self.states.best_epoch == 0] = np.nan
    per_piece = (totals / stream.lengths).mean(1)
    return totals.sum(1) / stream.lengths.sum(), per_piece


def train(
  config: NaturalConfig,
  corpus: Corpus,
  run_dir: str | pathlib.Path,
  *,
  progress: bool = True,
  began: float | None = None,
) -> dict[str, Any]:
  """Runs a configuration to its end, from where it stood; writes the record.

  A run with a smaller `max_epochs` goes on, to the bits of one that began with
  the larger.

  Args:
    config: the configuration.
    corpus: its data.
    run_dir: see `directories`. If the record is there already it is returned
      as it is, without writing anything.
    progress: whether to show a bar on standard error.
    began: `time.perf_counter()` from which wall_seconds counts; now if None.

  Returns:
    The record.

  Raises:
    ValueError: see `directories.finished` and `directories.prepare`; or if the
      run was begun on other data, or does not fit into memory.
    Stopped: after SIGINT or SIGTERM, within seconds, state saved.
  """
  run_dir, name = files.expand(run_dir), names.name_of(config)
  record = directories.finished(run_dir, config, name, kinds.NATURAL)
  if record is not None:
    return record
  began = time.perf_counter() if began is None else began
  devices = jax.devices()
  memory.refuse_natural(config, corpus.num_symbols, devices)
  with directories.prepare(run_dir, config):
    say(
      f"compiling for {launch.in_words(devices)}, then"
      f" {launch.counted(config.seeds, 'seed')} of {config.data}, passes up to"
      f" {config.max_epochs}"
    )
    seeds = Seeds(config, corpus, devices)
    curves, spent, saver = _restore(run_dir, name, seeds)
    if len(seeds.active()):
      seeds.compile()
    _loop(seeds, curves, spent, saver, progress, began)
    return _finish(run_dir, name, seeds, curves, spent)


def _finish(run_dir, name, seeds: Seeds, curves, spent) -> dict[str, Any]:
  """Writes the best parameters, and the record if there is none yet."""
  best = store.flatten(seeds.states.best_params, "params")
  directories.write_parameters(run_dir, best, name)
  record = directories.record_of(run_dir, seeds.config, kinds.NATURAL)
  if record is not None:  # Only the parameters were to be made again.
    return record
  path = run_dir / directories.RECORD
  records.write_json(path, make_record(seeds, curves, spent, jax.devices()))
  return records.read_json(path, kinds.NATURAL)


def _restore(run_dir, name, seeds: Seeds):
  """(curves, spent, saver); the seeds stand where the newest state was."""
  restored = host_loop.restore(run_dir, name)
  saver = host_loop.Saver(run_dir, name, restored.step)
  updates = ("updates", "steps", "seconds", "wall_seconds", "parts")
  if restored.step is None:
    spent = dict.fromkeys(updates, 0)
    run_files.note_machine(spent, jax.devices(), 0)
    return {}, spent, saver
  if restored.meta["files"] != seeds.corpus.files:
    raise ValueError(
      f"data differ from those this run was begun on: {restored.meta['files']}"
      f" there, {seeds.corpus.files} here; name another run_dir"
    )
  seeds.states = store.unflatten(seeds.states, restored.arrays)
  passes, spent = int(seeds.states.epoch.max()), restored.meta["spent"]
  say(f"continuing after checkpoint {restored.step}, pass {passes}")
  changed = run_files.note_machine(spent, jax.devices(), spent["updates"])
  if changed:
    say(changed)
  return run_files.curves_of(restored.arrays), spent, saver


def _loop(seeds: Seeds, curves, spent, saver, progress: bool, began) -> None:
  """Trains until no seed is active; fills `curves` and `spent`.

  Raises:
    Stopped: if told to stop before that, the state saved.
  """
  config, wall_before, parts = seeds.config, spent["wall_seconds"], Parts()
  per_pass = seeds.plans().begins.shape[1]
  bar = host_loop.progress_bar(
    config.max_epochs * per_pass * config.seeds, progress
  )
  bar.update(int((seeds.states.epoch * per_pass + seeds.states.update).sum()))
  stands = saved = _stands(seeds)
  with signals.stopping(lambda: (when([parts]), saved)) as told:
    while len(active := seeds.active()) and not told:
      started = time.perf_counter()
      bar.update(updates := seeds.advance(parts))
      spent["updates"] += updates
      spent["parts"] += 1
      if seeds.pass_ended():
        info = seeds.end_epoch()
        info["epoch"] = np.int64(seeds.states.epoch[active[0]])
        for name, values in info.items():
          curves.setdefault(name, []).append(values)
        spent["steps"] += int(seeds.corpus.training.lengths.sum()) * len(active)
        _show(seeds, info)
      spent["seconds"] += time.perf_counter() - started
      spent["wall_seconds"] = wall_before + time.perf_counter() - began
      meta = {"spent": spent, "files": seeds.corpus.files}
      last = not len(seeds.active()) or bool(told)
      stands = _stands(seeds)
      if saver.save(seeds, curves, meta, force=last):
        saved = stands
  host_loop.close(bar, finished=not len(seeds.active()))
  if told and len(seeds.active()):
    raise Stopped(
      f"stopped by {told[0]} after {stands}; the same command goes on from here"
    )


def _stands(seeds: Seeds) -> str:
  """Where the seeds that are furthest stand, in words."""
  states = seeds.states
  i = np.lexsort((states.update, states.epoch))[-1]
  return f"{states.epoch[i]} passes and {states.update[i]} updates"


def _show(seeds: Seeds, info) -> None:
  """A line for each pass."""
  states = seeds.states
  words = []
  for i in np.flatnonzero(np.isfinite(info["rate"])):
    star = "*" if states.best_epoch[i] == info["epoch"] else ""
    words.append(f"{info['valid'][i]:.3f}{star} (rate {info['rate'][i]:.3g})")
  for i in np.flatnonzero(states.status == Status.DIVERGED):
    words.append(f"seed {seeds.numbers[i]} diverged")
  loss = np.nanmean(info["loss"])
  say(f"pass {info['epoch']}: train {loss:.3f}, valid {', '.join(words)}")


def _outcome(status: int) -> str:
  """ "stopped", "diverged", or "cut" at the last pass allowed."""
  return "cut" if status == Status.RUNNING else Status(status).name.lower()


def make_record(seeds: Seeds, curves, spent, devices) -> dict[str, Any]:
  """The record of a run; errors at the best validation error's pass."""
  config, states, corpus = seeds.config, seeds.states, seeds.corpus
  results = {
    "data": config.data,
    "algorithm": config.algorithm,
    "cell": config.cell,
    "unit": corpus.unit,
    "seeds": config.seeds,
    "parameters": sum(
      int(np.prod(x.shape[1:])) for x in jax.tree.leaves(states.params)
    ),
    "status": [_outcome(s) for s in states.status],
    "epochs": states.epoch,
    "best_epoch": states.best_epoch,
  }
  for split in natural_data.SPLITS:
    per_step, per_piece = seeds.errors(split)
    results[split] = per_step
    if config.data in MUSIC:
      results[f"{split}_per_piece"] = per_piece
  plan = packing.waste(seeds.plans(), config.chunk_length)
  results |= {"floors": corpus.floors, "padding": plan}
  speed = {
    "updates": spent["updates"],
    "steps_per_second": spent["steps"] / max(spent["seconds"], 1e-9),
    "wall_seconds": spent["wall_seconds"],
  }
  return {
    "kind": "natural",
    "config": dataclasses.asdict(config),
    "results": results,
    "curves": {k: np.stack(v) for k, v in sorted(curves.items())},
    "data": {"sha256": corpus.files},
    "provenance": run_files.provenance(devices)
    | speed
    | run_files.several_machines(spent),
  }
