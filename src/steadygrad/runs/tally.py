"""What is done and left of many runs: a bar, and the ledger."""

import contextlib
import hashlib
import math
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from tqdm import tqdm

from steadygrad import records
from steadygrad.runs import grids, names, sweeps
from steadygrad.runs.claims import Lost
from steadygrad.runs.directories import Directory
from steadygrad.runs.job import Job
from steadygrad.runs.signals import say
from steadygrad.training.config import BUDGETS, Config

LEDGER = "ledger.json"
LEDGER_SECONDS = 30  # Between two ledgers while no run ends.
LEDGER_SHARE = 0.02  # Of the time goes into ledgers, at most, before the last.
_OF = "of"  # In its file: a digest of the runs.
_OUTCOMES = ("solved", "stopped", "diverged", "cut")
# What a bar shows of the last judgement, and how.
_SHOWN = {"loss": "{:.3f}", "error": "{:.1%}", "valid": "{:.3f}"}


class Tally:
  """What is done and left, in a bar and in the ledger.

  Where several processes write the ledger, each looks for what the others have
  done while it has the claim on the ledger. So the last one knows of all.
  """

  def __init__(
    self, directory: Directory, configs: list[Config], progress: bool
  ):
    self._directory, self._lock = directory, threading.Lock()
    self._configs = {names.run_name(c): c for c in configs}
    self._names = {id(c): name for name, c in self._configs.items()}
    # Those that had a record, before any of them is read: it may be of a run
    # that was cut and goes on here.
    self._had = self._configs.keys() & sweeps.record_names(directory.path)
    self._results = {
      name: directory.finished(c) if name in self._had else None
      for name, c in self._configs.items()
    }
    self._of = _digest(self._configs)
    self._adopted: dict[str, Any] | None = None
    begun = sweeps.state_names(directory.path)
    self._steps = {
      name: directory.made(self._configs[name]) if name in begun else 0
      for name, results in self._results.items()
      if results is None
    }
    self._begun = self._steps.keys() & begun
    self._periods: dict[str, int] = {}
    self._began, self._work = time.perf_counter(), 0
    self._written, self._cost = 0.0, 0.0
    self.bar = tqdm(
      total=sum(self._budget(name) for name in self._steps),
      initial=sum(self._steps.values()),
      unit=" updates",
      unit_scale=True,
      disable=not progress,
      file=sys.stderr,
      dynamic_ncols=True,
    )

  def _budget(self, name: str) -> int:
    """Updates of a run at most; passes, where nobody knows yet how long.

    So are those that it has made, in `_steps`.
    """
    config = self._configs[name]
    budget = getattr(config, BUDGETS[type(config)])
    return budget * self._periods.get(name, 1)

  def name_of(self, config: Config) -> str:
    """`names.run_name` of one of the runs, which is made once."""
    return self._names.get(id(config)) or names.run_name(config)

  def begun(self, runs: list[Config]) -> int:
    """How many of these unfinished runs have a state to go on from."""
    return sum(self.name_of(c) in self._begun for c in runs)

  def waiting(self) -> list[Config]:
    """Runs without a final record, in order."""
    if self._adopted is not None:
      return []
    return [c for n, c in self._configs.items() if self._results[n] is None]

  def moved(
    self, jobs: list[Job], updates: int, told: list[dict] | None
  ) -> None:
    """Jobs of one program have made so many updates in all."""
    with self._lock:
      self._work += updates * grids.longest(jobs[0].config)
      for job in jobs:
        self._steps[job.name] = int(job.state.step)
        if job.budget != self._budget(job.name):
          self.bar.total -= self._budget(job.name)
          self._periods[job.name] = job.exp.batches.period
          self.bar.total += job.budget
      if time.perf_counter() - self._written > LEDGER_SECONDS:
        self._write_soon()
      if told:
        self._show(told)
      self.bar.update(sum(self._steps.values()) - self.bar.n)

  def _show(self, told: list[dict]) -> None:
    """The last judgement in the bar's end."""
    shown = {
      name: form.format(np.mean([info[name] for info in told]))
      for name, form in _SHOWN.items()
      if name in told[0]
    }
    ended = sum(r is not None for r in self._results.values())
    shown["ended"] = f"{ended}/{len(self._results)}"
    self.bar.set_postfix(shown, refresh=False)

  def finished(self, job: Job, results: dict) -> None:
    """A job has ended, and its record is written."""
    with self._lock:
      self._results[job.name] = results
      # Full, when all is done without the updates that are left.
      self.bar.total -= job.budget - int(job.last.state.step)
      self.bar.refresh()
      say(f"{job.name}: {in_words(results)}")
      self._write_soon()

  def ended_by_others(self, name: str) -> bool:
    """Whether another process has ended a run since this one began.

    Where there was no record the new one is not read: there are as many as
    runs, and as many processes.
    """
    if name not in self._had:
      path = sweeps.record_path(self._directory.path, name)
      return os.path.exists(path)
    with self._lock:
      self._look(name)
      return self._results[name] is not None

  def settle(self, ended: list[str], stop: threading.Event) -> set[str]:
    """Reads what others have ended; those of it that are not over here.

    The first process to come here reads all records and writes the ledger; the
    next ones read that, if it is of the same runs and all are over.
    """
    with self._lock:
      self._write(math.inf, ended, stop)
      if self._adopted is not None:
        return set()
      return {name for name in ended if self._results[name] is None}

  def _look(self, name: str) -> None:
    """Reads the record of a run that was not over, if there is one."""
    if self._results[name] is None:
      found = self._directory.finished(self._configs[name])
      if found is None:
        self._had.add(name)  # What is there is not enough here.
        return
      self._results[name] = found
      self.bar.total -= self._budget(name) - self._steps[name]

  def ledger(self) -> dict[str, Any]:
    """Counts by what became of the runs, and updates left at most."""
    if self._adopted is not None:
      return self._adopted
    groups: dict[str, dict] = {}
    work = 0
    for name, config in self._configs.items():
      words = (grids.subject(config), grids.longest(config), config.algorithm)
      blank = {"runs": 0} | dict.fromkeys(_OUTCOMES, 0) | {"updates_left": 0}
      group = groups.setdefault(" ".join(map(str, words)), blank)
      group["runs"] += 1
      if result := self._results[name]:
        group[outcome(result)] += 1
        continue
      left = max(self._budget(name) - self._steps[name], 0)
      group["updates_left"] += left
      work += left * grids.longest(config)
    rate = self._work / (time.perf_counter() - self._began)
    total: dict[str, Any] = {
      key: sum(g[key] for g in groups.values())
      for key in ("runs", *_OUTCOMES, "updates_left")
    }
    total["seconds_left_at_most"] = work / rate if rate else None
    return total | {"groups": groups}

  def _write_soon(self) -> None:
    """Writes the ledger, where nobody else does and not too often."""
    if time.perf_counter() - self._written > self._cost / LEDGER_SHARE:
      self._write(0)

  def write(self, wait: float | None = None) -> None:
    """Writes the ledger.

    Args:
      wait: seconds to wait for another process that writes it; as long as it
        takes if None.
    """
    with self._lock:
      self._write(math.inf if wait is None else wait)

  def _write(
    self,
    wait: float,
    ended: Iterable[str] = (),
    stop: threading.Event | None = None,
  ) -> None:
    started, claims = time.perf_counter(), self._directory.claims
    path = self._directory.path / LEDGER
    while (claim := claims.take(LEDGER)) is None:
      told_to = stop is not None and stop.is_set()
      if told_to or time.perf_counter() - started >= wait:
        return
      time.sleep(0.05)
    try:
      if None in self._results.values():
        self._adopt(path)
      if self._adopted is None:
        there = sweeps.record_names(path.parent)
        for name in there & self._results.keys() - self._had | {*ended}:
          self._look(name)
        ledger = self.ledger() | {_OF: self._of}
        claim.write(path, records.json_bytes(ledger))
    except Lost:
      pass  # Another process, which knows as much, writes it.
    finally:
      claims.release(claim)
    self._written = time.perf_counter()
    self._cost = self._written - started

  def _adopt(self, path: pathlib.Path) -> None:
    """Takes over a ledger of the same runs that says that all are over."""
    if not path.exists():
      return
    with contextlib.suppress(ValueError):
      ledger = records.read_json(path)
      over = sum(ledger.get(name, 0) for name in _OUTCOMES)
      if ledger.pop(_OF, None) == self._of and over == len(self._configs):
        self._adopted = ledger


def _digest(configs: dict[str, Config]) -> str:
  """Of runs and their budgets, whatever their order."""
  told = sorted(
    f"{name} {getattr(c, BUDGETS[type(c)])}" for name, c in configs.items()
  )
  return hashlib.sha256("\n".join(told).encode()).hexdigest()


def outcome(results: dict[str, Any]) -> str:
  """What became of a run: "solved", "stopped", "diverged" or "cut"."""
  status = results["status"][0]
  return "cut" if status == "running" else status


def in_words(results: dict[str, Any]) -> str:
  """What became of a run, in words."""
  what = outcome(results)
  if "epochs" in results:
    best = results["best_epoch"][0]
    valid = float(results["valid"][0])
    return (
      f"{what} after {results['epochs'][0]} passes; best validation error"
      f" {valid:.3f} {results['unit']}, after pass {best}"
    )
  error = float(results["test_error"][0])
  return f"{what} at {results['updates'][0]} updates, test error {error:.2%}"
