"""The gallery: every analysis has a record and a small picture, and runs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from analyses import ANALYSES

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "analysis"
GALLERY = ROOT / "docs" / "theory.md"
MAX_PICTURE = 200_000  # Bytes; pictures live in the repository.


def test_every_analysis_is_in_the_gallery_with_record_and_picture():
  text = GALLERY.read_text()
  for name, (_, takes) in ANALYSES.items():
    assert f"`--analysis={name}" in text
    if takes == "run":  # Of a run that everyone makes.
      continue
    assert f"(../experiments/results/analysis/{name}.png)" in text
    record = json.loads((RESULTS / f"{name}.json").read_text())
    assert {"config", "results", "curves", "provenance"} <= set(record)
    assert record["analysis"] == name
  for picture in RESULTS.glob("*.png"):
    assert picture.stat().st_size < MAX_PICTURE, picture
    assert f"(../experiments/results/analysis/{picture.name})" in text, picture


def _run(*arguments, cwd=ROOT):
  script = ROOT / "experiments" / "analyse.py"
  return subprocess.run(
    [sys.executable, str(script), *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
  )


def test_launcher_makes_a_record_and_a_picture_again(tmp_path):
  done = _run("--analysis=maps", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  said = json.loads(done.stdout.splitlines()[-1])["results"]
  kept = json.loads((RESULTS / "maps.json").read_text())["results"]
  # float32 on another processor may differ in its last digits.
  for key, value in kept.items():
    assert said[key] == pytest.approx(value, rel=1e-4)
  assert (
    tmp_path / "runs" / "analysis" / "maps.png"
  ).stat().st_size < MAX_PICTURE


def test_launcher_refuses_what_it_cannot_do(tmp_path):
  done = _run("--analysis=maps", "--cell=gru", f"--out={tmp_path}")
  assert done.returncode == 1 and "--cell=gru" in done.stderr
  done = _run("--analysis=maps", "--draw_only", f"--out={tmp_path}")
  assert done.returncode == 1 and "maps.json" in done.stderr
