"""Asked after every step: against the task at each length, and mistakes."""

import json

import every_step
import grids
import jax
import numpy as np
import pytest
import sweep_loop
import sweep_store
from launchers_test import launch

from steadygrad import training
from steadygrad.config import TrainConfig

STEPS, SIZE = 9, 40
SCRIPT = "every_step.py"


def config(**values):
  return TrainConfig(
    **{"task": "random_permutation", "length": STEPS, "hidden_size": 6} | values
  )


def test_each_step_is_the_task_at_that_length():
  """By the model of the task itself, which reads the last step alone."""
  given = config(form="x")
  exp = training.experiment(given)
  params = exp.model.init(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x + 0.1, params)
  # Of 100 classes, chance would be nearly always wrong: two are made likely.
  params["readout"]["b_out"] = params["readout"]["b_out"].at[:2].add(20)
  key = jax.random.key(1)
  got = every_step.errors_by_step(given, params, key, size=SIZE)
  batch = exp.task.sample(key, SIZE)
  for step in range(1, STEPS + 1):
    outputs = exp.model.apply(params, batch.us[:step])
    wrong = np.mean(exp.task.wrong(outputs, batch))
    np.testing.assert_allclose(got[step - 1], wrong, atol=1e-6)
  assert len(set(np.asarray(got).tolist())) > 2


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  """A sweep of two runs, cut after two updates: {task: record}."""
  home = tmp_path_factory.mktemp("sweep")
  tiny = {"max_updates": 2, "check_every": 2, "batch_size": 2, "seeds": 1}
  tiny |= {"check_size": 10, "test_size": 10, "length": 10, "hidden_size": 6}
  one = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    store = sweep_store.Store(home)
    runs = grids.expand([tiny], {"task": [every_step.TASK, "temporal_order"]})
    sweep_loop.run(runs, store, progress=False)
    store.close()
  return {c.task: home / "records" / f"{grids.run_name(c)}.json" for c in runs}


def test_a_picture_and_the_record_it_is_drawn_from(sweep, tmp_path):
  out = tmp_path / "new" / "picture.png"
  flags = (f"--steps={STEPS}", f"--size={SIZE}", f"--out={out}")
  record = sweep[every_step.TASK]
  status, said, err = launch(f"--runs={record}", *flags, script=SCRIPT)
  assert status == 0, err
  assert said.strip() == str(out) and out.stat().st_size > 0
  made = json.loads(out.with_suffix(".json").read_text())
  (run,) = made["runs"].values()
  assert run == every_step.test(str(record), STEPS, SIZE)
  assert len(run["errors"]) == STEPS and run["updates"] == 2
  assert made["provenance"]["command"].startswith("python experiments/every")


def test_another_task_is_refused(sweep):
  with pytest.raises(ValueError) as error:
    every_step.test(str(sweep["temporal_order"]), STEPS, SIZE)
  for part in ("runs", every_step.TASK, "got temporal_order"):
    assert part in str(error.value)


@pytest.mark.parametrize(
  "flags,parts",
  [
    ((), ("runs must name at least one",)),
    (("--runs=nowhere",), ("runs must have ended", "nowhere")),
    (("--runs=nowhere", "--out=a.json"), ("out must be a file *.png",)),
  ],
)
def test_mistakes_give_no_traceback(flags, parts):
  status, _, err = launch(*flags, script=SCRIPT)
  assert status == 1 and "Traceback" not in err
  for part in parts:
    assert part in err
