"""Asked after every step: against the task at each length, and mistakes."""

import dataclasses
import json
import shutil

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from steadygrad import records, runs, training
from steadygrad.evaluations import every_step
from steadygrad.figures import every_step as figure
from steadygrad.runs import grids
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from steadygrad.training.config import TaskConfig
from tests.nightly import nightly

pytestmark = pytest.mark.usefixtures("quickly_compiled")

STEPS, SIZE = 9, 40
SCRIPT, TEST = "evaluate.py", "--test=every_step"


def config(**values):
  return TaskConfig(
    **{"task": "random_permutation", "length": STEPS, "hidden_size": 6} | values
  )


@pytest.mark.parametrize("size,batches", [(SIZE, 1), *nightly((500, 2))])
def test_each_step_is_the_task_at_that_length(size, batches):
  """By the model of the task itself, which reads the last step alone."""
  given = config(form="x")
  exp = training.experiment(given)
  params = exp.model.init(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x + 0.1, params)
  # Of 100 classes, chance would be nearly always wrong: two are made likely.
  params["readout"]["b_out"] = params["readout"]["b_out"].at[:2].add(20)
  key = jax.random.key(1)
  got = every_step.errors_by_step(given, params, key, size=size)
  for step in range(1, STEPS + 1):
    wrong = []
    for own in jax.random.split(key, batches):
      batch = exp.task.sample(own, size // batches)
      outputs = exp.model.apply(params, batch.us[:step])
      wrong.append(np.mean(exp.task.wrong(outputs, batch)))
    np.testing.assert_allclose(got[step - 1], np.mean(wrong), atol=1e-6)
  assert len(set(np.asarray(got).tolist())) > 2


def run(seed, init="sigmoid", **values):
  return {
    "config": dataclasses.asdict(config(first_seed=seed, **values))
    | {"init": init},
    "updates": 7,
    "chance_error": 0.5,
    "errors": [0.5] * 5,
  }


@pytest.fixture
def drawn(monkeypatch):
  """Figures as they are saved, since saving closes them."""
  saved = []
  monkeypatch.setattr(figure.style, "save", lambda fig, path: saved.append(fig))
  yield saved
  for one in saved:
    plt.close(one)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  """A sweep of two runs, cut after two updates: {task: record}."""
  home = tmp_path_factory.mktemp("sweep")
  tiny = {"max_updates": 2, "check_every": 2, "batch_size": 2, "seeds": 1}
  tiny |= {"check_size": 10, "test_size": 10, "length": 10, "hidden_size": 6}
  one = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    both = [every_step.TASK, "temporal_order"]
    configs = grids.expand([tiny], {"task": both})
    with Directory(home) as directory:
      runs.sweep(configs, directory, progress=False)
  return {c.task: home / "records" / f"{run_name(c)}.json" for c in configs}


def test_a_picture_and_the_record_it_is_drawn_from(server, sweep, tmp_path):
  out = tmp_path / "new" / "picture.png"
  flags = (f"--steps={STEPS}", f"--size={SIZE}", f"--out={out}")
  record = sweep[every_step.TASK]
  words = (SCRIPT, TEST, f"--runs={record}", *flags)
  status, said, err, _ = server.launch(*words, cwd=tmp_path)
  assert status == 0, err
  assert said.strip() == str(out) and out.stat().st_size > 0
  made = json.loads(out.with_suffix(".json").read_text())
  (found,) = made["runs"].values()
  assert found == every_step.test(str(record), STEPS, SIZE)
  assert len(found["errors"]) == STEPS and found["updates"] == 2
  assert made["provenance"]["command"].startswith(
    "python experiments/evaluate.py"
  )


@pytest.mark.parametrize("steps", [3, 10, 60])
def test_a_panel_for_each_setting_whatever_the_steps(steps, drawn, tmp_path):
  starts = ("sigmoid", "x")
  runs = [run(s, init, length=60) for s in (0, 1) for init in starts]
  record = {
    "config": {"task": "random_permutation", "steps": steps, "size": 10},
    "runs": {str(i): r | {"errors": [0.5] * steps} for i, r in enumerate(runs)},
  }
  figure.draw(record, tmp_path / "a.png")
  panels = drawn[-1].axes[:2]
  assert [len(panel.get_images()) for panel in panels] == [1, 1]
  for panel in panels:
    low, high = panel.get_xlim()
    assert low < high
    assert panel.get_images()[0].get_array().shape[0] == 2


def test_runs_that_differ_otherwise_do_not_share_a_panel(tmp_path):
  runs = {"a": run(0), "b": run(1, learning_rate=0.5)}
  record = {"config": {"task": "x", "steps": 5, "size": 1}, "runs": runs}
  with pytest.raises(ValueError, match="differ in learning_rate"):
    figure.draw(record, tmp_path / "a.png")


def test_a_directory_stands_for_its_solved_runs_of_the_task(sweep, tmp_path):
  home = sweep[every_step.TASK].parents[1]
  options = {"steps": STEPS, "size": SIZE, "out": str(tmp_path / "a.png")}
  with pytest.raises(ValueError, match="must hold a solved run"):
    every_step.evaluate([str(home)], **options)
  shutil.copytree(home, tmp_path / "sweep")
  for path in (tmp_path / "sweep" / "records").iterdir():
    made = records.read_json(path)
    made["results"]["solved"] = [True]
    records.write_json(path, made)
  every_step.evaluate([str(tmp_path / "sweep")], **options)
  made = records.read_json(tmp_path / "a.json")
  assert list(made["runs"]) == [sweep[every_step.TASK].stem]
  with pytest.raises(ValueError, match="must differ in name"):
    every_step.evaluate([str(tmp_path / "sweep")] * 2, **options)


def test_another_task_is_refused(sweep):
  with pytest.raises(ValueError) as error:
    every_step.test(str(sweep["temporal_order"]), STEPS, SIZE)
  for part in ("runs", every_step.TASK, "one seed", "got temporal_order"):
    assert part in str(error.value)


@pytest.mark.parametrize(
  "flags,parts",
  [
    ((), ("runs must name at least one",)),
    (("--runs=a.json",), ("runs must have ended", "a.json")),
    (("--runs=nowhere", "--out=a.json"), ("out must be a file *.png",)),
  ],
)
def test_mistakes_give_no_traceback(server, tmp_path, flags, parts):
  status, _, err, _ = server.launch(SCRIPT, TEST, *flags, cwd=tmp_path)
  assert status == 1 and "Traceback" not in err
  for part in parts:
    assert part in err
