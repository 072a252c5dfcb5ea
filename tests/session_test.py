"""What the tests themselves rest on: one platform, one cache, true bounds."""

import ast
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tomllib

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def environments(path):
  """The values of `env=` of all calls in a file."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call):
      yield from (k.value for k in node.keywords if k.arg == "env")


def test_no_command_gets_an_environment_made_anew():
  """It would forget the platform, and take the memory of a GPU."""
  for path in (ROOT / "tests").rglob("*.py"):
    for value in environments(path):
      said = ast.unparse(value)
      assert isinstance(value, ast.Name) or "os.environ" in said, (path, said)


def test_a_command_has_the_platform_and_the_programs_of_its_test():
  here = jax.default_backend(), jax.config.jax_compilation_cache_dir
  if here[0] != "gpu":
    assert here[0] == os.environ["JAX_PLATFORMS"].split(",")[0]
  assert pathlib.Path(here[1]).is_dir()
  code = (
    "import jax; c = jax.config;"
    "print(jax.default_backend(), c.jax_compilation_cache_dir, sep='\\n')"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert tuple(done.stdout.splitlines()) == here


@pytest.fixture(scope="module")
def matrix():
  """The script .ci/matrix, which has no suffix."""
  loader = importlib.machinery.SourceFileLoader(
    "matrix", str(ROOT / ".ci" / "matrix")
  )
  spec = importlib.util.spec_from_loader("matrix", loader)
  module = importlib.util.module_from_spec(spec)
  loader.exec_module(module)
  return module


def test_the_oldest_row_pins_every_dependency(matrix):
  pins = dict(line.split("==") for line in matrix.oldest().splitlines())
  needs = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
  for need in needs:
    if not need.startswith(PROJECT["name"]):
      (name,) = [n for n in pins if need.startswith(f"{n}>=")]
      assert need.startswith(f"{name}>={pins[name]}")
  lowest = PROJECT["requires-python"].removeprefix(">=")
  assert matrix.ROWS["oldest"][0] == lowest


def test_a_python_is_found_or_said_to_be_missing(matrix, capsys):
  here = "{}.{}".format(*sys.version_info)
  assert matrix.interpreter(here) and matrix.interpreter("3.0") is None
  matrix.ROWS["none"] = ("3.0", "")
  assert matrix.main(["none"]) == 1
  assert "not run: no Python 3.0 was found" in capsys.readouterr().out
