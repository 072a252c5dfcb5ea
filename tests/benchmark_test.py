"""The benchmark's table: every implementation does the same work."""

import inspect
import json
import os
import pathlib
import subprocess
import sys

import benchmark
import jax
import numpy as np
import pytest
from benchmarks import epoch, gpu, peers, predictions, traffic, update

from steadygrad import adjoints, cells, models, transforms
from steadygrad.tasks import temporal_order
from tests.nightly import nightly

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "experiments" / "benchmark.py"


def launch(*flags):
  return subprocess.run(
    [sys.executable, str(SCRIPT), *flags],
    env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.usefixtures("quickly_launched")
def test_rows_have_what_is_promised(tmp_path):
  path = tmp_path / "rows.json"
  done = launch(
    "--of=update",
    "--lengths=10",
    "--units=8",
    "--seeds=3",
    "--rounds=2",
    "--seconds=0.01",
    "--algorithms=msgd_c,msgd_cr",
    "--implementations=steadygrad,naive_jax,flax_rnn",
    f"--json={path}",
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads(path.read_text())
  found = {(r["implementation"], r["algorithm"]) for r in rows}
  assert found == {
    ("steadygrad", "msgd_c"),
    ("steadygrad", "msgd_cr"),
    ("naive_jax", "msgd_c"),
    ("naive_jax", "msgd_cr"),
    ("flax_rnn", "msgd_c"),
  }
  for row in rows:
    assert (row["length"], row["units"], row["seeds"]) == (10, 8, 3)
    for name in (
      "run_updates_per_second",
      "fraction_of_matmul",
      "products_fraction",
      "compile_seconds",
      "peak_mib",
    ):
      assert row[name] > 0, name
    assert row["platform"] == "cpu"
    assert row["slowest"] <= row["run_updates_per_second"] <= row["fastest"]
  assert "msgd_cr takes" in done.stdout


def test_flags_are_the_arguments_of_what_they_time():
  runs = {"update": update.run, "epoch": epoch.run, "gpu": gpu.run}
  for of, run in runs.items():
    arguments = set(inspect.signature(run).parameters) - {"keep"}
    assert arguments == {*benchmark.SHARED, *benchmark.OWN[of]}


def test_one_size_is_varied_at_a_time():
  sizes = {"length": [10, 100], "units": [7, 8], "seeds": [8]}
  found = [case[1:] for case in update.cases(sizes, 20, ["msgd"])]
  # N is 7 where T is varied: 50, the headline's, was not asked for.
  assert found == [(10, 7, 20, 8), (100, 7, 20, 8), (100, 8, 20, 8)]


@pytest.mark.usefixtures("quickly_launched")
def test_the_gpu_path_is_checked_and_timed_in_one_command(tmp_path):
  """With a few small sizes, interpreted; see `benchmarks.gpu`."""
  path = tmp_path / "gpu.json"
  words = ("--lengths=10", "--units=8", "--seeds=2", "--batch=3", "--rounds=1")
  words += ("--seconds=0.001", "--algorithms=msgd_c", "--limit=250")
  words += ("--sections=cases,updates,traffic", f"--json={path}")
  done = launch(
    "--of=gpu", *words, "--implementations=steadygrad,naive_float32"
  )
  assert done.returncode == 0, done.stderr
  record = json.loads(path.read_text())
  assert (record["kind"], record["left_out"]) == ("gpu", [])
  sections = record["sections"]
  assert [row["agrees"] for row in sections["cases"]] == [True]
  ours, naive = sections["updates"]
  assert ours["implementation"] == "steadygrad"
  assert naive["run_updates_per_second"] > 0 and len(naive["rounds"]) == 1
  (counted,) = sections["traffic"]
  assert 0 < counted["kernels"] < counted["all"]
  assert record["provenance"]["device_platform"] == "cpu"


def test_a_section_whose_time_is_over_says_what_it_left_out(monkeypatch):
  monkeypatch.setattr(gpu.time, "perf_counter", iter(range(10**6)).__next__)
  seen = []
  report = gpu.Report({}, 1.0, seen.append)
  report.begin("cases")
  assert report.is_late("rows") and not seen
  report.add({"a": 1}, "")
  assert seen[0]["left_out"] == ["rows"]
  assert seen[0]["sections"] == {"cases": [{"a": 1}]}


def test_bytes_are_those_of_kernels_and_products():
  """2 sequences a kernel; both factors of two gradients; no drives."""
  case = peers.Case("msgd_c", 30, 17, 4, 1)
  sequence = 4 * case.length * case.batch * case.units
  found = traffic.of_update(case)
  weights, state = 4 * case.units**2, 4 * case.batch * case.units
  kernels = 4 * sequence + 2 * weights
  assert kernels < found["by_operation"]["custom_call"] < kernels + 5 * state
  one_hot = sequence * 6 / case.units  # Drives are looked up.
  products = 2 * sequence + (sequence + one_hot)
  assert products <= found["by_operation"]["dot_general"] < 1.2 * products
  too_large = traffic.of_update(case._replace(units=512))
  assert too_large == {"kernels": None, "all": None}


def test_predictions_are_those_of_the_page():
  page = (ROOT / "docs" / "results" / "gpu.md").read_text()
  for row in predictions.rows():
    assert f"{row['predicted']:,}" in page, row


@pytest.mark.usefixtures("promotion")
def test_the_naive_omega_is_ours():
  """What is timed against ours computes the same derivative."""
  task = temporal_order(12)
  cell = cells.elman(6, 5, form="h")
  model = models.recurrent(cell, models.linear_readout(5, 4))
  params = model.init(jax.random.key(0))
  batch = task.sample(jax.random.key(1), 3)
  _, _, trajectory = adjoints(model, task.loss)(params, batch)
  w_rec = params["cell"]["w_rec"]
  deltas = trajectory.deltas
  naive = jax.grad(lambda w: peers._omega(trajectory.xs, deltas, w))(w_rec)
  terms = transforms.omega_terms(trajectory)
  ours = transforms.omega_gradient(cell, trajectory, terms.cotangents)["w_rec"]
  # float32 sums in another order.
  np.testing.assert_allclose(naive, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("quickly_launched")
@pytest.mark.parametrize("problem", ["music", *nightly("text")])
def test_passes_are_timed_side_by_side(tmp_path, problem):
  path = tmp_path / "rows.json"
  done = launch(
    "--of=epoch",
    f"--problem={problem}",
    "--units=6",
    "--batch=2",
    "--length=5",
    "--updates=3",
    "--rounds=2",
    f"--json={path}",
  )
  assert done.returncode == 0, done.stderr
  record = json.loads(path.read_text())
  assert record["config"]["problem"] == problem
  rows = {r["implementation"]: r for r in record["results"]}
  assert {"steadygrad", "steadygrad_omega", "flax_rnn"} <= rows.keys()
  assert rows["steadygrad"]["times_the_first"] == 1
  for row in rows.values():
    assert 0 < row["slowest"] <= row["steps_per_second"] <= row["fastest"]


@pytest.mark.usefixtures("quickly_launched")
def test_checkpointing_has_two_rows_of_each_size(tmp_path):
  path = tmp_path / "rows.json"
  words = ("--of=checkpointing", "--lengths=300,3000", "--units=8")
  words += ("--models=elman,transformer", "--batch=2")
  done = launch(*words, "--rounds=1", f"--json={path}")
  assert done.returncode == 0, done.stderr
  rows = json.loads(path.read_text())
  pairs = list(zip(rows[::2], rows[1::2], strict=True))
  assert [(k["model"], k["length"], k["omega"]) for k, _ in pairs] == [
    *(("elman", n, omega) for n in (300, 3000) for omega in (False, True)),
    ("transformer", 300, False),  # None longer fits a machine.
  ]
  for kept, some in pairs:
    assert (kept["checkpoint"], some["checkpoint"]) == (False, True)
    # A trajectory that Ω reads is as long as ever.
    assert (some["mib"] < 0.6 * kept["mib"]) != kept["omega"]
  assert len(done.stdout.splitlines()) == 1 + len(pairs)


def test_checkpointing_takes_no_implementations():
  done = launch("--of=checkpointing", "--implementations=naive_jax")
  assert done.returncode == 1
  assert "implementations must be left out" in done.stderr


@pytest.mark.usefixtures("quickly_launched")
def test_networks_has_a_row_of_each(tmp_path):
  path = tmp_path / "rows.json"
  words = ("--of=networks", "--models=elman,lstm", "--units=8", "--lengths=20")
  done = launch(*words, "--rounds=1", f"--json={path}")
  assert done.returncode == 0, done.stderr
  elman, lstm = json.loads(path.read_text())
  assert elman["parameters"] == 8 * (8 + 6 + 1) + 4 * (8 + 1)
  assert lstm["parameters"] == 4 * 8 * (8 + 6 + 1) + 4 * (8 + 1)
  assert all(row["mib"] > 0 and row["seconds"][0] > 0 for row in (elman, lstm))


def test_networks_are_those_of_the_registry():
  done = launch("--of=networks", "--models=elman,perceptron")
  assert done.returncode == 1
  assert "models must be among" in done.stderr and "gru" in done.stderr
