"""Training and sweeps as functions: what train.py and sweep.py do."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax

from steadygrad import records
from steadygrad.data.corpus import Corpus
from steadygrad.runs import (
  bringing,
  directories,
  grids,
  kinds,
  memory,
  names,
  placement,
  queue,
  requests,
  results,
  sharded,
  starts,
  sweeps,
)
from steadygrad.runs.directories import Directory
from steadygrad.runs.fleet import Fleet
from steadygrad.runs.hosts import ONE, Hosts
from steadygrad.runs.queue import OnCheck
from steadygrad.runs.signals import Stopped
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
  hosts: Hosts = ONE,
  shard_batch: bool = False,
) -> dict[str, Any]:
  """Runs all seeds of a configuration to their end, from where they stood.

  Seeds are spread over all devices and trained side by side. A directory with
  fewer seeds or a smaller budget is gone on with, to the bits of a run that
  began with the larger.

  Several processes of `jax.distributed` each train every so-many-th seed, and
  tell each other nothing until all have ended. The directory is one that they
  share, or each has its own; process 0 then has the files of all.

  Args:
    config: the configuration.
    run_dir: directory of the run, see `directories`. If the record is there
      already it is returned as it is, without writing anything.
    corpora: the data of a configuration, see `corpora.loader`; for a
      `CorpusConfig`.
    progress: whether to show a bar on standard error.
    on_check: see `queue.run`.
    hosts: the processes of this run; each calls this function.
    shard_batch: whether all devices of all processes train one seed after the
      other, the sequences of a batch spread over them: for a network that is
      too slow for one device. Gradients, norms and Omega are those of the whole
      batch, so that numbers differ from one device's by rounding alone. Process
      0 alone has the directory.

  Returns:
    The record of all seeds; an empty one in processes but the first.

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
  requests.check_same(hosts, config)
  if shard_batch:
    _check_shards(config)
  record = requests.ended(run_dir, config) if hosts.first else None
  if hosts.same(record is not None):
    return record or {}
  refuse_too_large([config], None, corpora)
  options = {"progress": progress, "on_check": on_check}
  if shard_batch:
    fleet = sharded.Sharded(hosts, corpora=corpora)
    return _train_together(config, run_dir, fleet, hosts, options)
  return _train_apart(config, run_dir, corpora, hosts, options)


def _check_shards(config: Config) -> None:
  devices = jax.device_count()
  if config.batch_size % devices:
    raise ValueError(
      f"batch_size must be a multiple of the {devices} devices, over which"
      f" shard_batch spreads it, got {config.batch_size}"
    )


def _train_apart(
  config: Config, run_dir, corpora: Corpora | None, hosts: Hosts, options: dict
) -> dict[str, Any]:
  """Each process trains its share of the seeds."""
  runs = names.of_seeds(config)
  own = runs[hosts.index :: hosts.count]
  share = -(-len(runs) // hosts.count)  # Of process 0, the largest.
  slots = -(-share // len(placement.own_devices()))
  lock = "alone" if hosts.first else "none"
  with Directory(run_dir, "run_dir", lock=lock) as directory:
    if hosts.first:
      requests.write_config(directory, config)
    hosts.same(None)  # The others find it, or have disks of their own.
    requests.write_config(directory, config)
    directory.drop_without_states(own)
    fleet = Fleet(placement.mesh_devices(), slots, corpora=corpora)
    queue.run(runs, directory, [fleet], now=own, **options)
    bringing.bring(hosts, directory, [names.run_name(run) for run in runs])
    made = _join(directory, config, runs) if hosts.first else {}
    hosts.same(None)  # All is written.
    return made


def _train_together(
  config: Config, run_dir, fleet: sharded.Sharded, hosts: Hosts, options: dict
) -> dict[str, Any]:
  """All processes train one seed after the other."""
  runs = names.of_seeds(config)
  if not hosts.first:
    fleet.follow(runs)
    hosts.same(None)  # All is written.
    return {}
  options = options | {"asked_to_stop": hosts.asked_to_stop}
  with Directory(run_dir, "run_dir") as directory:
    requests.write_config(directory, config)
    directory.drop_without_states(runs)
    try:
      queue.run(runs, directory, [fleet], **options)
    except Stopped:
      fleet.end(stopped=True)
      raise
    fleet.end(stopped=False)
    made = _join(directory, config, runs)
    hosts.same(None)
    return made


def _join(
  directory: Directory, config: Config, runs: list[Config]
) -> dict[str, Any]:
  """Writes the record of all seeds; it, as a reader finds it."""
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
  had = sweeps.record_names(directory.path)
  waiting = [
    c
    for c in configs
    if names.run_name(c) not in had or directory.finished(c) is None
  ]
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
    memory.refuse_run(config, placement.own_devices(), at_once, symbols)
