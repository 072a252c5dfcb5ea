"""Data sets of music and text by name: from their files to a `Corpus`."""

import functools
import os
from collections.abc import Callable

from steadygrad.data import corpus, music, text
from steadygrad.data.corpus import Corpus
from steadygrad.runs import downloads
from steadygrad.training.config import MUSIC, TEXT, CorpusConfig


def load(
  config: CorpusConfig,
  data_dir: str | os.PathLike | None = None,
  *,
  check: bool = True,
) -> Corpus:
  """The data set of a configuration.

  Args:
    config: the configuration.
    data_dir: see `downloads.find`.
    check: see `downloads.find`.

  Raises:
    ValueError: if a file is missing, wrong or damaged, or cannot be downloaded;
      or if a text is too short for the batch.
  """
  lanes = config.batch_size, config.eval_lanes
  return _load(config.data, lanes, data_dir, check)


@functools.lru_cache(maxsize=4)
def _load(data: str, lanes: tuple[int, int], data_dir, check: bool) -> Corpus:
  sums = downloads.find(data, data_dir, check=check)
  files = {path.name: found for path, found in sums.items()}
  paths = list(sums)
  if data in MUSIC:
    return corpus.of_music(music.load(paths[0]), files)
  return corpus.of_text(text.load(paths), files, TEXT[data], *lanes)


def loader(
  data_dir: str | os.PathLike | None = None, *, check: bool = True
) -> Callable[[CorpusConfig], Corpus]:
  """`load` of one place, for `fleet.Fleet`."""
  return lambda config: load(config, data_dir, check=check)
