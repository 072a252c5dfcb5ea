"""Training all seeds: larger budgets, other machines, full disks, memory."""

import contextlib
import csv
import dataclasses
import errno
import time

import jax
import numpy as np
import pytest

from steadygrad import files, records, runs, training
from steadygrad.runs import (
  corpora,
  fleet,
  memory,
  names,
  parts,
  queue,
  requests,
  signals,
  store,
  sweeps,
)
from steadygrad.training.config import BUDGETS, CorpusConfig, TaskConfig
from tests import corpora_cases
from tests.nightly import nightly

TASK = TaskConfig(
  length=12,
  hidden_size=8,
  batch_size=4,
  seeds=4,
  algorithm="msgd_c",
  max_updates=400,
  check_every=100,
  check_size=50,
  test_size=100,
)
MUSIC = CorpusConfig(
  data="jsb",
  hidden_size=5,
  chunk_length=8,
  batch_size=2,
  eval_lanes=2,
  algorithm="msgd_c",
  max_epochs=4,
  seeds=4,
)
BOTH = pytest.mark.parametrize("config", [TASK, MUSIC], ids=["task", "music"])


@pytest.fixture(scope="module")
def load(tmp_path_factory):
  """The loader of small data."""
  home = tmp_path_factory.mktemp("data")
  corpora_cases.small_music(home / "JSB_Chorales.mat")
  return corpora.loader(home, check=False)


@pytest.fixture(scope="module")
def train(load):
  """train(config, run_dir) -> (record without provenance, {seed: state})."""

  def trained(config, run_dir, **options):
    options = {"progress": False, "corpora": load} | options
    record = runs.train(config, run_dir, **options)
    return {k: v for k, v in record.items() if k != "provenance"}, {
      run.first_seed: state_of(run_dir, run) for run in names.of_seeds(config)
    }

  return trained


def state_of(run_dir, config):
  """The arrays of a run of one seed."""
  name = names.run_name(config)
  return sweeps.read_state(sweeps.state_path(run_dir, name), name).arrays


def assert_same(a, b):
  assert a[0] == b[0]
  assert a[1].keys() == b[1].keys()
  for seed, arrays in a[1].items():
    assert arrays.keys() == b[1][seed].keys()
    for name, x in arrays.items():
      np.testing.assert_array_equal(x, b[1][seed][name])


@pytest.fixture(scope="module")
def wholes(train, tmp_path_factory):
  """{configuration: what all seeds at once come to}."""
  return {c: train(c, tmp_path_factory.mktemp("w")) for c in (TASK, MUSIC)}


# 230 and 250 lie between two checks.
@pytest.mark.parametrize(
  "config,budgets",
  [*nightly((TASK, (200,))), (TASK, (230, 250)), (MUSIC, (2,))],
)
def test_a_larger_budget_trains_on_to_the_same_bits(
  wholes, train, config, budgets, tmp_path
):
  field = BUDGETS[type(config)]
  made, clock = ("updates", "update") if config is TASK else ("epochs", "epoch")
  for budget in budgets:
    less = dataclasses.replace(config, **{field: budget})
    record, _ = train(less, tmp_path)
    assert record["results"][made] == [budget] * 4
    assert record["curves"][clock][-1] == budget
  assert_same(train(config, tmp_path), wholes[config])
  before = (tmp_path / "record.json").read_bytes()
  assert_same(train(config, tmp_path), wholes[config])
  assert (tmp_path / "record.json").read_bytes() == before
  most = getattr(config, field)
  with pytest.raises(ValueError, match=f"{field} must be at least {most}, got"):
    train(less, tmp_path)
  assert (tmp_path / "record.json").read_bytes() == before


@BOTH
def test_more_seeds_go_on_to_the_same_bits(wholes, train, config, tmp_path):
  """Two, then four: what they come to together is in no other's way."""
  train(dataclasses.replace(config, seeds=2), tmp_path)
  before = [p.stat().st_mtime_ns for p in sorted(tmp_path.glob("*s/*"))]
  assert len(before) == 4
  assert_same(train(config, tmp_path), wholes[config])
  after = [p.stat().st_mtime_ns for p in sorted(tmp_path.glob("*s/*"))]
  assert len(after) == 8 and set(before) < set(after)
  with pytest.raises(ValueError, match="seeds must be at least 4, got 2"):
    train(dataclasses.replace(config, seeds=2), tmp_path)


@BOTH
def test_a_seed_alone_has_the_bits_it_has_among_others(
  wholes, train, config, tmp_path
):
  alone = dataclasses.replace(config, seeds=1, first_seed=2)
  record, states = train(alone, tmp_path)
  many = wholes[config]
  assert_same((None, states), (None, {2: many[1][2]}))
  for name, values in record["results"].items():
    if isinstance(values, list) and name != "success_interval":
      assert values[0] == many[0]["results"][name][2], name
  for name, curve in record["curves"].items():
    if name not in ("update", "epoch"):
      for a, b in zip(curve, many[0]["curves"][name], strict=False):
        assert a[0] == b[2], name


@BOTH
def test_what_is_measured_is_told_as_it_comes(wholes, train, config, tmp_path):
  """`on_check`, and the file of it: what the curves have in the end."""
  told = []
  log = runs.csv_log(tmp_path / "log.csv")
  train(
    config,
    tmp_path / "run",
    on_check=lambda info: (told.append(info), log(info)),
  )
  clock = "update" if config is TASK else "epoch"
  curves, expected = wholes[config][0]["curves"], {}
  for seed, run in enumerate(names.of_seeds(config)):
    for i, when in enumerate(curves[clock]):
      for name in curves.keys() - {clock}:
        if (value := curves[name][i][seed]) != "nan":
          expected[names.run_name(run), str(when), name] = value
  with open(tmp_path / "log.csv", newline="") as file:
    header, *rows = csv.reader(file)
  assert header == ["run", "step", "name", "value"]
  assert len(rows) == len(expected)
  for run, when, name, value in rows:
    value = records.plain(np.float32(value))
    assert value == expected[run, when, name], (run, when, name)
  assert {(x["run"], str(x[clock])) for x in told} == {
    key[:2] for key in expected
  }
  for run in names.of_seeds(config):
    *_, last = [x for x in told if x["run"] == names.run_name(run)]
    saved = state_of(tmp_path / "run", run)
    for path, leaf in jax.tree.leaves_with_path(last.params):
      name = f"state.params{jax.tree_util.keystr(path)}"
      np.testing.assert_array_equal(leaf, saved[name][0])


def stop_after(monkeypatch, updates):
  """As a signal does that comes during the part that makes so many updates."""
  advance, stopping = fleet.Fleet.advance, signals.stopping
  told = []

  def watched(own, jobs):
    advanced = advance(own, jobs)
    if not told and max(int(job.state.step) for job in jobs) >= updates:
      told.append("SIGINT")
      time.sleep(0.5)  # The main thread looks every .2 s.
    return advanced

  monkeypatch.setattr(fleet.Fleet, "advance", watched)
  monkeypatch.setattr(
    signals, "stopping", lambda tell: contextlib.nullcontext(told)
  )
  return lambda: (
    monkeypatch.setattr(fleet.Fleet, "advance", advance),
    monkeypatch.setattr(signals, "stopping", stopping),
  )


def test_a_stop_within_a_chunk_loses_nothing(
  wholes, train, tmp_path, monkeypatch
):
  resume = stop_after(monkeypatch, 60)
  with pytest.raises(signals.Stopped, match="stopped by SIGINT; the same com"):
    train(TASK, tmp_path)
  resume()
  for run in names.of_seeds(TASK):
    state = state_of(tmp_path, run)
    assert 60 <= state["state.step"] < 100
    assert state["state.sums['updates']"] == state["state.step"]
  assert_same(train(TASK, tmp_path), wholes[TASK])


def test_another_machine_is_said_and_noted(tmp_path, monkeypatch, capsys):
  less = dataclasses.replace(TASK, max_updates=100)
  runs.train(less, tmp_path, progress=False)
  assert "begun otherwise" not in capsys.readouterr().err
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: one)
  record = runs.train(TASK, tmp_path, progress=False)
  assert "begun otherwise (devices: 2 then, 1 now)" in capsys.readouterr().err
  first, second = record["provenance"]["machines"]
  assert (first["from_update"], second["from_update"]) == (0, 100)
  assert (first["machine"]["devices"], second["machine"]["devices"]) == (2, 1)
  assert second["machine"]["versions"]["jax"] == jax.__version__


def test_one_machine_is_not_noted_twice(tmp_path, capsys):
  for budget in (100, 200):
    config = dataclasses.replace(TASK, max_updates=budget)
    record = runs.train(config, tmp_path, progress=False)
  assert "machines" not in record["provenance"]
  told = capsys.readouterr().err
  assert "begun otherwise" not in told
  said = "compiling for 2 CPU cores, then 4 runs of temporal_order, up to"
  assert f"{said} 100 updates each\n" in told
  assert f"{said} 200 updates each, 4 of them begun before\n" in told


@pytest.mark.parametrize("part,write", [("states", 6), ("records", 2), ("", 3)])
def test_a_full_disk_loses_nothing(
  wholes, train, tmp_path, monkeypatch, part, write
):
  """At a state or a record of a seed, and at the files of all of them."""
  write_whole, writes = files.write_whole, []

  def full(path, data, **through):
    if path.parent == tmp_path / part:
      writes.append(path.name)
      if len(writes) == write:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    write_whole(path, data, **through)

  monkeypatch.setattr(files, "write_whole", full)
  with pytest.raises(OSError, match="No space left"):
    train(TASK, tmp_path)
  monkeypatch.setattr(files, "write_whole", write_whole)
  assert_same(train(TASK, tmp_path), wholes[TASK])


def test_the_lock_is_held_to_the_end(train, tmp_path, monkeypatch):
  met = []

  def meet(*_, **__):
    try:
      train(TASK, tmp_path)
    except files.InUse as e:
      met.append(str(e))
    raise KeyboardInterrupt

  monkeypatch.setattr(queue, "run", meet)
  with pytest.raises(KeyboardInterrupt):
    train(TASK, tmp_path)
  assert met == [
    f"run_dir {tmp_path} is in use by another process; name another"
  ]
  store.lock(tmp_path, "run_dir").lock.release()  # Given back on the way out.


def test_a_home_directory_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  one = dataclasses.replace(TASK, max_updates=1, seeds=1)
  runs.train(one, "~/run", progress=False)
  assert (tmp_path / "run" / "record.json").exists()


@pytest.mark.parametrize("size", ["hidden_size", "batch_size", "length"])
def test_what_cannot_fit_is_refused_by_name(size, monkeypatch):
  devices = jax.devices()
  large = dataclasses.replace(TASK, **{size: 10**6})
  need = memory.run_bytes(large, devices)
  assert need > 1000 * memory.run_bytes(TASK, devices)
  said = f"{size} must fit into memory, got 1000000, which needs about .* GB"
  monkeypatch.setattr(memory, "room", lambda devices: need - 1)
  with pytest.raises(ValueError, match=said):
    memory.refuse_run(large, devices)
  for room in (need, None):
    monkeypatch.setattr(memory, "room", lambda devices, room=room: room)
    memory.refuse_run(large, devices)


def test_a_state_is_counted_as_large_as_it_is():
  """On a core: 4 states a seed, and 2 for each that is trained at a time."""
  one = dataclasses.replace(TASK, seeds=1, length=10, batch_size=1)
  two = dataclasses.replace(one, seeds=2)
  exp = training.experiment(one)
  state = training.init(exp, jax.random.key(0))
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  device = jax.devices()[:1]
  more = memory.run_bytes(two, device) - memory.run_bytes(one, device)
  assert more == 4 * size


def test_parts_grow_to_their_seconds(monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(parts.time, "perf_counter", lambda: clock[0])
  found, sizes = parts.Parts(), []
  assert parts.when([found]) == "at the end of this part"
  for _ in range(8):
    sizes.append(found.updates)
    with found.run(found.updates):
      clock[0] += 0.01 * found.updates
  assert sizes == [1, 4, 16, 64, 256, 500, 500, 500]
  with found.run(300):
    assert parts.when([found]) == "in about 3 s"
  assert parts.when([found, parts.Parts()]) == "at the end of this part"


def test_a_record_of_a_smaller_budget_stays_until_the_next(tmp_path):
  less = dataclasses.replace(TASK, max_updates=100)
  record = runs.train(less, tmp_path, progress=False)
  with runs.Directory(tmp_path) as directory:
    requests.write_config(directory, TASK.resolved())
    config = records.read_json(tmp_path / "config.json")
    assert config["max_updates"] == 400
  assert records.read_json(tmp_path / "record.json") == record


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
  """The system tells no name where a file that is open finds no room."""

  def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(files.os, "fsync", full)
  with pytest.raises(
    OSError, match="No space left on device: '[^']*/record.json'$"
  ):
    files.write_whole(tmp_path / "record.json", b"{}")
  assert not list(tmp_path.iterdir())
