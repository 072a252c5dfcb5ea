"""Fixtures, strict modes, and what all processes of a session share.

Warnings are errors, see pyproject.toml.
"""

import atexit
import contextlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import tempfile
import tomllib

import jax
import numpy as np
import pytest

from steadygrad.tasks import TASKS
from tests.fork_server import Server

GOLDEN = "authors_step.npz"
ROOT = pathlib.Path(__file__).resolve().parents[1]


# Of the extra `test`, but no test needs them.
TOOLS = {"ruff", "pytest-xdist"}


def _missing() -> list[str]:
  """What the package and its tests need and is not installed."""
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = project["optional-dependencies"]

  def names(needs):
    for need in needs:
      name, _, more = re.match(r"([\w-]+)(\[([\w,-]+)\])?", need).groups()
      if name == project["name"]:
        for extra in more.split(","):
          yield from names(extras[extra])
      else:
        yield name

  missing = []
  for name in names(project["dependencies"] + extras["test"]):
    try:
      importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
      missing.append(name)
  return sorted(set(missing) - TOOLS)


def _share() -> None:
  """Sets what JAX reads in the processes that this one starts.

  The CPU, also beside a GPU: that one rounds products in its own way, and two
  processes do not fit into its memory. One directory of compiled programs for
  this session, unless one is set.
  """
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  # As launchers have it: small products of theirs have the bits of those here.
  flags = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
  # For gpu_test, which launches commands beside itself.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    directory = tempfile.mkdtemp(prefix="steadygrad-tests-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory
  os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


if _missing():
  pytest.exit(
    f"the tests need {', '.join(_missing())}: pip install -e '.[test]'", 4
  )
_share()

# JAX has been imported by now, with the defaults of these.
for _name in (
  "jax_platforms",
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
):
  _type = float if _name.endswith("secs") else str
  jax.config.update(_name, _type(os.environ[_name.upper()]))
# Seeds are spread over devices: two of them, whatever the machine has.
jax.config.update("jax_num_cpu_devices", 2)

# Whoever works in these modes can use the library, and no axis or dtype of ours
# comes from a promotion that nobody wrote down.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Neighbours to the same worker, which then makes a module's fixtures once.

  By default each worker gets every second test, and every worker makes them.
  """
  from xdist.scheduler import WorkStealingScheduling

  if config.getoption("dist") == "load":
    return WorkStealingScheduling(config, log)


@contextlib.contextmanager
def quick_compilation():
  """Programs as they are, compiled to slower code in about half the time.

  For what is compared with an oracle within a tolerance: what LLVM makes of a
  program is not its subject. Not for equal bits, memory or what a user runs.
  """
  before = jax.config.read("jax_disable_most_optimizations")
  jax.config.update("jax_disable_most_optimizations", True)
  try:
    yield
  finally:
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def x64():
  """float64 for this test only; JAX's default dtypes come back after it.

  No user trains in it: its tests are about algebra, and compiled quickly.
  """
  with jax.enable_x64(True), quick_compilation():
    yield
  assert not jax.config.jax_enable_x64, "float64 leaked out of a test"


@pytest.fixture
def quickly():
  """`quick_compilation` for a test that makes the programs that it runs."""
  with quick_compilation():
    yield


@pytest.fixture(scope="module")
def quickly_compiled():
  """`quick_compilation` for a module, whose programs no other one runs."""
  with quick_compilation():
    yield
  jax.clear_caches()


@pytest.fixture
def quickly_launched(monkeypatch):
  """What the test launches compiles as `quick_compilation` does."""
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.fixture(scope="session")
def server():
  """Runs launchers in processes that have imported what they need."""
  found = Server()
  yield found
  found.close()


@pytest.fixture
def own_tasks():
  """Tasks that the test registers are gone after it."""
  before = dict(TASKS)
  yield
  TASKS.clear()
  TASKS.update(before)


@pytest.fixture
def promotion():
  """JAX's usual promotion, for code of Optax and Flax, or a cell of a test."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden():
  """The reference steps of the authors' code, {case: {field: array}}.

  Looked for in $STEADYGRAD_SHARED/golden and $STEADYGRAD_SHARED, then beside
  the repository in ../shared/golden.
  """
  shared = pathlib.Path(
    os.environ.get("STEADYGRAD_SHARED", ROOT.parent / "shared")
  )
  for path in (shared / "golden" / GOLDEN, shared / GOLDEN):
    if path.is_file():
      return _by_case(path)
  pytest.skip(f"no {GOLDEN} under {shared}: set STEADYGRAD_SHARED")


def _by_case(path):
  cases = {}
  with np.load(path) as archive:
    for name in archive.files:
      case, field = name.split("/")
      cases.setdefault(case, {})[field] = archive[name]
  return cases
