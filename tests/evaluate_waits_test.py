"""The error against each wait of temporal order, and mistakes."""

import dataclasses
import functools
import json

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from steadygrad import runs, training
from steadygrad.evaluations import waits as tested
from steadygrad.figures import waits as figure
from steadygrad.runs import grids
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from steadygrad.tasks import temporal_order_with_waits
from steadygrad.training.config import TaskConfig

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SCRIPT, TEST = "evaluate.py", "--test=waits"
TINY = TaskConfig(
  length=12,
  hidden_size=6,
  batch_size=2,
  seeds=1,
  max_updates=2,
  check_every=2,
  check_size=10,
  test_size=10,
)


def test_usual_waits_are_those_of_200_steps():
  assert sum(tested.USUAL) + 2 == 200
  first = tested.USUAL[0]
  second = first + 1 + tested.USUAL[1]
  assert (first, second) == (30, 110)  # The middles of [20, 40) and [100, 120).


def answers(params, us):
  """The class that the network names, by a loop in float64, [B]."""
  cell, readout = params["cell"], params["readout"]
  x = np.zeros((us.shape[1], len(cell["b"])))
  for u in us:
    x = np.tanh(x) @ cell["w_rec"] + u @ cell["w_in"] + cell["b"]
  return (np.tanh(x) @ readout["w_out"] + readout["b_out"]).argmax(-1)


def test_errors_are_those_of_a_loop_with_one_wait_changed(monkeypatch):
  """Short ones, so that the network's answers hang on every symbol's place."""
  monkeypatch.setattr(tested, "USUAL", (2, 3, 4))
  exp = training.experiment(dataclasses.replace(TINY, init="orthogonal"))
  params = exp.model.init(jax.random.key(0))
  key, waits, size = jax.random.key(1), (1, 5), 40
  got = tested.errors_by_wait(TINY, params, key, waits=waits, size=size)
  assert got.shape == (3, 2)
  arrays = jax.tree.map(np.asarray, params)
  for i in range(3):
    for j, wait in enumerate(waits):
      given = list(tested.USUAL)
      given[i] = wait
      own = jax.random.fold_in(key, 2 * i + j)
      batch = temporal_order_with_waits(given, own, size)
      said = answers(arrays, np.asarray(batch.us))
      expected = np.mean(said != np.asarray(batch.targets))
      np.testing.assert_allclose(got[i, j], expected, atol=1e-6)
  assert len(set(got.ravel().tolist())) > 2


def run(seed, **values):
  config = dataclasses.replace(TINY, first_seed=seed, **values)
  errors = [[0.1 * i + 0.01 * j for j in range(2)] for i in range(3)]
  return {
    "config": dataclasses.asdict(config),
    "updates": 7,
    "chance_error": 0.75,
    "errors": errors,
  }


def test_a_panel_for_each_wait_and_a_line_for_each_run(monkeypatch):
  saved = []
  monkeypatch.setattr(figure.style, "save", lambda fig, path: saved.append(fig))
  settled = {"start": "a", "initial_state_scale": 0.5, "algorithm": "msgd_c"}
  runs = {"a": run(0), "b": run(1), "c": run(0, **settled)}
  told = {"task": "temporal_order", "usual": (30, 79, 89), "waits": [10, 20]}
  figure.draw({"config": told | {"size": 5}, "runs": runs}, "nowhere.png")
  (drawn,) = saved
  for i, axis in enumerate(drawn.axes):
    lines = [line for line in axis.lines if list(line.get_xdata()) == [10, 20]]
    assert len(lines) == 3
    for line in lines:
      np.testing.assert_allclose(line.get_ydata(), runs["a"]["errors"][i])
  names = [text.get_text() for text in drawn.legends[0].get_texts()]
  assert sorted(names) == [
    "MSGD-C, basic tanh, 1 seed,\nfrom a trained network, initial states"
    " N(0, 0.5)",
    "MSGD-CR, basic tanh, 2 seeds, until under 1 % wrong",
  ]
  plt.close(drawn)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  """The records of a sweep of two tasks, cut after two updates."""
  home = tmp_path_factory.mktemp("sweep")
  one = jax.devices()[:1]
  tiny = {k: [v] for k, v in dataclasses.asdict(TINY).items()}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    both = [tested.TASK, "three_bit_temporal_order"]
    configs = grids.expand([tiny], {"task": both})
    with Directory(home) as directory:
      runs.sweep(configs, directory, progress=False)
  return {c.task: home / "records" / f"{run_name(c)}.json" for c in configs}


def test_a_picture_and_the_record_it_is_drawn_from(
  sweep, tmp_path, monkeypatch
):
  """At two of the waits: each point compiles a program of its own."""
  waits = tested.WAITS[:2]
  errors = functools.partial(tested.errors_by_wait, waits=waits)
  monkeypatch.setattr(tested, "errors_by_wait", errors)
  monkeypatch.setattr(tested, "WAITS", waits)
  out = tmp_path / "new" / "picture.png"
  said = tested.evaluate([str(sweep[tested.TASK])], size=2, out=str(out))
  assert said == str(out) and out.stat().st_size > 0
  made = json.loads(out.with_suffix(".json").read_text())
  (found,) = made["runs"].values()
  assert np.shape(found["errors"]) == (3, 2)
  assert found["updates"] == 2 and found["chance_error"] == 0.75


def test_another_task_is_refused(sweep):
  with pytest.raises(ValueError, match="runs must be of temporal_order and"):
    tested.test(str(sweep["three_bit_temporal_order"]), 2)


@pytest.mark.parametrize(
  "flags,parts",
  [
    ((), ("runs must name at least one",)),
    (("--runs=a.json",), ("runs must have ended", "a.json")),
    (("--runs=nowhere", "--out=a.json"), ("out must be a file *.png",)),
    (
      ("--runs=nowhere", "--size=20000"),
      ("size must be", "10000", "got 20000"),
    ),
  ],
)
def test_mistakes_give_no_traceback(server, tmp_path, flags, parts):
  status, _, err, _ = server.launch(SCRIPT, TEST, *flags, cwd=tmp_path)
  assert status == 1 and "Traceback" not in err
  for part in parts:
    assert part in err
