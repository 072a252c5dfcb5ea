"""Sweeps: the grid, one program for many runs, kills, merges, budgets."""

import contextlib
import dataclasses
import errno
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from steadygrad import files, options, records, runs, training
from steadygrad.runs import fleet, grids, signals, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from steadygrad.runs.store import read_arrays
from steadygrad.training import options as config_options
from steadygrad.training.config import TaskConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = {
  "length": 12,
  "hidden_size": 8,
  "batch_size": 4,
  "max_updates": 400,
  "check_every": 100,
  "check_size": 100,
  "test_size": 250,
}
LIMIT = 300  # Seconds, for a process that takes twenty.


def sweep(configs, path, **options):
  """The ledger of a sweep."""
  with Directory(path) as directory:
    return runs.sweep(configs, directory, progress=False, **options)


def expand(**lists):
  return grids.expand(
    [{}],
    {
      name: value if isinstance(value, list) else [value]
      for name, value in (TINY | lists).items()
    },
  )


def test_a_grid_is_a_product_and_shortest_come_first():
  runs = expand(
    length=[30, 10, 20], algorithm=["msgd_c", "msgd_cr"], seeds=2, first_seed=3
  )
  assert len(runs) == 3 * 2 * 2
  assert [r.length for r in runs] == [10] * 4 + [20] * 4 + [30] * 4
  assert {r.first_seed for r in runs} == {3, 4}
  assert {r.seeds for r in runs} == {1}
  assert len({run_name(r) for r in runs}) == len(runs)


def test_what_an_algorithm_does_not_look_at_makes_no_further_run():
  lists = {"omega_weight": [1.0, 2.0], "max_norm": [1.0, 6.0], "seeds": 1}
  for algorithm, count in (("msgd", 1), ("msgd_c", 2), ("msgd_cr", 4)):
    assert len(expand(algorithm=algorithm, **lists)) == count


def test_flags_go_before_a_preset_and_its_grids_are_joined():
  preset = [{"length": [50, 100], "seeds": 2}, {"length": 50, "seeds": 3}]
  assert len(grids.expand(preset, {})) == 5
  assert len(grids.expand(preset, {"seeds": [1]})) == 2


def test_seeds_share_the_work_of_a_configuration(monkeypatch):
  made, check = [], options.check_fields
  monkeypatch.setattr(
    options, "check_fields", lambda config: made.append(check(config))
  )
  runs = expand(seeds=5000, first_seed=7, max_updates=[1])
  assert len(made) < 20
  names = [run_name(run) for run in runs]
  assert len(made) < 20
  assert [run.first_seed for run in runs] == list(range(7, 5007))
  assert len(set(names)) == len(set(runs)) == 5000
  # They are what a configuration is otherwise.
  whole = dataclasses.replace(runs[3], first_seed=10)
  assert whole == runs[3] and run_name(whole) == names[3]


@pytest.mark.parametrize(
  "lists,said",
  [
    ({"seeds": 100_000}, "seeds must be at most 10000, got 100000"),
    (
      {"seeds": 10_000, "length": list(range(10, 21))},
      "a grid must have at most 100000 runs, got 110000",
    ),
    ({"length": []}, r"length must have a value, got \[\]"),
    ({"length": [50, 60.0]}, "length must be an integer, got 60.0"),
    ({"learning_rate": "0.1"}, "learning_rate must be a number, got '0.1'"),
    ({"seeds": 1.5}, "seeds must be an integer, got 1.5"),
    ({"first_seed": 0.5}, "first_seed must be an integer, got 0.5"),
    ({"start": ""}, "start must not be empty"),
  ],
)
def test_a_wrong_grid_is_refused_before_it_is_made(lists, said):
  with pytest.raises(ValueError, match=said):
    expand(**lists)
  with pytest.raises(ValueError, match=said):
    grids.expand([TINY | lists], {})


def test_a_name_holds_all_but_the_budget():
  config = TaskConfig(seeds=1, first_seed=4)
  more = dataclasses.replace(config, max_updates=7)
  assert run_name(config) == run_name(more)
  assert run_name(config).endswith("-4")
  other = dataclasses.replace(config, check_every=7)
  assert run_name(config) != run_name(other)


def test_one_program_for_what_is_traced():
  same = expand(
    init=["basic_tanh", "smart_tanh"],
    algorithm=["msgd", "msgd_c"],
    learning_rate=[0.01, 0.1],
    max_norm=[1.0, 6.0],
    seeds=2,
  )
  assert len({training.program(r) for r in same}) == 1
  norms = {training.program_numbers(r).max_norm for r in same}
  assert norms == {1.0, 6.0, math.inf}
  other = expand(length=[12, 13], form=["x", "h"], hidden_size=[8, 9], seeds=1)
  assert len({training.program(r) for r in other}) == 8


@pytest.mark.parametrize(
  "field,text,allowed",
  [
    ("length", "ten", "an integer"),
    ("learning_rate", "fast", "a number"),
    ("go_on", "yes", "true or false"),
    ("length", "50.0", "an integer"),
    ("length", "", "an integer"),
    ("start_speed", "", "a number"),
  ],
)
def test_a_value_that_cannot_be_read_is_named(field, text, allowed):
  fields = config_options.fields()
  with pytest.raises(ValueError) as error:
    config_options.parse(fields[field], text)
  for part in (field, text, allowed):
    assert part in str(error.value)
  assert config_options.parse(fields["max_length"], "none") is None


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
  """A finished sweep of six runs: its directory, and how often it traced."""
  directory = tmp_path_factory.mktemp("sweep")
  traced, advance = [], training.advance

  def counted(*arguments):
    traced.append(1)
    return advance(*arguments)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training, "advance", counted)
    ledger = sweep(RUNS, directory)
  return directory, ledger, len(traced)


RUNS = expand(
  algorithm="msgd_c",
  init=["basic_tanh", "smart_tanh"],
  learning_rate=[0.01, 0.1, 3e38],
  seeds=1,
)


def results_of(directory):
  """{run: all of its record that is a function of its configuration}."""
  found = {}
  for path in (directory / "records").glob("*.json"):
    record = records.read_json(path)
    found[path.stem] = {k: v for k, v in record.items() if k != "provenance"}
  return found


def test_every_run_has_a_record_and_a_state(swept):
  directory, ledger, _ = swept
  names = {run_name(r) for r in RUNS}
  assert results_of(directory).keys() == names
  assert {p.stem for p in (directory / "states").iterdir()} == names
  assert ledger["runs"] == len(RUNS)
  assert ledger["solved"] + ledger["diverged"] + ledger["cut"] == len(RUNS)
  assert ledger["updates_left"] == 0
  assert records.read_json(directory / "ledger.json")["runs"] == len(RUNS)


def test_nothing_is_traced_again_for_another_number(swept):
  """map_seeds traces a function twice: for its shapes, and in the loop."""
  assert swept[2] <= 2 * len(jax.devices())


def test_divergence_is_an_outcome(swept):
  for record in results_of(swept[0]).values():
    rate, results = record["config"]["learning_rate"], record["results"]
    assert (results["status"] == ["diverged"]) == (rate == 3e38)
    if rate == 3e38:
      assert results["updates"] == [100]


def test_finished_runs_are_not_repeated(swept):
  directory = swept[0]
  before = {p: p.stat().st_mtime_ns for p in directory.glob("*/*")}
  sweep(RUNS, directory)
  assert before == {p: p.stat().st_mtime_ns for p in directory.glob("*/*")}


@pytest.mark.parametrize("algorithm", ["msgd", "msgd_cr"])
def test_same_bits_as_the_training_launcher(algorithm, tmp_path, monkeypatch):
  """Three seeds in one slot, and in three.

  On one device; the number of devices is part of the promise of bits.
  """
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: one)
  configs = expand(
    algorithm=algorithm, seeds=3, first_seed=2, learning_rate=0.05
  )
  several = dataclasses.replace(configs[0], seeds=3)
  sweep(configs, tmp_path / "sweep")
  trained = runs.train(several, tmp_path / "run", progress=False)
  assert len(configs) == several.seeds == 3
  for seed, config in enumerate(configs):
    name = run_name(config)
    swept, alone = [
      results_of(tmp_path / where)[name] for where in ("sweep", "run")
    ]
    assert swept == alone
    assert swept["config"] | {"seeds": 3, "first_seed": 2} == trained["config"]
    for result in ("updates", "status", "test_error"):
      assert swept["results"][result] == [trained["results"][result][seed]]
    states, expected = [
      read_arrays(sweeps.state_path(tmp_path / where, name)).arrays
      for where in ("sweep", "run")
    ]
    assert states.keys() == expected.keys()
    for part, x in expected.items():
      np.testing.assert_array_equal(states[part], x)


def test_a_larger_budget_goes_on_with_what_was_cut(swept, tmp_path):
  """At a check, and between two: what only the budget asked for is not kept."""
  own = [r for r in RUNS if r.learning_rate == 0.01]
  for budget in (200, 250):
    half = [dataclasses.replace(r, max_updates=budget) for r in own]
    assert sweep(half, tmp_path)["cut"] == 2
    states = map(read_arrays, (tmp_path / "states").iterdir())
    assert [s.arrays["state.step"].item() for s in states] == [budget] * 2
    for made in results_of(tmp_path).values():
      assert made["curves"]["update"][-1] == budget
  sweep(own, tmp_path)
  whole = results_of(swept[0])
  assert all(whole[name] == r for name, r in results_of(tmp_path).items())


def test_two_sweeps_are_merged_and_unfinished_runs_go_on(swept, tmp_path):
  """One directory has a run's record, another only the state of another."""
  directory = swept[0]
  names = [run_name(r) for r in RUNS]
  other, mine = tmp_path / "other", tmp_path / "mine"
  cut = [dataclasses.replace(r, max_updates=100) for r in RUNS[:2]]
  sweep(cut, other)
  (other / "records" / f"{names[1]}.json").unlink()
  with Directory(mine) as merged:
    assert merged.merge(other) == 2
    assert merged.merge(other) == 0
  for part, end in (("states", "safetensors"), ("records", "json")):
    shutil.copy(directory / part / f"{names[2]}.{end}", mine / part)
  sweep(RUNS, mine)
  assert results_of(mine) == results_of(directory)


def test_a_damaged_state_is_set_aside(swept, tmp_path, capsys):
  run = RUNS[0]
  path = sweeps.state_path(tmp_path, run_name(run))
  path.parent.mkdir()
  data = bytearray((swept[0] / "states" / path.name).read_bytes())
  data[3 * len(data) // 4] ^= 16
  path.write_bytes(data)
  sweep([run], tmp_path)
  assert "damaged" in capsys.readouterr().err
  assert path.with_suffix(".damaged").exists()
  name = run_name(run)
  assert results_of(tmp_path)[name] == results_of(swept[0])[name]


def test_a_directory_is_of_several_sweeps_or_of_one_run(tmp_path):
  for first, second in (("sweep_dir", "run_dir"), ("run_dir", "sweep_dir")):
    with Directory(tmp_path, first):
      said = f"{second} {tmp_path} is in use by another process; name another"
      with pytest.raises(files.InUse, match=said):
        Directory(tmp_path, second)
  with Directory(tmp_path), Directory(tmp_path):
    pass
  Directory(tmp_path, "run_dir").close()


def test_slots_give_every_run_its_own(swept, tmp_path):
  """Two runs in three slots, at different updates, one ends before."""
  machine = fleet.Fleet(jax.devices()[:1], 3)
  own = [r for r in RUNS if r.learning_rate == 0.1]
  with Directory(tmp_path) as directory:
    jobs = [machine.start(r, directory) for r in own]
  machine.advance(jobs[:1])
  while going := [job for job in jobs if job.final is None]:
    machine.advance(going)
  whole = results_of(swept[0])
  for job in jobs:
    job.spent["wall_seconds"] = 0
    record = records.plain(machine.records([job])[0])
    record.pop("provenance")
    assert json.loads(json.dumps(record)) == whole[job.name]


def test_a_stop_within_a_chunk_loses_nothing(swept, tmp_path, monkeypatch):
  """The device's thread is told after so many parts of the first chunk."""
  run, advanced = RUNS[0], []
  advance, stopping = fleet.Fleet.advance, signals.stopping
  told = []

  def watched(machine, jobs):
    advanced.append(advance(machine, jobs))
    if len(advanced) == 3:
      told.append("SIGTERM")
      time.sleep(1)  # The main thread looks every .2 s.
    return advanced[-1]

  monkeypatch.setattr(fleet.Fleet, "advance", watched)
  monkeypatch.setattr(
    signals, "stopping", lambda tell: contextlib.nullcontext(told)
  )
  with pytest.raises(signals.Stopped, match="stopped by SIGTERM; the same"):
    sweep([run], tmp_path)
  state = read_arrays(sweeps.state_path(tmp_path, run_name(run))).arrays
  assert state["state.step"] == state["state.sums['updates']"] == 21
  monkeypatch.setattr(fleet.Fleet, "advance", advance)
  monkeypatch.setattr(signals, "stopping", stopping)
  sweep([run], tmp_path)
  name = run_name(run)
  assert results_of(tmp_path)[name] == results_of(swept[0])[name]


def test_a_full_disk_loses_nothing(swept, tmp_path, monkeypatch):
  run, write_whole = RUNS[0], files.write_whole

  def full(path, data, **through):
    if pathlib.Path(path).parent.name == "records":
      raise OSError(errno.ENOSPC, "No space left on device", str(path))
    write_whole(path, data, **through)

  monkeypatch.setattr(files, "write_whole", full)
  with pytest.raises(OSError, match="No space left.*records"):
    sweep([run], tmp_path)
  monkeypatch.setattr(files, "write_whole", write_whole)
  sweep([run], tmp_path)
  name = run_name(run)
  assert results_of(tmp_path)[name] == results_of(swept[0])[name]


def test_other_versions_are_said_once_and_noted(tmp_path, monkeypatch, capsys):
  less = [dataclasses.replace(r, max_updates=100) for r in RUNS[:2]]
  more = [dataclasses.replace(r, max_updates=200) for r in RUNS[:2]]
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: one)
  sweep(less, tmp_path)
  machine = records.machine
  monkeypatch.setattr(
    records, "machine", lambda d: machine(d) | {"device_kind": "abacus"}
  )
  sweep(more, tmp_path)
  said = "begun otherwise (device_kind: cpu then, abacus now)"
  assert capsys.readouterr().err.count(said) == 1
  for path in (tmp_path / "records").iterdir():
    found = records.read_json(path)["provenance"]["machines"]
    assert [m["from_update"] for m in found] == [0, 100]


FLAGS = (
  *[f"--{name}={value}" for name, value in TINY.items()],
  "--algorithm=msgd_c",
  "--init=basic_tanh,smart_tanh",
  "--learning_rate=0.01,0.1,3e38",
  "--seeds=1",
  "--noprogress",
)


def test_killed_and_started_again(server, swept, tmp_path):
  """SIGKILL once the first state is there, then to the end of all runs."""
  home = tmp_path / "killed"
  process = subprocess.Popen(
    [
      *(sys.executable, str(ROOT / "experiments" / "sweep.py"), *FLAGS),
      f"--sweep_dir={home}",
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
  )
  deadline = time.monotonic() + LIMIT
  while time.monotonic() < deadline and process.poll() is None:
    if list((home / "states").glob("*-0.safetensors")):
      break
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  before = {p: p.stat().st_mtime_ns for p in (home / "records").glob("*.json")}
  assert len(before) < len(RUNS)
  words = (*FLAGS, f"--sweep_dir={home}")
  status, out, err, _ = server.launch("sweep.py", *words, cwd=tmp_path)
  assert status == 0, err
  assert "begun before" in err
  assert json.loads(out)["updates_left"] == 0
  for path, at in before.items():
    assert path.stat().st_mtime_ns == at
  assert results_of(home) == results_of(swept[0])
