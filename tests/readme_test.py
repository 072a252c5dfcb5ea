"""The README's code and commands, as they stand there."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"python (experiments/train\.py[^\n`]*)", README)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
@pytest.mark.usefixtures("own_tasks")
def test_code_runs_as_written(number):
  exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


def test_a_task_of_your_own_is_one_of_the_launchers(tmp_path):
  (block,) = [b for b in BLOCKS if "register_task(" in b]
  assert (
    "`import train` and\n`steadygrad.runs.launch.main(train.main)`" in README
  )
  script = tmp_path / "own.py"
  script.write_text(
    "import sys\nfrom steadygrad.runs import launch\n"
    f"{block.split('config = ')[0]}"
    f"sys.path.append({str(ROOT / 'experiments')!r})\n"
    "import train\nlaunch.main(train.main)\n"
  )
  done = subprocess.run(
    [
      *(sys.executable, str(script), "--task=first_bit", "--length=10"),
      *("--max_updates=2", "--check_every=2", "--check_size=10"),
      *("--test_size=10", f"--run_dir={tmp_path / 'run'}", "--noprogress"),
    ],
    env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  record = json.loads((tmp_path / "run" / "record.json").read_text())
  assert record["config"]["task"] == record["results"]["task"] == "first_bit"
  assert record["config"]["length"] == 10


def test_the_three_stories_are_there():
  assert len(COMMANDS) >= 2
  assert len(BLOCKS) >= 4
  for words in ("add_omega_gradient(cell, weight=4.0)", "jax.vmap(run)"):
    assert any(words in block for block in BLOCKS)


@pytest.mark.usefixtures("quickly_launched")
@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs_as_written_but_shorter(command, tmp_path):
  words = shlex.split(command)
  short = ["--max_updates=2", "--check_every=2", "--check_size=10"]
  short += ["--test_size=10", f"--run_dir={tmp_path}", "--noprogress"]
  done = subprocess.run(
    [sys.executable, *words, *short],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": "src", "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "record.json").exists()


@pytest.mark.usefixtures("quickly_launched")
def test_commands_of_sweeps_run_as_written_but_shorter(tmp_path):
  script = r"python experiments/((?:sweep|evaluate|draw)\.py [^\n`]*)"
  commands = re.findall(script, README)
  assert [c.split(".")[0] for c in commands] == [
    "sweep", "evaluate", "draw", "draw", "sweep",
  ]  # fmt: skip
  short = {
    "sweep": "--length=12 --init=basic_tanh --algorithm=msgd_c --seeds=1"
    " --max_updates=2 --check_every=2 --check_size=10 --test_size=10"
    " --noprogress",
    "evaluate": "--lengths=12 --size=10",
    "draw": "",
  }
  for command in commands:
    name = command.split(".")[0]
    plan = ["--plan"] if "--preset" in command else []
    done = subprocess.run(
      [
        sys.executable,
        str(ROOT / "experiments" / command.split()[0]),
        *shlex.split(command)[1:],
        *shlex.split(short[name]),
        *plan,
      ],
      cwd=tmp_path,
      env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr
  assert len(list((tmp_path / "runs" / "grid" / "records").iterdir())) == 1
  assert (tmp_path / "runs" / "grid.png").exists()


def test_pictures_are_there():
  for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README, re.DOTALL):
    assert (ROOT / path).stat().st_size < 1_000_000
