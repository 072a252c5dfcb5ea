"""`python -m steadygrad`: from a wheel, and from a clone."""

import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

import steadygrad.__main__ as programs

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHORT = ("--length=10", "--seeds=1", "--max_updates=2", "--check_every=2")
SHORT += ("--check_size=10", "--test_size=10", "--noprogress")
# Refuses packages by name, as if they were not installed.
REFUSE = """
import sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {absent}:
      raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
from steadygrad.__main__ import run
run()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """A folder with what the wheel has, and nothing of the clone."""
  place = tmp_path_factory.mktemp("wheel")
  subprocess.run(
    [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place]
    + [str(ROOT)],
    check=True,
    capture_output=True,
  )
  (wheel,) = place.glob("*.whl")
  zipfile.ZipFile(wheel).extractall(place / "site")
  return place / "site"


def call(words, cwd, path, absent=()):
  """(exit status, standard output, standard error) of the command."""
  given = ["-m", "steadygrad"]
  if absent:
    given = ["-c", REFUSE.format(absent=set(absent))]
  done = subprocess.run(
    [sys.executable, *given, *words],
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(path), "HOME": str(cwd)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("quickly_launched")
def test_a_wheel_trains_sweeps_and_evaluates(installed, tmp_path):
  (tmp_path / "grid.py").write_text("GRIDS = [{'learning_rate': [0.1, 1.0]}]\n")
  sweep = ("sweep", "--preset=grid.py", "--sweep_dir=swept", *SHORT)
  for words in (("train", *SHORT, "--run_dir=run"), sweep):
    status, out, err = call(words, tmp_path, installed)
    assert status == 0, err
    assert json.loads(out)
  assert json.loads(out)["runs"] == 2
  record = json.loads((tmp_path / "run" / "record.json").read_text())
  assert record["provenance"]["command"].startswith("steadygrad train --len")
  assert (tmp_path / "run" / "training.png").exists()
  words = ("evaluate", "--test=lengths", "--runs=run", "--lengths=12")
  status, out, err = call((*words, "--size=10"), tmp_path, installed)
  assert status == 0, err
  assert json.loads(out)["lengths"] == [12]


@pytest.mark.usefixtures("quickly_launched")
def test_without_matplotlib_a_run_has_no_picture(tmp_path):
  words = ("train", *SHORT, "--run_dir=run")
  status, _, err = call(words, tmp_path, ROOT / "src", {"matplotlib", "scipy"})
  assert status == 0, err
  said = "no picture is drawn: matplotlib is not installed; pip install"
  assert f"{said} 'steadygrad[plots]' brings it" in err
  assert (tmp_path / "run" / "record.json").exists()
  assert not (tmp_path / "run" / "training.png").exists()
  # The same command draws it once Matplotlib is there.
  assert call(words, tmp_path, ROOT / "src")[0] == 0
  assert (tmp_path / "run" / "training.png").exists()


def test_what_only_draws_names_the_extra(tmp_path):
  for words in (
    ("draw", "--figure=waits"),
    ("evaluate", "--test=waits", "--runs=a"),
  ):
    status, _, err = call(words, tmp_path, ROOT / "src", {"matplotlib"})
    assert status == 1
    assert "'steadygrad[plots]'" in err and "Traceback" not in err


def test_a_wheel_says_what_needs_a_clone(installed, tmp_path):
  for words in (("analyse", "--analysis=maps"), ("sweep", "--preset=figure_7")):
    status, _, err = call(words, tmp_path, installed)
    assert status == 1
    assert "must be run in a clone" in err and "Traceback" not in err


def test_a_clone_has_all_programs(tmp_path):
  path = ROOT / "src"
  status, out, _ = call(("analyse", "--help"), tmp_path, path)
  assert status == 0 and "--analysis" in out
  words = ("sweep", "--preset=figure_7", "--plan", "--sweep_dir=a")
  status, out, err = call(words, tmp_path, path)
  assert status == 0, err
  assert json.loads(out)["runs"] > 1


def test_a_preset_that_is_not_there(tmp_path):
  for name in ("figure_8", "there.py"):
    words = ("sweep", f"--preset={name}", "--plan")
    status, _, err = call(words, tmp_path, ROOT / "src")
    assert status == 1
    assert "preset must be" in err and name in err


@pytest.mark.parametrize("words", [(), ("--help",), ("fly",)])
def test_without_a_program_it_tells_of_them(words, tmp_path):
  status, out, err = call(words, tmp_path, ROOT / "src")
  assert status == (1 if words == ("fly",) else 0)
  for name in (*programs.PROGRAMS, *programs.OF_CLONES):
    assert re.search(rf"\b{name}\b", err if status else out)


def test_every_program_is_a_file_of_a_clone():
  scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")}
  assert scripts == {*programs.PROGRAMS, *programs.OF_CLONES}


def test_help_shows_no_flags_of_other_packages(tmp_path):
  status, out, _ = call(("train", "--help"), tmp_path, ROOT / "src")
  assert status == 0
  assert "Trains recurrent networks" in out and "--run_dir" in out
  assert "--hidden_size" in out and "chex" not in out
  assert out.count("This program:") == 1


@pytest.mark.usefixtures("quickly_launched")
def test_a_run_is_reported_before_and_after(tmp_path):
  path = ROOT / "src"
  words = ("train", *SHORT, "--model=gru", "--algorithm=msgd_c")
  assert call((*words, "--run_dir=run"), tmp_path, path)[0] == 0
  words = ("report", "--run=run", "--out=page.html", "--size=5")
  status, out, err = call(words, tmp_path, path)
  assert status == 0, err
  told = json.loads(out)
  verdicts = {"keeps", "vanishes", "explodes"}
  assert {*told["before"].values(), *told["after"].values()} <= verdicts
  assert "before training" in err and "half-life" in err
  assert "data:image/png" in (tmp_path / "page.html").read_text()
  for flag, said in (
    ("--out=a.pdf", "out must end with .html"),
    ("--run=none", "none"),
    ("--size=1", "size must be"),
  ):
    status, _, err = call(("report", "--run=run", flag), tmp_path, path)
    assert status == 1 and said in err and "Traceback" not in err
