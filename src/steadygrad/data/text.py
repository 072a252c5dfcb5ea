"""Characters of the Penn Treebank: the next one, or the k-th ahead.

From T. Mikolov's word-level files: the spaces at both ends of a line are
dropped, those inside are written "_", and every remaining character, the
newline included, is one symbol. The vocabulary is the training text's.

What is scored: the k-th symbol ahead of every symbol that has one, n − k of n.
The cost is the cross-entropy; errors are told in bits per character.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from steadygrad.types import Array

BITS = 1 / math.log(2)  # Bits in a nat.


class Splits(NamedTuple):
  """Three texts as indices into the vocabulary, uint8 [n] each.

  Attributes:
    train: the training text.
    valid: the validation text.
    test: the test text.
    vocabulary: the symbols, sorted, as one string.
  """

  train: np.ndarray
  valid: np.ndarray
  test: np.ndarray
  vocabulary: str


def symbols(text: str) -> str:
  """The symbols of a file, by the rules of the module docstring."""
  if text and not text.endswith("\n"):
    text += "\n"
  lines = text.split("\n")[:-1]
  return "".join(f"{line.strip(' ').replace(' ', '_')}\n" for line in lines)


def load(paths: Sequence[str | pathlib.Path]) -> Splits:
  """The texts of three files.

  Args:
    paths: of the train, valid and test file.

  Raises:
    ValueError: if a file cannot be read as text, is empty, or holds a symbol
      that the training text does not, naming it; or if the training text has
      more than 256 symbols.
  """
  texts = []
  for path in paths:
    try:
      texts.append(symbols(pathlib.Path(path).read_text("utf-8")))
    except FileNotFoundError:
      raise ValueError(f"{path} is not there") from None
    except UnicodeDecodeError as e:
      raise ValueError(f"{path} is not text: {e}") from e
    if not texts[-1]:
      raise ValueError(f"{path} is empty")
  vocabulary = "".join(sorted(set(texts[0])))
  if len(vocabulary) > 256:
    raise ValueError(f"{paths[0]} has {len(vocabulary)} symbols, over 256")
  for path, text in zip(paths, texts, strict=True):
    if unknown := sorted(set(text) - set(vocabulary)):
      raise ValueError(f"{path} has symbols unseen in training: {unknown}")
  number = {symbol: i for i, symbol in enumerate(vocabulary)}
  train, valid, test = (
    np.fromiter(map(number.get, text), np.uint8, len(text)) for text in texts
  )
  return Splits(train, valid, test, vocabulary)


def step_losses(logits: Array, targets: Array) -> Array:
  """−log p(target), in nats: [...].

  Args:
    logits: of the symbols, [..., V].
    targets: integers [...].
  """
  return optax.softmax_cross_entropy_with_integer_labels(
    logits, targets.astype(jnp.int32)
  )
