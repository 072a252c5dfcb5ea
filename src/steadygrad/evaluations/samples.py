"""What networks of music and text compose."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import models, training
from steadygrad.evaluations import corpora, midi
from steadygrad.runs import commands
from steadygrad.runs.corpora import load
from steadygrad.runs.signals import say
from steadygrad.training.config import MUSIC
from steadygrad.types import Array, PyTree


def evaluate(
  runs: list[str],
  *,
  sample: int = 200,
  seed: int = 0,
  out: str = "runs/samples",
  data_dir: str | None = None,
  check_data: bool = True,
) -> dict:
  """Writes a sample of each run: <data>-<model>-<algorithm>.txt of text.

  Of music, .png beside a stretch of the test set, and .mid if mido is there.

  Args:
    runs: directories of train.py --data, all of one data set.
    sample: steps to compose.
    seed: of the sample.
    out: directory of the files.
    data_dir: see `downloads.find`.
    check_data: see `downloads.find`.

  Returns:
    {model and algorithm: names of its files}.

  Raises:
    ValueError: if a run cannot be sampled, the data cannot be read, or `out`
      cannot be written.
  """
  found = corpora.named_runs(runs)
  if any(run.config.data in MUSIC for run in found.values()):
    import steadygrad.plots.style  # noqa: F401  Fails before the work.
  commands.writable("out", out, directory=True)
  key, written = jax.random.key(seed), {}
  for name, run in found.items():
    corpus = load(run.config, data_dir, check=check_data)
    exp = training.experiment(run.config, corpus=corpus)
    stem = pathlib.Path(out, f"{run.config.data}-{name}")
    write = _write_music if corpus.vocabulary is None else _write_text
    written[name] = write(exp, run.params, key, sample, corpus, stem)
  return {"files": written}


def compose(
  exp: training.Experiment,
  params: PyTree,
  key: Array,
  first: Array,
  *,
  num_steps: int,
  is_music: bool,
) -> Array:
  """Rows of the stream, [num_steps, ...], drawn one after the other."""
  corpus: Any = exp.corpus
  draw = _draw_notes if is_music else jax.random.categorical
  sample = functools.partial(
    models.compose,
    exp.model,
    num_steps=num_steps,
    encode=training.encoding(exp.config.data, corpus.num_symbols)[0],
    draw=draw,
  )
  return jax.jit(sample)(params, key, first)


def _draw_notes(key: Array, logits: Array) -> Array:
  return jax.random.bernoulli(key, jax.nn.sigmoid(logits))


def _write_music(exp, params, key, steps, corpus, stem) -> list[str]:
  first = jnp.zeros(corpus.num_symbols, jnp.uint8)
  drawn = compose(exp, params, key, first, num_steps=steps, is_music=True)
  from steadygrad.figures import piano_roll  # Matplotlib is an extra.

  roll = np.asarray(drawn)
  real = corpus.streams["test"]
  length = min(steps, real.lengths.max())
  begin = real.begins[np.argmax(real.lengths >= length)] + 1
  stretch = real.rows[begin : begin + length]
  picture, sound = stem.with_suffix(".png"), stem.with_suffix(".mid")
  piano_roll.draw(roll, stretch, picture)
  try:
    midi.write(roll, sound)
  except ValueError as e:
    say(e)
    return [picture.name]
  return [picture.name, sound.name]


def _write_text(exp, params, key, steps, corpus, stem) -> list[str]:
  first = jnp.uint8(max(corpus.vocabulary.find("\n"), 0))
  drawn = compose(exp, params, key, first, num_steps=steps, is_music=False)
  text = "".join(corpus.vocabulary[i] for i in np.asarray(drawn))
  path = stem.with_suffix(".txt")
  path.write_text(f"{text}\n")
  return [path.name]
