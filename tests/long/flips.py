"""Flips bits in what runs and sweeps leave, and counts what is noticed.

  PYTHONPATH=src:experiments:tests python tests/long/flips.py --flips=300

Each flip is of one random bit of a random file of a run that has ended, one
that was stopped, a sweep, or its collected file. The file is then read as the
programs read it: the flip is noticed, or it changes nothing of what is read,
or it is WRONG WITHOUT A WORD, of which there must be none. Pictures are left
out: nothing reads them. The exit status is 1 if any flip was wrong.
"""

import argparse
import collections
import contextlib
import io
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from steadygrad import records, runs, training
from steadygrad.evaluations import lengths
from steadygrad.runs import directories, gather, grids, names, requests, sweeps
from steadygrad.runs.directories import Directory, Progress
from steadygrad.runs.loading import Run
from steadygrad.training.config import TaskConfig

TINY = {
  "length": 10,
  "hidden_size": 4,
  "batch_size": 2,
  "algorithm": "msgd_c",
  "max_updates": 30,
  "check_every": 10,
  "check_size": 20,
  "test_size": 20,
  "seeds": 1,
}
CONFIG = TaskConfig(**TINY | {"seeds": 2}).resolved()
SEEDS = names.of_seeds(CONFIG)
SWEPT = grids.expand([TINY], {"learning_rate": [0.01, 0.1]})
LENGTHS, SIZE = [10, 12], 20


class Kind(NamedTuple):
  """A kind of file.

  Attributes:
    file: a pattern below the home directory.
    read: home -> all that the programs make of such a file.
  """

  file: str
  read: Callable[[pathlib.Path], Any]


def leave(home: pathlib.Path) -> None:
  """A run that ended, one that was stopped, a sweep, and its collected file."""
  runs.train(CONFIG, home / "ended", progress=False)
  shutil.copytree(home / "ended", home / "stopped")
  (home / "stopped" / directories.RECORD).unlink()
  shutil.rmtree(home / "stopped" / sweeps.RECORDS)
  with Directory(home / "sweep") as swept:
    runs.sweep(SWEPT, swept, progress=False)
  lengths.test(str(home / "ended"), LENGTHS, SIZE)
  for path in sweeps.records_in(home / "sweep"):
    lengths.test(str(path), LENGTHS, SIZE)
  packed = gather.pack(gather.read(home / "sweep"))
  records.write_json(home / "collected.json", packed)


def load(path: pathlib.Path) -> Run:
  """What is read of a run; its model is functions, which no file holds."""
  return runs.load(path)._replace(model=None)


def _ended(home: pathlib.Path):
  return requests.ended(home / "ended", CONFIG)


def _loaded(home: pathlib.Path):
  return _ended(home), load(home / "ended")


def _seeds(home: pathlib.Path):
  """What the run and `load` make of the files of each seed."""
  with Directory(home / "ended", "run_dir") as directory:
    found = [directory.finished(config) for config in SEEDS]
  paths = [sweeps.record_path(home / "ended", names.run_name(c)) for c in SEEDS]
  return found, [load(path) for path in paths], _ended(home)


def _stopped(home: pathlib.Path):
  with Directory(home / "stopped", "run_dir") as directory:
    requests.write_config(directory, CONFIG)
    return [load_state(directory, config) for config in SEEDS]


def _generalised(home: pathlib.Path):
  run = str(home / "ended")
  lengths.check(run, LENGTHS, SIZE)
  return lengths.test(run, LENGTHS, SIZE)


def load_state(directory: Directory, config: TaskConfig) -> Progress | None:
  """Where a run of one seed stands."""
  exp, key = training.experiment(config), jax.random.key(0)
  template = jax.eval_shape(lambda: training.init(exp, key))
  return directory.load(names.run_name(config), template)


def _swept(home: pathlib.Path):
  """What a sweep, its figures and `load` make of its files."""
  found = []
  with Directory(home / "sweep") as swept:
    for config in SWEPT:
      found += [swept.finished(config), load_state(swept, config)]
      path = sweeps.record_path(home / "sweep", names.run_name(config))
      found.append(load(path))
  return found, gather.read(home / "sweep")


KINDS = {
  "record": Kind("ended/record.json", _loaded),
  "config": Kind("ended/config.json", _ended),
  "seed's record": Kind("ended/records/*.json", _seeds),
  "seed's state": Kind("ended/states/*.safetensors", _seeds),
  "test at lengths": Kind("ended/generalisation.json", _generalised),
  "config of a stopped run": Kind("stopped/config.json", _stopped),
  "state": Kind("stopped/states/*.safetensors", _stopped),
  "sweep's record": Kind("sweep/records/*.json", _swept),
  "sweep's state": Kind("sweep/states/*.safetensors", _swept),
  "sweep's test": Kind("sweep/generalisation/*.json", _swept),
  "ledger": Kind(
    "sweep/ledger.json",
    lambda home: records.read_json(home / "sweep/ledger.json"),
  ),
  "collected": Kind(
    "collected.json", lambda home: gather.read(home / "collected.json")
  ),
}


def same(a: Any, b: Any) -> bool:
  """Whether two things that were read are equal, arrays to the bit."""
  if jax.tree.structure(a) != jax.tree.structure(b):
    return False
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(_bits(x) == _bits(y) for x, y in pairs)


def _bits(x: Any):
  if isinstance(x, np.ndarray):
    return x.dtype, x.shape, x.tobytes()
  return type(x), repr(x)


def flip(home: pathlib.Path, kind: Kind, expected: Any, rng) -> str:
  """ "noticed", "harmless" or "wrong", of one flip in a copy of `home`."""
  with tempfile.TemporaryDirectory() as scratch:
    copy = pathlib.Path(scratch) / "home"
    shutil.copytree(home, copy)
    path = rng.choice(sorted(copy.glob(kind.file)))
    data = bytearray(path.read_bytes())
    place = int(rng.integers(8 * len(data)))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    said = io.StringIO()
    try:
      with contextlib.redirect_stderr(said):
        got = kind.read(copy)
    except ValueError as e:
      # It says which file it is.
      return "noticed" if path.name in str(e) else "wrong"
    if "is damaged" in said.getvalue() and path.name in said.getvalue():
      return "noticed"
    return "harmless" if same(got, expected) else "wrong"


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--flips", type=int, default=300)
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  rng = np.random.default_rng(options.seed)
  counts = collections.Counter()
  with tempfile.TemporaryDirectory() as scratch:
    home = pathlib.Path(scratch)
    with contextlib.redirect_stderr(io.StringIO()):
      leave(home)
    expected = {name: kind.read(home) for name, kind in KINDS.items()}
    for i in range(options.flips):
      name = list(KINDS)[i % len(KINDS)]
      outcome = flip(home, KINDS[name], expected[name], rng)
      counts[outcome] += 1
      if outcome == "wrong":
        print(f"WRONG WITHOUT A WORD: {name}")
  print(
    f"{options.flips} flips: {counts['noticed']} noticed,"
    f" {counts['harmless']} harmless, {counts['wrong']} WRONG WITHOUT A WORD"
  )
  return int(counts["wrong"] > 0)


if __name__ == "__main__":
  sys.exit(main())
