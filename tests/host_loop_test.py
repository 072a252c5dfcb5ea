"""The host's loop: larger budgets, other machines, full disks, memory."""

import dataclasses
import errno
import re

import host_loop
import jax
import numpy as np
import parts
import pytest

from steadygrad import files, records
from steadygrad.runs import directories, memory, signals, store
from steadygrad.training.config import TaskConfig

TINY = TaskConfig(
  length=12,
  hidden_size=8,
  batch_size=4,
  seeds=3,
  algorithm="msgd_c",
  max_updates=400,
  check_every=100,
  check_size=50,
  test_size=100,
)


def trained(config, run_dir, **options):
  """(record without provenance, parameters) of a run."""
  record = host_loop.train(config, run_dir, progress=False, **options)
  arrays = store.read_arrays(directories.parameters_path(run_dir)).arrays
  return {k: v for k, v in record.items() if k != "provenance"}, arrays


def assert_same(a, b):
  assert a[0] == b[0]
  assert a[1].keys() == b[1].keys()
  for name in a[1]:
    np.testing.assert_array_equal(a[1][name], b[1][name])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return trained(TINY, tmp_path_factory.mktemp("whole"))


# 230 and 250 lie between two checks.
@pytest.mark.parametrize("budgets", [(200,), (230, 250)])
def test_a_larger_budget_trains_on_to_the_same_bits(whole, budgets, tmp_path):
  for budget in budgets:
    less = dataclasses.replace(TINY, max_updates=budget)
    record, _ = trained(less, tmp_path)
    assert record["results"]["updates"] == [budget] * 3
    assert record["curves"]["update"][-1] == budget
  assert_same(trained(TINY, tmp_path), whole)
  before = (tmp_path / "record.json").read_bytes()
  assert_same(trained(TINY, tmp_path), whole)
  assert (tmp_path / "record.json").read_bytes() == before
  with pytest.raises(ValueError, match="max_updates must be at least 400, got"):
    trained(less, tmp_path)
  assert (tmp_path / "record.json").read_bytes() == before


def stop_after(monkeypatch, updates):
  """As a signal does that comes during the part that makes so many updates."""
  advance, stopping = host_loop._Seeds.advance, signals.stopping
  told = []

  def watched(seeds, num_updates, ends):
    info = advance(seeds, num_updates, ends)
    if seeds.states.step.max() >= updates:
      told.append("SIGINT")
    return info

  class Stopping:
    def __enter__(self):
      return told

    def __exit__(self, *_):
      pass

  monkeypatch.setattr(host_loop._Seeds, "advance", watched)
  monkeypatch.setattr(signals, "stopping", lambda tell: Stopping())
  return lambda: (
    monkeypatch.setattr(host_loop._Seeds, "advance", advance),
    monkeypatch.setattr(signals, "stopping", stopping),
  )


def test_a_stop_within_a_chunk_loses_nothing(whole, tmp_path, monkeypatch):
  resume = stop_after(monkeypatch, 60)
  with pytest.raises(signals.Stopped, match="SIGINT at update .* from here"):
    trained(TINY, tmp_path)
  resume()
  state = store.read_arrays(tmp_path / "state.safetensors").arrays
  assert 60 <= state["state.step"].max() < 100
  assert state["state.sums['updates']"].max() > 0
  assert_same(trained(TINY, tmp_path), whole)


def test_another_machine_is_said_and_noted(tmp_path, monkeypatch, capsys):
  less = dataclasses.replace(TINY, max_updates=100)
  host_loop.train(less, tmp_path, progress=False)
  assert "begun otherwise" not in capsys.readouterr().err
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: one)
  record = host_loop.train(TINY, tmp_path, progress=False)
  assert "begun otherwise (devices: 2 then, 1 now)" in capsys.readouterr().err
  first, second = record["provenance"]["machines"]
  assert (first["from_update"], second["from_update"]) == (0, 100)
  assert (first["machine"]["devices"], second["machine"]["devices"]) == (2, 1)
  assert second["machine"]["versions"]["jax"] == jax.__version__


def test_one_machine_is_not_noted_twice(tmp_path, capsys):
  for budget in (100, 200):
    config = dataclasses.replace(TINY, max_updates=budget)
    record = host_loop.train(config, tmp_path, progress=False)
  assert "machines" not in record["provenance"]
  told = capsys.readouterr().err
  assert "begun otherwise" not in told
  assert "compiling for 2 CPU cores, then 3 seeds of temporal_order" in told
  assert re.search(r"continuing after checkpoint \d+, update 100\n", told)


def test_the_end_of_a_shorter_run_is_not_the_state_before_it(tmp_path):
  less, path = dataclasses.replace(TINY, max_updates=30), tmp_path / "state"
  trained(less, tmp_path)
  newest = path.with_suffix(".safetensors")
  newest.replace(path.with_suffix(".previous.safetensors"))
  with pytest.raises(ValueError, match="no state from before its budget of 30"):
    trained(TINY, tmp_path)


@pytest.mark.parametrize(
  "name,write", [("state.next.safetensors", 2), ("record.json", 1)]
)
def test_a_full_disk_loses_nothing(whole, tmp_path, monkeypatch, name, write):
  write_whole, writes = files.write_whole, []

  def full(path, data):
    writes.append(path.name)
    if path.name == name and writes.count(name) == write:
      raise OSError(errno.ENOSPC, "No space left on device", str(path))
    write_whole(path, data)

  monkeypatch.setattr(files, "write_whole", full)
  with pytest.raises(OSError, match="No space left"):
    trained(TINY, tmp_path)
  monkeypatch.setattr(files, "write_whole", write_whole)
  assert_same(trained(TINY, tmp_path), whole)


def test_the_lock_is_held_to_the_end(tmp_path, monkeypatch):
  met = []

  def meet(*_):
    try:
      trained(TINY, tmp_path)
    except files.InUse as e:
      met.append(str(e))
    raise KeyboardInterrupt

  monkeypatch.setattr(host_loop, "_loop", meet)
  with pytest.raises(KeyboardInterrupt):
    trained(TINY, tmp_path)
  assert met == [
    f"run_dir {tmp_path} is in use by another process; name another"
  ]
  store.lock(tmp_path, "run_dir").lock.release()  # Given back on the way out.


def test_a_home_directory_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  one = dataclasses.replace(TINY, max_updates=1, seeds=1)
  host_loop.train(one, "~/run", progress=False)
  assert (tmp_path / "run" / "record.json").exists()


@pytest.mark.parametrize("size", ["hidden_size", "batch_size", "length"])
def test_what_cannot_fit_is_refused_by_name(size):
  large = dataclasses.replace(TINY, **{size: 10**6})
  need = memory.train_bytes(large, jax.devices())
  small = memory.train_bytes(TINY, jax.devices())
  assert need > 1000 * small
  config = dataclasses.replace(large, seeds=4)
  said = f"{size} must fit into memory, got 1000000, which needs about .* GB"

  def room(count):
    return memory.refuse(
      config,
      lambda c: memory.train_bytes(c, jax.devices()),
      ("hidden_size", "length", "batch_size", "seeds"),
      count,
    )

  with pytest.raises(ValueError, match=said):
    room(memory.train_bytes(config, jax.devices()) - 1)
  room(memory.train_bytes(config, jax.devices()))
  room(None)


def test_a_state_is_counted_as_large_as_it_is():
  """On a core: 4 states a seed, and 2 for each that is trained at a time."""
  one = dataclasses.replace(TINY, seeds=1, length=10, batch_size=1)
  two = dataclasses.replace(one, seeds=2)
  exp = host_loop.training.experiment(one)
  state = host_loop.training.init(exp, jax.random.key(0))
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  device = jax.devices()[:1]
  more = memory.train_bytes(two, device) - memory.train_bytes(one, device)
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
  less = dataclasses.replace(TINY, max_updates=100)
  record = host_loop.train(less, tmp_path, progress=False)
  with directories.prepare(tmp_path, TINY.resolved()):
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
