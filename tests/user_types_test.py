"""What type checkers say of a script that uses the package as it is installed.

pyright in strict mode and mypy in strict mode, where they are installed: no
name of the package is unknown to them, and what the script holds has its type.
"""

import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import steadygrad

SRC = pathlib.Path(steadygrad.__file__).parents[1]
SCRIPT = """
import jax
import optax

import steadygrad as sg
from steadygrad import adjoints, linear_readout, msgd_cr, recurrent, telemetry
from steadygrad.cells import elman
from steadygrad.tasks import temporal_order
from steadygrad.types import Batch, PyTree

task = temporal_order(length=20)
cell = elman(task.input_size, 32)
model = recurrent(cell, linear_readout(32, task.output_size))
rate = optax.linear_schedule(4.0, 0.0, 100)
tx = msgd_cr(cell, learning_rate=0.01, max_norm=1.0, weight=rate)


def with_outputs(outputs: jax.Array, batch: Batch) -> tuple[jax.Array, int]:
  return task.loss(outputs, batch), 3


def run(key: jax.Array) -> jax.Array:
  params: PyTree = model.init(key)
  state = tx.init(params)
  losses: list[jax.Array] = []
  for step_key in jax.random.split(key, 2):
    batch = task.sample(step_key, 20)
    loss, grads, trajectory = adjoints(model, task.loss)(params, batch)
    updates, state = tx.update(grads, state, params, trajectory=trajectory)
    params = optax.apply_updates(params, updates)
    losses.append(loss + telemetry(state)["omega"])
  return losses[-1]


def looks(weights: dict[str, dict[str, jax.Array]], batch: Batch) -> None:
  loss, grads, trajectory = adjoints(model, task.loss)(weights, batch)
  reveal_type(loss)
  reveal_type(grads)
  reveal_type(trajectory)
  pair, _, _ = adjoints(model, with_outputs, has_aux=True)(weights, batch)
  reveal_type(pair)
  clip = sg.msgd_c(0.1, max_norm=sg.choose_max_norm([1.0, 2.0]).suggested)
  clip.update(grads, clip.init(weights), weights, trajectory=trajectory)


print(jax.vmap(run)(jax.random.split(jax.random.key(0), 3)))
"""
# As both write them, without the modules of the names.
REVEALED = [
  "Array",
  "dict[str, dict[str, Array]]",
  "Trajectory",
  "tuple[Array, int]",
]


def public_names():
  """module.name of every function and class that is public."""
  modules = [steadygrad] + [
    importlib.import_module(f"steadygrad.{name}")
    for name in (*steadygrad._MODULES, "flax", "trajectories")
  ]
  for module in modules:
    public = getattr(module, "__all__", None) or [
      name
      for name, value in vars(module).items()
      if getattr(value, "__module__", None) == module.__name__
      and not name.startswith("_")
    ]
    for name in public:
      if not inspect.ismodule(getattr(module, name)):
        yield f"{module.__name__}.{name}"


def needs(name):
  if not importlib.util.find_spec(name):
    pytest.skip(f"{name} is not installed")


def checked(command, folder, **environment):
  """What a checker prints, where the package is on the path of Python."""
  done = subprocess.run(
    [sys.executable, "-m", *command],
    cwd=folder,
    env=os.environ | {"PYTHONPATH": str(SRC)} | environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.stdout, done.stderr
  return done.stdout


def pyright(folder):
  needs("pyright")
  settings = {"typeCheckingMode": "strict", "include": ["*.py"]}
  (folder / "pyrightconfig.json").write_text(json.dumps(settings))
  command = ["pyright", "--outputjson", "--pythonpath", sys.executable]
  return json.loads(checked(command, folder))["generalDiagnostics"]


def test_pyright_knows_every_type_of_a_users_script(tmp_path):
  (tmp_path / "script.py").write_text(SCRIPT)
  modules = ["steadygrad", *(f"steadygrad.{m}" for m in steadygrad._MODULES)]
  lines = [f"import {m}" for m in (*modules, "steadygrad.flax")]
  lines += ["import steadygrad.trajectories"]
  lines += [f"x{i} = {name}" for i, name in enumerate(public_names())]
  (tmp_path / "names.py").write_text("\n".join(lines))
  found = pyright(tmp_path)
  # Optax has no types of its own.
  errors = [
    f"{x['range']['start']['line'] + 1}: {x['message']}"
    for x in found
    if x["severity"] == "error" and '"optax"' not in x["message"]
  ]
  assert not errors
  told = [x["message"] for x in found if x["severity"] == "information"]
  assert [x.split(" is ")[1].strip('"') for x in told] == REVEALED


def test_mypy_knows_every_type_of_a_users_script(tmp_path):
  needs("mypy")
  (tmp_path / "script.py").write_text(SCRIPT)
  command = ["mypy", "--strict", "--ignore-missing-imports", "script.py"]
  said = checked(command, tmp_path, MYPY_CACHE_DIR=str(tmp_path / "cache"))
  assert "Success: no issues found" in said, said
  told = re.findall(r'Revealed type is "(.*)"', said)
  # A NamedTuple is told as its fields, and its name.
  told = [re.sub(r"^tuple\[.*fallback=(.*)\]$", r"\1", x) for x in told]
  assert [re.sub(r"\w+\.", "", x) for x in told] == REVEALED
