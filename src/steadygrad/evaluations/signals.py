"""Error signals by lag on the test set of music or text."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import records, training
from steadygrad.analysis import last_step_delta_norms
from steadygrad.data.corpus import Corpus
from steadygrad.evaluations import corpora
from steadygrad.runs import commands, results
from steadygrad.runs.corpora import load
from steadygrad.types import Batch, PyTree


def evaluate(
  runs: list[str],
  *,
  lags: int = 200,
  windows: int = 64,
  out: str = "runs/signals",
  data_dir: str | None = None,
  check_data: bool = True,
) -> dict:
  """Writes <data>-signals.json and .png: |dE_t/dx_k| by lag t − k.

  Args:
    runs: directories of train.py --data, all of one data set.
    lags: steps that the error is sent back.
    windows: stretches of the test set, at most.
    out: directory of the two files.
    data_dir: see `downloads.find`.
    check_data: see `downloads.find`.

  Returns:
    {model and algorithm: quartiles at the last lag}.

  Raises:
    ValueError: if a run cannot be tested, the data cannot be read, no piece has
      so many lags, or `out` cannot be written.
  """
  from steadygrad.figures import signals as figure  # Matplotlib is an extra.

  found = corpora.named_runs(runs)
  commands.writable("out", out, directory=True)
  curves = {}
  for name, run in found.items():
    corpus = load(run.config, data_dir, check=check_data)
    exp = training.experiment(run.config, corpus=corpus)
    signals = error_signals(exp, run.params, corpus, lags, windows)
    quartiles = np.quantile(signals, (0.25, 0.5, 0.75), axis=1)
    curves[name] = quartiles.astype(np.float32)
  configs = [run.config for run in found.values()]
  data = configs[0].data
  record = {
    "kind": "signals",
    "data": data,
    "config": [dataclasses.asdict(config) for config in configs],
    "results": {k: {"at_last_lag": v[:, -1]} for k, v in curves.items()},
    "curves": curves,
    "provenance": results.provenance(jax.devices()),
  }
  path = pathlib.Path(out, f"{data}-signals.json")
  records.write_json(path, record)
  record = records.read_json(path)
  figure.draw(record, path.with_suffix(".png"))
  return record["results"]


def begins(corpus: Corpus, steps: int, count: int) -> np.ndarray:
  """Rows at which stretches of so many steps of the test set begin.

  Raises:
    ValueError: if no piece is that long.
  """
  stream = corpus.streams["test"]
  found = np.concatenate(
    [
      first + steps * np.arange(length // steps)
      for first, length in zip(stream.begins, stream.lengths, strict=True)
    ]
  )
  if not len(found):
    raise ValueError(f"lags must be at most {stream.lengths.max()}: {steps}")
  return found[np.linspace(0, len(found) - 1, count).astype(int)]


def error_signals(
  exp: training.Experiment,
  params: PyTree,
  corpus: Corpus,
  steps: int,
  count: int,
) -> np.ndarray:
  """|dE/dx_k| / |dE/dx_t| of the error E of step t alone, [lags, windows].

  Row 0 is 1, row l is k = t − l. States begin from the initial state, so that a
  stretch of text or of the middle of a piece is seen without its past.
  """
  stream = corpus.streams["test"]
  encode, step_losses = training.encoding(exp.config.data, corpus.num_symbols)
  rows = begins(corpus, steps, count) + np.arange(steps)[:, None]
  batch = Batch(
    encode(jnp.asarray(stream.rows[rows])),
    jnp.asarray(stream.rows[rows + stream.ahead]),
  )

  def profile(params):
    return last_step_delta_norms(exp.model, step_losses, params, batch)

  norms = np.asarray(jax.jit(profile)(params).norms, np.float64)
  return norms / norms[0]
