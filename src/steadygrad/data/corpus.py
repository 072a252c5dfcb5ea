"""A data set as streams, and the floors that a network has to beat."""

from typing import Any, NamedTuple

from steadygrad.data import baselines, music, streams, text
from steadygrad.data.streams import Stream

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


def of_music(splits: music.Splits, files: dict[str, str]) -> Corpus:
  """Pieces of music.

  Args:
    splits: the pieces.
    files: {file's name: sha256} of where they come from.
  """
  parts = {
    name: streams.pieces_stream(pieces)
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
    training=parts["train"],
    streams=parts,
    num_symbols=music.NUM_NOTES,
    vocabulary=None,
    unit="nats per step",
    scale=1.0,
    floors=floors,
    files=files,
  )


def of_text(
  splits: text.Splits,
  files: dict[str, str],
  ahead: int,
  batch_size: int,
  eval_lanes: int,
) -> Corpus:
  """A text.

  Args:
    splits: the text.
    files: {file's name: sha256} of where it comes from.
    ahead: which symbol is asked for, the next being 1.
    batch_size: pieces that are trained on side by side.
    eval_lanes: pieces that are evaluated side by side; the test is one.

  Raises:
    ValueError: if the text is too short for so many.
  """
  size = len(splits.vocabulary)
  lanes = {"train": eval_lanes, "valid": eval_lanes, "test": 1}
  texts = dict(zip(SPLITS, splits[:3], strict=True))
  try:
    training = streams.text_stream(splits.train, ahead, batch_size)
    parts = {
      name: streams.text_stream(texts[name], ahead, lanes[name])
      for name in SPLITS
    }
  except ValueError as e:
    raise ValueError(
      f"batch_size {batch_size} or eval_lanes {eval_lanes} is too large for"
      f" this text: {e}"
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
    streams=parts,
    num_symbols=size,
    vocabulary=splits.vocabulary,
    unit="bits per character",
    scale=text.BITS,
    floors=floors,
    files=files,
  )
