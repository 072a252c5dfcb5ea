"""Imports go downwards only, and the library leaves some things to launchers.

To add a module put its name into `LAYERS`, above everything that it imports. To
narrow what a layer may import, add it to `ONLY`.
"""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

import steadygrad

SOURCE = pathlib.Path(steadygrad.__file__).parent
PACKAGE = "steadygrad"

# Lowest first: a module of one layer imports its own layer and lower ones.
LOWEST = ("symbols", "types", "_validate", "varying")
LAYERS = (
  *LOWEST,
  "files",
  "schema",
  "records",
  "options",
  "trees",
  "activations",
  "numerics",
  "segments",
  "initializers",
  "_unroll",
  "_passes",
  "trajectories",
  "kernels",
  "cells",
  "_adjoints",
  "models",
  "losses",
  "data",
  "transforms",
  "analysis",
  "tasks",
  "training",
  "plots",
  "reports",
  "runs",
  "figures",
  "evaluations",
  "programs",
  "__main__",
  "flax",
)
_RECORDED = {"files", "schema", "records"}

# Layers that see less than all that lies below them.
ONLY = {
  "files": set(),
  "schema": set(),
  "records": {"files", "schema"},
  "options": set(),
  "kernels": {*LOWEST, "activations", "numerics", "_unroll"},
  "_passes": {*LOWEST, "trees", "_unroll"},
  "trajectories": {*LOWEST, "trees", "_unroll", "_passes"},
  "_adjoints": {*LOWEST, "trees", "_unroll", "_passes", "trajectories"},
  "models": {*LOWEST, "numerics", "_unroll"},
  "data": {*LOWEST},
  "transforms": {*LOWEST, "trees", "numerics", "segments", "_unroll"},
  "tasks": {*LOWEST, "losses", "options"},
  "training": {*LAYERS[: LAYERS.index("training")]} - _RECORDED - {"analysis"},
  "plots": {"files", "records"},
  "figures": {*LAYERS[: LAYERS.index("runs") + 1]},
  "reports": {
    *LOWEST,
    "files",
    "records",
    "numerics",
    "transforms",
    "plots",
    "schema",
  },
  "flax": {*LOWEST},
}

# Layers that only some may import.
HIDDEN = {"kernels": {"cells"}}

# Packages that draw, print, read flags or files of a kind, and the layers or
# modules that may import them.
LAUNCHERS_ONLY = {
  "matplotlib": {"plots", "figures"},
  "tqdm": {"runs"},
  "filelock": {"runs"},
  "safetensors": {"runs"},
  "absl": {"runs", "programs", "training.options"},
  "scipy": {"data"},
}
# Code of the host: may compile, print and read the environment.
HOST = ("reports", "runs", "evaluations", "programs", "__main__")
# Not needed by whoever reads no files of data, keeps no runs and draws nothing.
SPARED = LAUNCHERS_ONLY.keys() - {"absl"}
# Names whose use is the host's business: compiling, printing, environment. The
# layer "runs" is host code.
FORBIDDEN_NAMES = {
  "jax.jit",
  "jax.pjit",
  "print",
  "os.environ",
  "os.getenv",
  "os.putenv",
  "sys.argv",
  "sys.stderr",
  "sys.stdout",
}


def module_name(path, root=SOURCE):
  """steadygrad.cells.elman of .../cells/elman.py."""
  parts = path.relative_to(root).with_suffix("").parts
  parts = parts[:-1] if parts[-1] == "__init__" else parts
  return ".".join((PACKAGE, *parts))


MODULES = {module_name(p): p for p in sorted(SOURCE.rglob("*.py"))}


def layer_of(module):
  parts = module.split(".")
  return parts[1] if len(parts) > 1 else ""


def within(module):
  """training.options of steadygrad.training.options."""
  return module.partition(".")[2]


def imported(tree, known):
  """Dotted names that a module imports; of a package, its submodules."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = "." * node.level + (node.module or "")
      for alias in node.names:
        name = f"{base}.{alias.name}"
        inside = base.split(".")[0] == PACKAGE
        yield name if name in known or not inside else base


def used(tree):
  """Dotted names that a module uses, `from` imports written out."""
  full = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
      for alias in node.names:
        full[alias.asname or alias.name] = alias.name
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute | ast.Name):
      first, *rest = ast.unparse(node).split(".")
      yield ".".join([full.get(first, first), *rest])


def problems(module, source, known=frozenset(MODULES)):
  """What is wrong with a module, as sentences."""
  layer, tree = layer_of(module), ast.parse(source)
  if layer and layer not in LAYERS:
    return [
      f"{module} has no place: put {layer!r} into LAYERS of"
      " tests/imports_test.py, above all that it imports"
    ]
  found = []
  for name in imported(tree, known):
    if name.startswith("."):
      found.append(f"{module} imports {name} relatively")
    if name.split(".")[0] == PACKAGE:
      found += wrong_layer(module, layer, layer_of(name))
    allowed = LAUNCHERS_ONLY.get(name.split(".")[0])
    if allowed is not None and not {layer, within(module)} & allowed:
      found.append(f"{module} imports {name}, which is for launchers")
  for name in set(used(tree)) & FORBIDDEN_NAMES if layer not in HOST else ():
    found.append(f"{module} uses {name}, which is for launchers")
  return found


def wrong_layer(module, layer, other):
  """Sentences about one import of `other` by a module of `layer`."""
  if not layer or layer == other:
    return []
  if other not in LAYERS:
    return [f"{module} imports {PACKAGE}.{other}, which is no known layer"]
  lower = set(LAYERS[: LAYERS.index(layer)])
  allowed = ONLY.get(layer, lower)
  if other not in allowed:
    return [f"{module} imports {other}; {layer} may import {sorted(allowed)}"]
  if layer not in HIDDEN.get(other, {layer}):
    return [f"{module} imports {other}, which only {HIDDEN[other]} may"]
  return []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module(module):
  found = problems(module, MODULES[module].read_text())
  assert not found, "\n".join(found)


def test_the_table_is_consistent():
  assert len(set(LAYERS)) == len(LAYERS)
  for layer, allowed in (ONLY | HIDDEN).items():
    assert layer in LAYERS and allowed <= set(LAYERS)
  for layer, allowed in ONLY.items():
    assert all(LAYERS.index(a) < LAYERS.index(layer) for a in allowed)


@pytest.mark.parametrize(
  "module, source, said",
  [
    ("types", "from steadygrad import numerics", "imports numerics"),
    ("types", "import steadygrad.cells._elman", "imports cells"),
    ("cells.elman", "from steadygrad.models import linear", "imports models"),
    ("transforms.omega", "from steadygrad.cells import elman", "cells"),
    ("transforms.omega", "from steadygrad import kernels", "kernels"),
    ("transforms.omega", "from steadygrad._adjoints import x", "_adjoints"),
    ("training", "from steadygrad.kernels import elman_scan", "only {'cells'}"),
    ("analysis.lyapunov", "def f():\n  import steadygrad.training", "training"),
    ("tasks.addition", "from steadygrad._unroll import unroll", "_unroll"),
    ("novelty", "import jax", "put 'novelty' into LAYERS"),
    ("types", "from steadygrad.novelty import x", "no known layer"),
    ("cells.elman", "from . import linen", "relatively"),
    ("training", "from steadygrad.runs import store", "imports runs"),
    ("runs.store", "import matplotlib.pyplot as plt", "matplotlib"),
    ("training", "import matplotlib.pyplot as plt", "matplotlib"),
    ("plots.training", "from steadygrad.training import update", "training"),
    ("training", "from tqdm import tqdm", "tqdm"),
    ("training.config", "from absl import flags", "absl.flags"),
    ("training.update", "from absl import logging", "absl.logging"),
    ("training.batches", "import scipy.io", "scipy.io"),
    ("data.music", "from steadygrad.losses import x", "data may import"),
    ("training.update", "from steadygrad import records", "imports records"),
    ("records", "from safetensors import numpy", "safetensors"),
    ("records", "import filelock", "filelock"),
    ("training", "import sys\nsys.stderr.write('a')", "sys.stderr"),
    ("training", "import jax\n@jax.jit\ndef f(): pass", "jax.jit"),
    ("training", "from jax import jit\nf = jit(g)", "jax.jit"),
    ("training", "import jax as j\nf = j.jit(g)", "jax.jit"),
    ("training", "print(1)", "print"),
    ("records", "import os\nos.environ['A']", "os.environ"),
    ("records", "from os import environ\nenviron['A']", "os.environ"),
  ],
)
def test_breaches_are_found(module, source, said):
  found = problems(f"{PACKAGE}.{module}", source)
  assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(
  "module, source",
  [
    ("cells.elman", "from steadygrad import kernels"),
    ("cells.elman", "from steadygrad.kernels import elman_scan"),
    ("training.options", "from absl import flags"),
    ("training.update", "import chex, optax"),
    ("data.music", "import scipy.io"),
    ("runs.store", "import filelock, safetensors.numpy"),
    ("plots.style", "import matplotlib.pyplot as plt"),
    ("plots.training", "from steadygrad import records"),
    ("runs.store", "import sys, os\nprint(os.environ, file=sys.stderr)"),
    ("runs.launch", "from absl import app, flags"),
    ("runs.store", "import jax\nfrom tqdm import tqdm\njax.jit(f)"),
    ("training", "from steadygrad.transforms.omega import omega_terms"),
    ("types", "from steadygrad.types import Array"),
  ],
)
def test_what_is_allowed_passes(module, source):
  assert not problems(f"{PACKAGE}.{module}", source)


def test_the_mathematics_needs_few_packages():
  """Modules that are not of these layers, where importing `SPARED` fails."""
  own = ("data", "plots", "figures", *HOST)
  modules = [m for m in MODULES if layer_of(m) not in own]
  code = f"""
import importlib, sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {set(SPARED)}:
      raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
for module in {modules}:
  importlib.import_module(module)
"""
  path = os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
  subprocess.run(
    [sys.executable, "-c", code],
    env=os.environ | {"PYTHONPATH": path},
    check=True,
  )


EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1] / "experiments"
VERBS = {path.stem for path in EXPERIMENTS.glob("*.py")}
# Folders of what verbs take by name, and the other folders that each imports.
NOUNS = {
  "analyses": set(),
  "benchmarks": set(),
  "figures": set(),
  "presets": set(),
}


def noun_problems(folder, source):
  """What is wrong with a module in a folder of experiments, as sentences."""
  tree = ast.parse(source)
  packages = {name.split(".")[0] for name in imported(tree, MODULES)}
  banned = {"absl"} | VERBS | NOUNS.keys() - NOUNS[folder] - {folder}
  wrong = [f"imports {name}" for name in sorted(packages & banned)]
  programs = {"sys.argv", "sys.path", "__name__"}
  return wrong + [f"uses {name}" for name in set(used(tree)) & programs]


def test_every_folder_of_modules_has_a_place():
  assert NOUNS.keys() == {p.parent.name for p in EXPERIMENTS.glob("*/*.py")}
  assert not NOUNS.keys() & VERBS


@pytest.mark.parametrize("folder", NOUNS)
def test_only_verbs_are_programs(folder):
  for path in sorted((EXPERIMENTS / folder).glob("*.py")):
    assert not noun_problems(folder, path.read_text()), path


@pytest.mark.parametrize(
  "folder, source, said",
  [
    ("figures", "import draw", "imports draw"),
    ("analyses", "from train import main", "imports train"),
    ("figures", "from presets import figure_7", "imports presets"),
    ("presets", "from figures import labels", "imports figures"),
    ("analyses", "from presets import figure_7", "imports presets"),
    ("benchmarks", "from absl import flags", "imports absl"),
    ("benchmarks", "import sys\nsys.path.insert(0, 'a')", "uses sys.path"),
    ("figures", "if __name__ == '__main__':\n  main()", "uses __name__"),
  ],
)
def test_programs_in_folders_are_found(folder, source, said):
  found = noun_problems(folder, source)
  assert len(found) == 1 and said in found[0], found
