"""Says how far back in time the gradients of a trained network reach.

Takes a run that has ended, of train.py or sweep.py, on a task. The report is of
its first seed, before training and after it: text on standard error, and with
--out a page (*.html), a picture (*.png), or a record (*.json) of the trained
network. The last line on standard output is one JSON object.

  python -m steadygrad report --run=runs/a --out=report.html
"""

from typing import Any

import jax
from absl import flags

from steadygrad import reports, training
from steadygrad.evaluations import trained
from steadygrad.options import INT32
from steadygrad.runs import commands, launch, loading
from steadygrad.runs.signals import say

_RUN = commands.path_flag(
  "run", None, "Directory or record of a run that has ended.", required=True
)
_OUT = commands.path_flag("out", None, "File to write: *.html, *.png, *.json.")
_SIZE = flags.DEFINE_integer(
  "size", 100, "Sequences.", lower_bound=2, upper_bound=INT32
)
_SUFFIXES = (".html", ".png", ".json", ".txt")


def main() -> dict:
  """Reports; verdicts at the start and at the end, for the last line."""
  if _OUT.value:
    if not _OUT.value.endswith(_SUFFIXES):
      allowed = ", ".join(_SUFFIXES)
      raise ValueError(f"out must end with {allowed}, got {_OUT.value}")
    commands.writable("out", _OUT.value)
  config, _ = trained.read(_RUN.value)
  launch.use_jax(all_cores=False)
  run = loading.load(_RUN.value)
  exp = training.experiment(config)
  task: Any = exp.task
  key = jax.random.key(config.first_seed)
  networks = {
    "before": exp.init(key),
    "after": jax.tree.map(lambda x: x[0], run.params),
  }
  batch = task.sample(jax.random.fold_in(key, trained.STREAM), _SIZE.value)
  watch = reports.GradientWatch(run.model, 1, loss=task.loss)
  told = {}
  for step, (when, params) in enumerate(networks.items()):  # Compiled once.
    watch(step, params, batch)
    found = watch.reports[step]
    say(f"{when} training\n{found}")
    told[when] = {layer.name: layer.verdict for layer in found.layers}
  if _OUT.value:
    found.save(_OUT.value)
    told["out"] = _OUT.value
  return told
