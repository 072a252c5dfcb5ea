"""The error of trained networks when they are asked after every single step.

For the random permutation: its answer, the first symbol, is the same whenever
it is asked for, so that one pass over long sequences gives the error at all
lengths. Takes records or directories of sweep.py, as generalise.py does, and
writes --out, a PNG, and the record it is drawn from beside it.

  python experiments/every_step.py --runs=runs/tasks --out=every_step.png
"""

import dataclasses
import functools
import pathlib
import sys

import generalise_loop
import grids
import host_loop
import jax
import jax.numpy as jnp
import numpy as np
import run_files
from absl import app, flags, logging
from figures import every_step as figure

from steadygrad import models, records, training
from steadygrad.config import TrainConfig
from steadygrad.types import Array, PyTree

TASK = "random_permutation"

_RUNS = flags.DEFINE_list("runs", [], "Records or directories of sweep.py.")
_STEPS = flags.DEFINE_integer(
  "steps", 400, "Steps to ask after.", lower_bound=1
)
_SIZE = flags.DEFINE_integer("size", 1000, "Sequences.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "runs/every_step.png", "PNG to write.")


def errors_by_step(
  config: TrainConfig, params: PyTree, key: Array, *, size: int
) -> Array:
  """Share of `size` sequences answered wrongly after step t, [length]."""
  exp = training.experiment(config)
  batch = exp.task.sample(key, size)
  readout = models.linear_readout(
    config.hidden_size, exp.task.output_size, reads="every"
  )
  model = models.recurrent(exp.model.cell, readout)
  outputs = model.apply(params, batch.us)
  wrong = jax.vmap(exp.task.wrong, in_axes=(0, None))(outputs, batch)
  return jnp.mean(wrong, axis=1)


@functools.cache
def _tester(program: TrainConfig, size: int):
  return jax.jit(functools.partial(errors_by_step, program, size=size))


def test(run: str, steps: int, size: int) -> dict:
  """What a run was trained on, and its error after each step, [steps].

  Raises:
    ValueError: if it is no run of the task that has ended.
  """
  config, record, params = generalise_loop.load(run)
  if config.task != TASK:
    raise ValueError(f"runs must be of {TASK}, got {config.task} in {run}")
  exact = dataclasses.replace(config, length=steps, max_length=None)
  key = jax.random.key(config.first_seed)
  key = jax.random.fold_in(key, generalise_loop.STREAM)
  params = jax.tree.map(lambda x: x[0], params)
  errors = _tester(grids.program(exact), size)(params, key)
  kept = ("length", "max_length", "init", "algorithm", "first_seed")
  return {
    **{name: record["config"][name] for name in kept},
    "updates": record["results"]["updates"][0],
    "errors": records.plain(np.asarray(errors)),
  }


def main(argv: list[str]) -> None:
  logging.set_verbosity(logging.WARNING)
  out = pathlib.Path(_OUT.value)
  try:
    if argv[1:] or not _RUNS.value:
      raise ValueError(f"runs must name at least one run, got {_RUNS.value}")
    if out.suffix != ".png":
      raise ValueError(f"out must be a file *.png, got {out}")
    host_loop.use_compilation_cache()
    names = [r for word in _RUNS.value for r in generalise_loop.runs_of(word)]
    runs = {
      pathlib.Path(name).stem: test(name, _STEPS.value, _SIZE.value)
      for name in names
    }
    record = {
      "kind": "every_step",
      "config": {"task": TASK, "steps": _STEPS.value, "size": _SIZE.value},
      "runs": runs,
      "provenance": run_files.provenance(jax.devices()),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_json(out.with_suffix(".json"), record)
  except ValueError as e:
    sys.exit(f"every_step.py: {e}")
  except OSError as e:
    sys.exit(f"every_step.py: out {out} cannot be written: {e}")
  figure.draw(record, out)
  print(out)


if __name__ == "__main__":
  app.run(main)
