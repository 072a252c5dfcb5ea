"""evaluate.py --test=lags: signals by lag, before and after training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import analysis, runs, training, unroll
from steadygrad.evaluations import lags, trained
from steadygrad.figures import lags as figure
from steadygrad.models import transformer
from steadygrad.training import TaskConfig

pytestmark = pytest.mark.usefixtures("quickly_compiled")
SIZE, LENGTH = 5, 12


def config(**given):
  common = {"hidden_size": 8, "max_updates": 2, "check_every": 2}
  common |= {"check_size": 10, "test_size": 10, "length": LENGTH}
  return TaskConfig(algorithm="msgd_c", seeds=1, **(common | given))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
  """{model: its record}, of short runs."""
  place = tmp_path_factory.mktemp("swept")
  configs = [config(model="elman"), config(model="transformer", layers=2)]
  runs.sweep(configs, runs.Directory(place), progress=False)
  found = {}
  for path in sorted((place / "records").glob("*.json")):
    found[json.loads(path.read_text())["config"]["model"]] = str(path)
  return found


@pytest.mark.parametrize("model", ["elman", "transformer"])
def test_signals_are_the_gradients_in_the_inputs(swept, model):
  found = lags.test(swept[model], SIZE)
  run, key = trained.load_one(swept[model], "temporal_order")
  exp = training.experiment(run.config)
  batch = exp.task.sample(key, SIZE)

  def error(us, params):
    return exp.task.loss(exp.model.apply(params, us), batch)

  start = training.init(exp, jax.random.key(run.config.first_seed)).params
  for when, params in (("start", start), ("end", run.params)):
    gradient = jax.grad(error)(batch.us, params)
    wanted = np.linalg.norm(gradient, axis=-1).mean(1)[::-1]
    got = np.array(found["signals"][when], float)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-9)
  assert found["signals"]["start"] != found["signals"]["end"]


def test_the_exponent_is_the_growth_of_a_difference(swept):
  """Two states a little apart, along the sequences, without a frame."""
  found = lags.test(swept["elman"], SIZE)
  run, key = trained.load_one(swept["elman"], "temporal_order")
  exp = training.experiment(run.config)
  us = exp.task.sample(key, SIZE).us
  cell, theta = exp.model.cell, run.params["cell"]

  def last(x):
    for u in us:
      x = cell.step(theta, x, u)
    return x

  growth = []
  for b in range(SIZE):

    def one(x, b=b):
      return last(jnp.broadcast_to(x, (SIZE, 8)))[b]

    product = jax.jacobian(one)(jnp.zeros(8))
    frame = jax.random.normal(jax.random.key(0), (8, 1))
    direction = frame / jnp.linalg.norm(frame)
    growth.append(np.log(np.linalg.norm(product @ direction)) / LENGTH)
  assert found["exponent"]["end"] == pytest.approx(np.mean(growth), rel=1e-3)


def test_the_growth_a_layer_is_of_the_residual_stream(swept):
  """b_2 of a block is added to the stream behind it, at every position."""
  found = lags.test(swept["transformer"], SIZE)
  run, key = trained.load_one(swept["transformer"], "temporal_order")
  exp = training.experiment(run.config)
  task, params = exp.task, run.params
  batch = task.sample(key, SIZE)
  whole = jax.grad(lambda p: task.loss(exp.model.apply(p, batch.us), batch))
  ys = unroll(exp.model.cell, params["cell"], batch.us)
  signals = transformer.layer_signals(
    params["readout"],
    ys,
    lambda outputs: task.loss(outputs, batch),
    heads=run.config.heads,
    positions=run.config.positions,
  )
  for signal, block in zip(
    signals[1:], whole(params)["readout"]["blocks"], strict=True
  ):
    np.testing.assert_allclose(signal.sum((0, 1)), block["b_2"], rtol=1e-3)
  start = analysis.error_signals(exp.model, task.loss)(params, batch)["state"]
  at_start = jnp.swapaxes(start, 0, 1)
  np.testing.assert_allclose(signals[0], at_start, rtol=1e-4, atol=1e-9)
  norms = np.sqrt(np.sum(np.square(signals, dtype=float), axis=(2, 3)))
  growth = np.mean(np.log(norms[0] / norms[2])) / 2  # Of two layers.
  assert found["exponent"]["end"] == pytest.approx(growth, rel=1e-4)


def test_a_picture_and_its_record(swept, tmp_path):
  out = tmp_path / "lags.png"
  assert lags.evaluate(list(swept.values()), size=SIZE, out=str(out)) == str(
    out
  )
  record = json.loads(out.with_suffix(".json").read_text())
  assert record["kind"] == "lags" and len(record["runs"]) == 2
  assert record["config"]["length"] == LENGTH
  assert out.stat().st_size > 10_000


def test_a_profile_is_the_median_over_seeds_from_the_last_step():
  seeds = ([2.0, 4.0, 0.0], [1.0, 1.0, 0.0], [1.0, 9.0, 0.0])
  made = [{"signals": {"end": signals}} for signals in seeds]
  np.testing.assert_allclose(figure.profile(made, "end"), [1, 2, 1e-12])


def test_runs_of_other_problems_are_refused(swept, tmp_path):
  directory = runs.Directory(tmp_path / "other")
  runs.sweep([config(length=14)], directory, progress=False)
  (other,) = (tmp_path / "other" / "records").glob("*.json")
  with pytest.raises(ValueError, match="one task and length"):
    lags.evaluate([swept["elman"], str(other)], out=str(tmp_path / "a.png"))
  with pytest.raises(ValueError, match="solved run"):
    lags.evaluate([str(tmp_path / "other")], out=str(tmp_path / "a.png"))
  with pytest.raises(ValueError, match="size must"):
    lags.evaluate([swept["elman"]], size=0, out=str(tmp_path / "a.png"))


def test_the_table_has_the_first_step_and_the_exponents(swept, tmp_path):
  out = tmp_path / "lags.png"
  lags.evaluate([swept["elman"]], size=SIZE, out=str(out))
  record = json.loads(out.with_suffix(".json").read_text())
  ((_, run),) = record["runs"].items()
  row = figure.table(record).splitlines()[2].split(" | ")
  signals = [run["signals"][when] for when in ("start", "end")]
  assert row[3:5] == [f"{s[-1] / s[0]:.1e}" for s in signals]
  assert row[5] == f"{run['exponent']['start']:.3f}"
  assert row[2] == "0 of 1"
