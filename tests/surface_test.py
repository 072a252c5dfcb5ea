"""What `import steadygrad` shows."""

import importlib
import inspect
import os
import pathlib
import subprocess
import sys

import pytest

import steadygrad

ROOT = pathlib.Path(steadygrad.__file__).parent


@pytest.mark.parametrize("name", steadygrad.__all__)
def test_every_name_is_there(name):
  assert getattr(steadygrad, name) is not None
  assert name in dir(steadygrad)


def test_a_version_and_a_docstring_and_no_other_name():
  assert steadygrad.__version__
  assert "error" in steadygrad.__doc__
  with pytest.raises(AttributeError, match="no attribute 'omega'"):
    _ = steadygrad.omega


def test_nothing_heavy_is_imported_before_it_is_used():
  code = (
    "import sys, steadygrad; print([m for m in ('jax', 'flax', 'optax',"
    " 'matplotlib', 'tqdm') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
  )
  assert done.stdout.strip() == "[]", done.stderr


def packages():
  for path in sorted(ROOT.rglob("__init__.py")):
    yield ".".join(["steadygrad", *path.parent.relative_to(ROOT).parts])


@pytest.mark.parametrize("package", list(packages()))
def test_no_name_is_a_module_and_a_function_at_once(package):
  module = importlib.import_module(package)
  folder = pathlib.Path(module.__file__).parent
  submodules = {path.stem for path in folder.glob("*.py")}
  for name in set(getattr(module, "__all__", ())) & submodules:
    assert inspect.ismodule(getattr(module, name)), f"{package}.{name}"
