"""Runs where JAX's default is float64, as JAX_ENABLE_X64 makes it."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.usefixtures("quickly_launched")
def test_train_runs_where_float64_is_the_default(tmp_path):
  done = subprocess.run(
    [
      *(sys.executable, str(ROOT / "experiments" / "train.py"), "--length=10"),
      *("--seeds=2", "--max_updates=2", "--check_every=2", "--noprogress"),
      *("--check_size=10", "--test_size=10", f"--run_dir={tmp_path / 'run'}"),
    ],
    env=os.environ
    | {
      "PYTHONPATH": str(ROOT / "src"),
      "HOME": str(tmp_path),
      "JAX_ENABLE_X64": "1",
    },
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "run" / "record.json").exists()
