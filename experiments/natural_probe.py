"""Looks into trained networks: error signals by lag, and what they compose.

Takes run directories of natural.py that have ended, all on one data set, and
writes to --out:

  <data>-signals.json, .png    |dE_t/dx_k| by lag t − k on the test set
  <data>-<algorithm>.txt       a sample of text, or
  <data>-<algorithm>.png, .mid a sample of music, if mido is installed

  python experiments/natural_probe.py --runs=runs/a,runs/b --data_dir=data
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import midi
import natural_data
import numpy as np
import run_files
from absl import flags
from figures import natural_signals, piano_roll
from natural_data import Corpus

from steadygrad import natural_experiment, records
from steadygrad.adjoints import adjoints
from steadygrad.analysis import delta_norms_by_lag
from steadygrad.config import MAX_SEED
from steadygrad.natural_config import MUSIC, NaturalConfig
from steadygrad.runs import commands, kinds, store
from steadygrad.runs.directories import RECORD, parameters_path
from steadygrad.runs.signals import say
from steadygrad.types import Array, Batch, PyTree

_RUNS = commands.paths_flag("runs", [], "Run directories of natural.py.")
_OUT = commands.path_flag("out", "runs/probe", "Directory for what is made.")
_DATA_DIR = commands.path_flag("data_dir", None, "As in natural.py.")
_CHECK_DATA = flags.DEFINE_bool("check_data", True, "As in natural.py.")
_LAGS = flags.DEFINE_integer(
  "lags",
  200,
  "Steps that the error is sent back.",
  lower_bound=2,
  upper_bound=10_000,
)
_WINDOWS = flags.DEFINE_integer(
  "windows",
  64,
  "Stretches of the test set, at most.",
  lower_bound=1,
  upper_bound=1000,
)
_SAMPLE = flags.DEFINE_integer(
  "sample",
  200,
  "Steps to compose; 0 for none.",
  lower_bound=0,
  upper_bound=1_000_000,
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Of the sample.", lower_bound=0, upper_bound=MAX_SEED
)


def load(run: str) -> tuple[NaturalConfig, PyTree]:
  """(configuration, best parameters of the first seed) of a run that ended.

  Raises:
    ValueError: if the run has not ended or its files are damaged.
  """
  run_dir = pathlib.Path(run)
  path, parameters = run_dir / RECORD, parameters_path(run_dir)
  for file in (path, parameters):
    if not file.exists():
      raise ValueError(f"runs must have ended, but {run} has no {file.name}")
  record = records.read_json(path, kinds.NATURAL)
  config = kinds.config_of(record, NaturalConfig, path)
  arrays = store.read_arrays(parameters, run_files.name_of(config)).arrays
  if (w_out := arrays.get("params['readout']['w_out']")) is None:
    raise ValueError(f"{parameters} holds no readout")
  model = natural_experiment.experiment(config, w_out.shape[-1]).model
  keys = jax.vmap(jax.random.key)(jnp.zeros(config.seeds, jnp.uint32))
  template = jax.eval_shape(jax.vmap(model.init), keys)
  params = store.unflatten(template, arrays, "params")
  return config, jax.tree.map(lambda x: x[0], params)


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
  exp: natural_experiment.Experiment,
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
  rows = begins(corpus, steps, count) + np.arange(steps)[:, None]
  batch = Batch(
    exp.encode(jnp.asarray(stream.rows[rows])),
    jnp.asarray(stream.rows[rows + stream.ahead]),
  )

  def last(outputs, batch):
    return jnp.sum(exp.step_losses(outputs[-1], batch.targets[-1]))

  def profile(params):
    trajectory = adjoints(exp.model, last)(params, batch)[2]
    return delta_norms_by_lag(trajectory).norms

  norms = np.asarray(jax.jit(profile)(params), np.float64)
  return norms / norms[0]


def compose(
  exp: natural_experiment.Experiment,
  params: PyTree,
  key: Array,
  first: Array,
  steps: int,
) -> Array:
  """Rows [steps, ...], each drawn from the prediction after the one before.

  Args:
    exp: the experiment.
    params: of the model.
    key: of the draws.
    first: the row before the first, as in the stream.
    steps: how many.
  """
  cell, theta = exp.model.cell, params["cell"]
  is_music = exp.config.data in MUSIC

  def step(carry, key):
    x, row = carry
    x = cell.step(theta, x, exp.encode(row)[None])
    logits = exp.model.readout.apply(params["readout"], cell.output(x)[None])
    logits = logits[0, 0]
    if is_music:
      row = jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(row.dtype)
    else:
      row = jax.random.categorical(key, logits).astype(row.dtype)
    return (x, row), row

  start = cell.initial_state(theta, 1), first
  return jax.lax.scan(step, start, jax.random.split(key, steps))[1]


def write_sample(exp, params, corpus: Corpus, stem: pathlib.Path) -> None:
  """A sample beside its name: text, or a piano-roll and a MIDI file."""
  key = jax.random.key(_SEED.value)
  draw = jax.jit(functools.partial(compose, exp, steps=_SAMPLE.value))
  if corpus.vocabulary is None:
    first = jnp.zeros(corpus.num_symbols, jnp.uint8)
    roll = np.asarray(draw(params, key, first))
    real = corpus.streams["test"]
    length = min(_SAMPLE.value, real.lengths.max())
    begin = real.begins[np.argmax(real.lengths >= length)] + 1
    stretch = real.rows[begin : begin + length]
    piano_roll.draw(roll, stretch, stem.with_suffix(".png"))
    try:
      midi.write(roll, stem.with_suffix(".mid"))
    except ValueError as e:
      say(e)
  else:
    first = jnp.uint8(max(corpus.vocabulary.find("\n"), 0))
    drawn = np.asarray(draw(params, key, first))
    text = "".join(corpus.vocabulary[i] for i in drawn)
    stem.with_suffix(".txt").write_text(text + "\n")


def probe(runs: list[str], out: pathlib.Path) -> dict:
  """The record of error signals; draws it, and writes the samples."""
  loaded = [load(run) for run in runs]
  if len(names := {config.data for config, _ in loaded}) != 1:
    raise ValueError(f"runs must be of one data set, got {sorted(names)}")
  commands.writable("out", out, directory=True)
  curves, configs = {}, []
  for config, params in loaded:
    corpus = natural_data.load(config, _DATA_DIR.value, check=_CHECK_DATA.value)
    exp = natural_experiment.experiment(config, corpus.num_symbols)
    signals = error_signals(exp, params, corpus, _LAGS.value, _WINDOWS.value)
    name = f"{config.cell}-{config.algorithm}"
    if name in curves:
      raise ValueError(
        f"runs must be of different cells or algorithms, got two of {name}"
      )
    quartiles = np.quantile(signals, (0.25, 0.5, 0.75), axis=1)
    curves[name] = quartiles.astype(np.float32)
    configs.append(dataclasses.asdict(config))
    if _SAMPLE.value:
      write_sample(exp, params, corpus, out / f"{config.data}-{name}")
  (data,) = names
  record = {
    "kind": "natural_signals",
    "data": data,
    "config": configs,
    "results": {k: {"at_last_lag": v[:, -1]} for k, v in curves.items()},
    "curves": curves,
    "provenance": run_files.provenance(jax.devices()),
  }
  path = out / f"{data}-signals.json"
  records.write_json(path, record)
  record = records.read_json(path)
  natural_signals.draw(record, path.with_suffix(".png"))
  return record


def main() -> dict:
  if not _RUNS.value:
    raise ValueError("runs must name at least one run, got none")
  launch.use_jax(all_cores=False)
  return probe(_RUNS.value, pathlib.Path(_OUT.value))["results"]


if __name__ == "__main__":
  launch.main(main)
