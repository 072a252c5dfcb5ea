"""Fixtures, and JAX's strict modes. Warnings are errors, see pyproject.toml."""

import os
import pathlib

import jax
import numpy as np
import pytest

GOLDEN = "authors_step.npz"

# Seeds are spread over devices: two of them, whatever the machine has.
jax.config.update("jax_num_cpu_devices", 2)

# Whoever works in these modes can use the library, and no axis or dtype of ours
# comes from a promotion that nobody wrote down.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
  """float64 for this test only; JAX's default dtypes come back after it."""
  with jax.enable_x64(True):
    yield
  assert not jax.config.jax_enable_x64, "float64 leaked out of a test"


@pytest.fixture
def promotion():
  """JAX's usual promotion, for Optax's Adam and for some of its schedules."""
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
  repository = pathlib.Path(__file__).resolve().parents[1]
  shared = pathlib.Path(
    os.environ.get("STEADYGRAD_SHARED", repository.parent / "shared")
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
