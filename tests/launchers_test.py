"""The launcher as a user meets it: one command, a kill, and mistakes."""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from steadygrad import records

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = (
  "--length=12",
  "--hidden_size=8",
  "--batch_size=4",
  "--seeds=3",
  "--max_updates=3000",
  "--check_every=100",
  "--check_size=250",
  "--test_size=500",
  "--noprogress",
)
LIMIT = 300  # Seconds; a launch takes ten, most of it compilation.


def start(*flags, script="train.py", cwd=None):
  env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
  command = [sys.executable, str(ROOT / "experiments" / script), *flags]
  return subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=env,
    cwd=cwd,
  )


def launch(*flags, **options):
  """(exit status, standard output, standard error)."""
  process = start(*flags, **options)
  out, err = process.communicate(timeout=LIMIT)
  return process.returncode, out, err


def deterministic(run_dir):
  record = records.read_json(run_dir / "record.json")
  return {k: v for k, v in record.items() if k != "provenance"}


def wait_for_checkpoint(run_dir, process):
  deadline = time.monotonic() + LIMIT
  while time.monotonic() < deadline and process.poll() is None:
    if (run_dir / "state.safetensors").exists():
      return
    time.sleep(0.005)
  pytest.fail(f"no checkpoint: {process.communicate()}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """An uninterrupted run: its directory and what it printed."""
  run_dir = tmp_path_factory.mktemp("whole")
  status, out, err = launch(*TINY, f"--run_dir={run_dir}")
  assert status == 0, err
  return run_dir, out


def test_last_line_is_json_with_what_a_script_needs(whole):
  run_dir, out = whole
  summary = json.loads(out.splitlines()[-1])
  assert summary["task"] == "temporal_order"
  assert summary["algorithm"] == "msgd_cr"
  assert (summary["length"], summary["seeds"]) == (12, 3)
  for name in ("solved", "confirmed", "updates_to_solve", "test_error"):
    assert len(summary[name]) == 3
  assert summary["chance_error"] == 0.75
  assert summary["updates_per_second"] > 0
  assert summary["wall_seconds"] > 0
  assert pathlib.Path(summary["record"]) == run_dir / "record.json"
  assert (run_dir / "training.png").stat().st_size > 10_000


def test_record_holds_curves_configuration_and_provenance(whole):
  record = json.loads((whole[0] / "record.json").read_text())
  curves = record["curves"]
  assert {
    "loss",
    "error",
    "gradient_norm",
    "gradient_norm_max",
    "omega",
    "clipped",
    "spectral_radius",
  } <= curves.keys()
  for name, values in curves.items():
    assert len(values) == len(curves["update"]), name
  assert record["config"]["learning_rate"] == 0.01
  assert record["provenance"]["versions"]["jax"]
  command = record["provenance"]["command"]
  assert command.startswith("python experiments/train.py --length=12")
  assert command.endswith(f"--run_dir={whole[0].name}")
  low, high = record["results"]["success_interval"]
  assert 0 <= low <= record["results"]["success_rate"] <= high <= 1


def test_same_command_again_returns_the_record_untouched(whole):
  run_dir, out = whole
  before = (run_dir / "record.json").read_bytes()
  status, again, _ = launch(*TINY, f"--run_dir={run_dir}")
  assert status == 0
  assert (run_dir / "record.json").read_bytes() == before
  assert again.splitlines()[-1] == out.splitlines()[-1]


def test_killed_and_started_again_gives_the_same_bits(whole, tmp_path):
  process = start(*TINY, f"--run_dir={tmp_path}")
  wait_for_checkpoint(tmp_path, process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (tmp_path / "record.json").exists()
  status, _, err = launch(*TINY, f"--run_dir={tmp_path}")
  assert status == 0, err
  assert "continuing after checkpoint" in err
  assert deterministic(tmp_path) == deterministic(whole[0])


def test_sigterm_saves_and_a_damaged_checkpoint_is_not_used(whole, tmp_path):
  process = start(*TINY, f"--run_dir={tmp_path}")
  wait_for_checkpoint(tmp_path, process)
  process.terminate()
  _, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 130, err
  assert "goes on from here" in err
  newest = tmp_path / "state.safetensors"
  damaged = bytearray(newest.read_bytes())
  damaged[len(damaged) // 2] ^= 16
  newest.write_bytes(damaged)
  status, _, err = launch(*TINY, f"--run_dir={tmp_path}")
  assert status == 0, err
  assert f"{newest} is damaged" in err
  assert newest.with_suffix(".damaged").read_bytes() == damaged
  assert deterministic(tmp_path) == deterministic(whole[0])


def test_a_seed_alone_has_the_bits_it_has_among_others(whole, tmp_path):
  flags = [f for f in TINY if not f.startswith("--seeds")]
  alone = ("--seeds=1", "--first_seed=2", f"--run_dir={tmp_path}")
  status, _, err = launch(*flags, *alone)
  assert status == 0, err
  one, many = deterministic(tmp_path), deterministic(whole[0])
  for name in ("updates", "updates_to_solve", "test_error", "status"):
    assert one["results"][name][0] == many["results"][name][2]
  for name, curve in one["curves"].items():
    if name != "update":
      for a, b in zip(curve, many["curves"][name], strict=False):
        assert a[0] == b[2], name


MISTAKES = {
  "--task=temporal_ordr": ("task", "temporal_ordr", "temporal_order"),
  "--length=9": ("length", "9", "at least 10"),
  "--length=ten": ("length", "ten"),
  "--max_norm=-1": ("max_norm", "-1", "greater than 0"),
  "--omega_weight=-2": ("omega_weight", "-2", "at least 0"),
  "--seeds=0": ("seeds", "0", "at least 1"),
  "--sedes=4": ("sedes", "seeds"),
  "temporal_order": ("unexpected", "temporal_order"),
  "--run_dir={root}/README.md/run": ("run_dir", "README.md/run"),
}


@pytest.fixture(scope="module")
def mistakes():
  """All the wrong commands at once: most of a launch is waiting for imports."""
  flags = [m.format(root=ROOT) for m in MISTAKES]
  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    return dict(zip(MISTAKES, pool.map(launch, flags), strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_without_a_traceback(mistakes, mistake):
  status, out, err = mistakes[mistake]
  assert status not in (0, None)
  assert "Traceback" not in err
  for part in MISTAKES[mistake]:
    assert part in err + out


def test_another_configuration_in_the_directory_is_refused(whole):
  run_dir, _ = whole
  before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
  flags = (*TINY, "--learning_rate=0.02", f"--run_dir={run_dir}")
  status, _, err = launch(*flags)
  assert status != 0
  assert "learning_rate: 0.01 there, 0.02 asked for" in err
  assert "Traceback" not in err
  assert {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")} == before


def test_help_explains_every_flag():
  _, out, err = launch("--help")
  for name in ("task", "length", "init", "algorithm", "hidden_size",
               "batch_size", "learning_rate", "max_norm", "omega_weight",
               "seeds", "max_updates", "check_every", "run_dir"):  # fmt: skip
    assert f"--{name}:" in out + err or f"--[no]{name}:" in out + err
