"""The examples in docstrings run, and what a user meets first has one."""

import doctest
import importlib
import pathlib

import pytest

import steadygrad

ROOT = pathlib.Path(steadygrad.__file__).parent
# Modules with an example.
MODULES = sorted(
  ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
  for path in ROOT.rglob("*.py")
  if ">>>" in path.read_text()
)
FIRST = """
adjoints trajectory unroll recurrent linear_readout types.Batch.from_batch_major
tasks.temporal_order cells.elman cells.linen cells.nnx cells.lstm cells.stack
add_omega_gradient clip_by_global_norm msgd msgd_c msgd_cr choose_max_norm
telemetry losses.cross_entropy training.experiment training.run runs.train
runs.load analysis.delta_norms_by_lag analysis.conditions
analysis.power_iteration analysis.lyapunov_exponents analysis.fixed_points
analysis.temporal_contributions
""".split()


@pytest.mark.usefixtures("promotion", "quickly")
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
  found = doctest.testmod(importlib.import_module(name))
  assert found.attempted and not found.failed


@pytest.mark.parametrize("name", FIRST)
def test_a_users_first_functions_have_an_example(name):
  found = steadygrad
  for part in name.split("."):
    found = getattr(found, part)
  examples = doctest.DocTestParser().get_examples(found.__doc__)
  assert any(example.want for example in examples)
