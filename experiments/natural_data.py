"""A data set's files as streams, and the floors that a network has to beat."""

import os
from typing import Any, NamedTuple

import data_files
import numpy as np

from steadygrad import packing
from steadygrad.natural_config import MUSIC, TEXT, NaturalConfig
from steadygrad.packing import Stream
from steadygrad.tasks import baselines, music, text

SPLITS = ("train", "valid", "test")


class Corpus(NamedTuple):
  """A data set, ready to train on and to be evaluated.

  Attributes:
    training: what is trained on; of a text, a piece for each lane.
    streams: {split: `Stream` to evaluate}; the test text is one piece.
    num_symbols: notes, or symbols of the vocabulary.
    vocabulary: of a text; None for music.
    unit: "nats per step" or "bits per character".
    scale: that unit in a nat.
    floors: {model: {split: error}}, and for music {split + "_per_piece": ...}.
    files: {file's name: sha256}.
  """

  training: Stream
  streams: dict[str, Stream]
  num_symbols: int
  vocabulary: str | None
  unit: str
  scale: float
  floors: dict[str, Any]
  files: dict[str, str]


def load(
  config: NaturalConfig,
  data_dir: str | os.PathLike | None = None,
  *,
  check: bool = True,
) -> Corpus:
  """The data set of a configuration.

  Args:
    config: the configuration.
    data_dir: see `data_files.find`.
    check: see `data_files.find`.

  Raises:
    ValueError: if a file is missing, wrong or damaged, or cannot be downloaded;
      or if a text is too short for the batch.
  """
  sums = data_files.find(config.data, data_dir, check=check)
  files = {path.name: found for path, found in sums.items()}
  paths = list(sums)
  if config.data in MUSIC:
    return _music(music.load(paths[0]), files)
  return _text(config, text.load(paths), files)


def _music(splits: music.Splits, files) -> Corpus:
  streams = {
    name: packing.pieces_stream(pieces)
    for name, pieces in zip(SPLITS, splits, strict=True)
  }
  floors = {}
  for model in (baselines.music_marginal, baselines.music_first_order):
    name = model.__name__.removeprefix("music_")
    floors[name] = {}
    for split, pieces in zip(SPLITS, splits, strict=True):
      score = model(splits.train, pieces)
      floors[name] |= {split: score.per_step}
      floors[name] |= {f"{split}_per_piece": score.per_piece}
  return Corpus(
    training=streams["train"],
    streams=streams,
    num_symbols=music.NUM_NOTES,
    vocabulary=None,
    unit="nats per step",
    scale=1.0,
    floors=floors,
    files=files,
  )


def _text(config: NaturalConfig, splits: text.Splits, files) -> Corpus:
  ahead, size = TEXT[config.data], len(splits.vocabulary)
  lanes = {"train": config.eval_lanes, "valid": config.eval_lanes, "test": 1}
  texts = dict(zip(SPLITS, splits[:3], strict=True))
  try:
    training = packing.text_stream(splits.train, ahead, config.batch_size)
    streams = {
      name: packing.text_stream(texts[name], ahead, lanes[name])
      for name in SPLITS
    }
  except ValueError as e:
    raise ValueError(
      f"batch_size {config.batch_size} or eval_lanes {config.eval_lanes} is too"
      f" large for this text: {e}"
    ) from e
  floors = {
    "marginal": {
      name: baselines.text_marginal(splits.train, t, size)
      for name, t in texts.items()
    },
    "first_order": {
      name: baselines.text_ahead(splits.train, t, size, ahead)
      for name, t in texts.items()
    },
  }
  return Corpus(
    training=training,
    streams=streams,
    num_symbols=size,
    vocabulary=splits.vocabulary,
    unit="bits per character",
    scale=text.BITS,
    floors=floors,
    files=files,
  )


def plan_of_pass(
  config: NaturalConfig, corpus: Corpus, seed: int, epoch: int
) -> packing.Plan:
  """The chunks of a seed's pass; pieces in a new order each time.

  A text has no order to change: its lanes are contiguous.
  """
  rng = None
  if config.data in MUSIC:
    rng = np.random.default_rng([seed, epoch])
  return packing.deal(
    corpus.training, config.batch_size, config.chunk_length, rng
  )
