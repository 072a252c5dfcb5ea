"""Trained networks at other lengths: runs of both launchers, and mistakes."""

import json
import shutil

import jax
import numpy as np
import pytest

from steadygrad import records
from steadygrad import runs as library
from steadygrad.evaluations import lengths as at_lengths
from steadygrad.evaluations import trained
from steadygrad.tasks import TASKS
from steadygrad.training.config import TaskConfig

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TINY = {
  "task": "addition",
  "length": 12,
  "hidden_size": 8,
  "batch_size": 4,
  "algorithm": "msgd_c",
  "learning_rate": 0.1,
  "max_updates": 200,
  "check_every": 100,
  "check_size": 100,
  "test_size": 250,
}
LENGTHS, SIZE = (13, 25), 200
STREAM = 1000  # Of the test; its sequences are promised to be fresh.


def by_loop(trained, seed, length):
  """Share of wrong answers, by a loop in float64 over sequences and steps."""
  config = trained.config
  params = trained.params["cell"] | trained.params["readout"]
  params = {k: x[seed].astype(np.float64) for k, x in params.items()}
  key = jax.random.key(config.first_seed + seed)
  key = jax.random.fold_in(jax.random.fold_in(key, STREAM), 0)
  task = TASKS[config.task](length)
  wrong = 0
  for one in jax.random.split(key, SIZE):
    us, targets, steps = jax.device_get(SAMPLE[length](task, one))
    x = np.zeros(len(params["b"]))
    for u in us[:steps, 0]:
      x = np.tanh(x) @ params["w_rec"] + u @ params["w_in"] + params["b"]
    y = np.tanh(x) @ params["w_out"] + params["b_out"]
    wrong += (y - targets[0])[0] ** 2 > 0.04
  return wrong / SIZE


SAMPLE = {
  n: jax.jit(lambda task, key: task.sample(key, 1), static_argnums=0)
  for n in LENGTHS
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A run of train.py with three seeds, all cut; a record for each of them."""
  home = tmp_path_factory.mktemp("runs")
  config = TaskConfig(seeds=3, first_seed=2, **TINY)
  one = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    library.train(config, home / "run", progress=False)
  return home


@pytest.fixture(scope="module")
def tested(server, runs):
  """What the launcher said of a run and of the record of its first seed."""
  home = runs
  record = sorted((home / "run" / "records").iterdir())[0]
  lengths = ",".join(map(str, LENGTHS))
  flags = ("--test=lengths", f"--lengths={lengths}", f"--size={SIZE}")
  words = ("evaluate.py", f"--runs={home / 'run'},{record}", *flags)
  status, out, err, _ = server.launch(*words, cwd=home)
  assert status == 0, err
  return json.loads(out.splitlines()[-1]), home / "run", record


def test_errors_are_those_of_a_loop_over_the_same_sequences(tested):
  said, run, _ = tested
  trained = library.load(run)
  assert said["lengths"] == list(LENGTHS)
  for length, errors in zip(LENGTHS, said["errors"][str(run)], strict=True):
    expected = [by_loop(trained, seed, length) for seed in range(3)]
    assert len(set(expected)) > 1, "seeds that nothing tells apart"
    np.testing.assert_allclose(errors, expected, atol=1e-7)


def test_a_seed_by_itself_has_the_errors_it_has_among_others(tested):
  said, run, record = tested
  one, many = said["errors"][str(record)], said["errors"][str(run)]
  assert one == [errors[:1] for errors in many]


def test_records_lie_beside_the_runs(tested):
  said, run, record = tested
  beside = {
    run: run / "generalisation.json",
    record: record.parent.parent / "generalisation" / record.name,
  }
  for name, path in beside.items():
    made = json.loads(path.read_text())
    assert made["kind"] == "generalisation"
    assert made["tested"] == {"lengths": list(LENGTHS), "size": SIZE}
    assert made["results"]["errors"] == said["errors"][str(name)]
    source = name / "record.json" if name == run else name
    trained = json.loads(source.read_text())
    assert made["config"] == trained["config"]
    assert made["results"]["chance_error"] == 0.36


def test_what_is_there_is_kept_and_more_lengths_are_added(
  tested, tmp_path, capsys
):
  said, run, _ = tested
  shutil.copytree(run, tmp_path / "run")
  found = at_lengths.test(str(tmp_path / "run"), [25, 14], SIZE)
  told = capsys.readouterr().err
  assert "length 14" in told and "length 25" not in told
  before = dict(zip(LENGTHS, said["errors"][str(run)], strict=True))
  assert found == before | {14: found[14]}
  made = json.loads((tmp_path / "run" / "generalisation.json").read_text())
  assert made["tested"]["lengths"] == [13, 14, 25]
  assert made["results"]["errors"] == [found[n] for n in (13, 14, 25)]


def test_a_run_that_trained_on_is_tested_anew(tested, tmp_path):
  said, run, _ = tested
  shutil.copytree(run, tmp_path / "run")
  path = tmp_path / "run" / "generalisation.json"
  made = json.loads(path.read_text())
  made["results"]["updates"] = [100, 100, 100]
  made["results"]["errors"] = [[0.5] * 3 for _ in made["results"]["errors"]]
  records.write_json(path, made)
  found = at_lengths.test(str(tmp_path / "run"), [13], SIZE)
  assert found == {13: said["errors"][str(run)][0]}


def test_a_directory_of_a_sweep_stands_for_its_solved_runs(tested, tmp_path):
  record = tested[2]
  shutil.copytree(record.parent.parent, tmp_path / "sweep")
  (tmp_path / "sweep" / "record.json").unlink()
  solved = tmp_path / "sweep" / "records" / record.name
  assert trained.runs_of(str(tmp_path / "sweep")) == []
  made = records.read_json(solved)
  made["results"]["solved"] = [True]
  records.write_json(solved, made)
  assert trained.runs_of(str(tmp_path / "sweep")) == [str(solved)]


def test_a_directory_of_train_stands_for_all_its_seeds(runs):
  assert trained.runs_of(str(runs / "run")) == [str(runs / "run")]


def test_a_state_of_another_update_is_refused(tested, tmp_path):
  record = tested[2]
  shutil.copytree(record.parent.parent, tmp_path / "sweep")
  (tmp_path / "sweep" / "record.json").unlink()
  later = tmp_path / "sweep" / "records" / record.name
  made = records.read_json(later)
  made["results"]["updates"] = [100]
  records.write_json(later, made)
  with pytest.raises(ValueError) as error:
    at_lengths.test(str(later), [13], SIZE)
  for part in ("runs must have ended", "updates [[200]]", "[100]"):
    assert part in str(error.value)


@pytest.mark.parametrize(
  "run,lengths,size,parts",
  [
    ("nowhere", LENGTHS, SIZE, ("runs must have ended", "record.json")),
    ("run/config.json", LENGTHS, SIZE, ("config.json",)),
    ("run", (9,), SIZE, ("length must be at least 10", "9")),
    ("run", LENGTHS, 251, ("size", "under 250 or a multiple", "251")),
    ("run", LENGTHS, 100, ("size must be 200", "got 100")),
  ],
)
def test_a_mistake_is_named_before_anything_runs(
  runs, tested, run, lengths, size, parts
):
  with pytest.raises(ValueError) as error:
    at_lengths.check(str(runs / run), lengths, size)
  for part in parts:
    assert part in str(error.value)


def test_a_record_of_something_else_is_refused(runs, tmp_path):
  for part in ("records", "states"):
    (tmp_path / part).mkdir()
  (tmp_path / "records" / "a.json").write_text('{"kind": "analysis"}')
  (tmp_path / "states" / "a.npz").touch()
  with pytest.raises(ValueError, match="runs must be training runs, got .*a.j"):
    at_lengths.check(str(tmp_path / "records" / "a.json"), LENGTHS, SIZE)


def test_mistakes_on_the_command_line_give_no_traceback(server, runs):
  flags = {
    "runs must name at least one run": (),
    "lengths must be at least one integer, got none": (
      f"--runs={runs / 'run'}",
      "--lengths=",
    ),
    "lengths must be integers, got 13,ten": (
      f"--runs={runs / 'run'}",
      "--lengths=13,ten",
    ),
  }
  for expected, words in flags.items():
    words = ("evaluate.py", "--test=lengths", *words)
    status, _, err, _ = server.launch(*words, cwd=runs)
    assert status not in (0, None)
    assert expected in err and "Traceback" not in err
