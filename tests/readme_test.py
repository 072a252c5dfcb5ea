"""The README's code and commands, as they stand there."""

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
def test_code_runs_as_written(number):
  exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


def test_the_three_stories_are_there():
  assert len(COMMANDS) >= 2
  assert len(BLOCKS) >= 4
  for words in ("add_omega_gradient(cell, weight=4.0)", "jax.vmap(run)"):
    assert any(words in block for block in BLOCKS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs_as_written_but_shorter(command, tmp_path):
  words = shlex.split(command)
  short = ["--max_updates=2", "--check_every=2", "--check_size=10"]
  short += ["--test_size=10", f"--run_dir={tmp_path}", "--noprogress"]
  done = subprocess.run(
    [sys.executable, *words, *short],
    cwd=ROOT,
    env={"PYTHONPATH": "src", "PATH": "", "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "record.json").exists()


def test_pictures_are_there():
  for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README, re.DOTALL):
    assert (ROOT / path).stat().st_size < 1_000_000
