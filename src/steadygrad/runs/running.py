"""Training and sweeps as functions: what train.py and sweep.py do."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax

from steadygrad import records
from steadygrad.data.corpus import Corpus
from steadygrad.runs import (
  directories,
  grids,
  kinds,
  memory,
  names,
  queue,
  requests,
  results,
  starts,
  sweeps,
)
from steadygrad.runs.directories import Directory
from steadygrad.runs.fleet import Fleet
from steadygrad.runs.queue import OnCheck
from steadygrad.training.config import Config, CorpusConfig

ACCELERATOR_SLOTS = 64
Corpora = Callable[[CorpusConfig], Corpus]


def train(
  config: Config,
  run_dir: str | pathlib.Path,
  *,
  corpora: Corpora | None = None,
  progress: bool = True,
  on_check: OnCheck | None = None,
) -> dict[str, Any]:
  """Runs all seeds of a configuration to their end, from where they stood.

  Seeds are spread over all devices and trained side by side. A directory with
  fewer seeds or a smaller budget is gone on with, to the bits of a run that
  began with the larger.

  Args:
    config: the configuration.
    run_dir: directory of the run, see `directories`. If the record is there
      already it is returned as it is, without writing anything.
    corpora: the data of a configuration, see `corpora.loader`; for a
      `CorpusConfig`.
    progress: whether to show a bar on standard error.
    on_check: see `queue.run`.

  Returns:
    The record of all seeds.

  Raises:
    ValueError: if the directory holds another run, is in use or cannot be
      written, or the run does not fit into memory.
    Stopped: after SIGINT or SIGTERM, within seconds, states saved.

  Example:
    >>> import tempfile
    >>> from steadygrad import runs
    >>> from steadygrad.training import TaskConfig
    >>> config = TaskConfig(
    ...   length=10, seeds=2, max_updates=2, check_every=2, check_size=10,
    ...   test_size=10,
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   record = runs.train(config, folder, progress=False)
    >>> record["results"]["updates"]
    [2, 2]
  """
  config = config.resolved()
  record = requests.ended(run_dir, config)
  if record is not None:
    return record
  devices = jax.devices()
  refuse_too_large([config], None, corpora)
  with Directory(run_dir, "run_dir") as directory:
    requests.write_config(directory, config)
    runs = names.of_seeds(config)
    directory.drop_without_states(runs)
    slots = -(-len(runs) // len(devices))
    fleet = Fleet(devices, slots, corpora=corpora)
    queue.run(runs, directory, [fleet], progress=progress, on_check=on_check)
    paths = [
      sweeps.record_path(directory.path, names.run_name(run)) for run in runs
    ]
    made = [sweeps.read_record(path) for path in paths]
    path = directory.path / directories.RECORD
    records.write_json(path, results.joined(config, made))
    return kinds.read_run(path)


def sweep(
  configs: list[Config],
  directory: Directory,
  *,
  first_runs: str | None = None,
  slots: int | None = None,
  corpora: Corpora | None = None,
  progress: bool = True,
  on_check: OnCheck | None = None,
) -> dict[str, Any]:
  """Runs configurations of one seed each, those first with which others begin.

  Each device takes run after run from one queue, in turns, see `starts.stages`.

  Args:
    configs: the runs.
    directory: their files.
    first_runs: directory of another sweep, with the runs with which those of
      the first turn begin.
    slots: runs at a time on each device; 1 on a CPU's core, 64 elsewhere, if
      None.
    corpora: as for `train`.
    progress: as for `train`.
    on_check: as for `train`.

  Returns:
    The ledger.

  Raises:
    ValueError: as `starts.load`.
    Stopped: as `train`.
  """
  default = 1 if jax.default_backend() == "cpu" else ACCELERATOR_SLOTS
  waiting = [c for c in configs if directory.finished(c) is None]
  ledger: dict[str, Any] = {}
  for turn in starts.stages(waiting):
    parameters = starts.load(first_runs, turn, directory.path)
    fleets = [
      Fleet([d], slots or default, corpora=corpora, parameters=parameters)
      for d in jax.devices()
    ]
    ledger = queue.run(
      configs,
      directory,
      fleets,
      now=turn,
      progress=progress,
      on_check=on_check,
    )
  return ledger


def refuse_too_large(
  configs: list[Config],
  at_once: int | None,
  corpora: Corpora | None = None,
) -> None:
  """ValueError, naming a size, if a run cannot fit into memory.

  Args:
    configs: the runs.
    at_once: states that are held together; those of all seeds if None.
    corpora: as for `train`.
  """
  sizes = (
    lambda c: c.hidden_size,
    lambda c: c.batch_size * grids.longest(c),
    lambda c: c.batch_size * grids.longest(c) * c.hidden_size,
  )
  for config in {max(configs, key=size) for size in sizes if configs}:
    symbols = None
    if isinstance(config, CorpusConfig) and corpora is not None:
      symbols = corpora(config).num_symbols
    memory.refuse_run(config, jax.devices(), at_once, symbols)
