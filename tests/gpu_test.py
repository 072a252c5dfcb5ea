"""The engine on a real GPU, which the rest of the suite leaves alone.

  JAX_PLATFORMS=cuda,cpu python -m pytest tests/gpu_test.py

`kernels_test` says in Pallas's interpreter what the kernels compute; here the
compiled ones are put to the same loops.
"""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import training
from steadygrad.kernels import elman_scan
from steadygrad.training import Data, TaskConfig
from tests.kernels_test import (
  BFLOAT16,
  CALLS,
  FLOAT32,
  arrays,
  both,
  calls,
  close,
  lengths_of,
  loop,
  mapped_passes,
)
from tests.launchers_test import TINY, launch

KERNEL = "pallas_gpu"
# float32 sums in another order on another device, over three updates.
UPDATES = 1e-4

pytestmark = [
  pytest.mark.skipif(
    not {"cuda", "gpu"} & set(os.environ["JAX_PLATFORMS"].split(",")),
    reason="asked for with JAX_PLATFORMS=cuda,cpu, on a machine with a GPU",
  ),
  # See `kernels_test`.
  pytest.mark.filterwarnings(
    "ignore:The Pallas Triton backend:DeprecationWarning"
  ),
]


def passes(form, activation, implementation, operands, lengths):
  scan = elman_scan(form, activation, implementation=implementation)
  return jax.jit(lambda *a: both(scan, *a))(*operands, lengths)


@pytest.mark.parametrize(
  "form, activation, kind, sizes",
  [
    ("x", "tanh", "ragged", (7, 19, 5)),
    ("x", "sigmoid", "part", (40, 20, 50)),
    ("x", "relu", "none", (4, 2, 16)),
    ("h", "tanh", "none", (20, 33, 128)),
    ("h", "sigmoid", "ragged", (7, 1, 17)),
    ("h", "linear", "zero", (4, 3, 5)),
    ("x", "tanh", "part", (9, 18, 160)),
  ],
)
@pytest.mark.parametrize("implementation", [KERNEL, "xla"])
def test_is_the_loop(implementation, form, activation, kind, sizes):
  """Of NumPy, in float64: TF32 products would be wrong by 1e-3."""
  operands, lengths = arrays(*sizes), lengths_of(kind, *sizes[:2])
  actual = passes(form, activation, implementation, operands, lengths)
  wide = [np.asarray(a, np.float64) for a in operands]
  given = None if lengths is None else np.asarray(lengths)
  close(actual, loop(form, activation, *wide, given), FLOAT32)


@pytest.mark.parametrize("form", ["x", "h"])
def test_a_long_sequence_is_that_of_the_xla_loop(form):
  operands, lengths = arrays(1000, 3, 17), lengths_of("ragged", 1000, 3)
  kernel, oracle = (
    passes(form, "tanh", name, operands, lengths) for name in (KERNEL, "xla")
  )
  close(kernel, oracle, FLOAT32)


def test_bfloat16_storage():
  operands, lengths = arrays(6, 3, 5, jnp.bfloat16), lengths_of("none", 6, 3)
  kernel, oracle = (
    passes("x", "tanh", name, operands, lengths) for name in (KERNEL, "xla")
  )
  close(kernel, oracle, BFLOAT16)


@pytest.mark.parametrize("kernel", [KERNEL, "xla"])
@pytest.mark.parametrize(
  "precision, error",
  [("highest", FLOAT32), ("tf32", 1e-2), ("bfloat16", 1e-1)],
)
def test_precision(kernel, precision, error):
  """Near, and of fewer bits no nearer than it promises to be fast."""
  operands = arrays(20, 20, 50)
  scan = elman_scan("x", "tanh", implementation=kernel, precision=precision)
  actual = jax.jit(lambda *a: both(scan, *a))(*operands)
  wide = [np.asarray(a, np.float64) for a in operands]
  expected = loop("x", "tanh", *wide, None)
  close(actual, expected, error)
  far = np.abs(np.asarray(actual[0]) - expected[0]).max() > 2 * FLOAT32
  assert far == (precision != "highest")


@pytest.mark.parametrize("mapped", ["w_rec", "drives", "all", "nested"])
def test_vmap(mapped):
  kernel, oracle = (
    elman_scan("x", "tanh", implementation=name) for name in (KERNEL, "xla")
  )
  f, operands = mapped_passes(mapped, kernel)
  g, _ = mapped_passes(mapped, oracle)
  close(jax.jit(f)(*operands), jax.jit(g)(*operands), FLOAT32)


@pytest.mark.parametrize(
  "units, chosen", [(50, True), (160, True), (161, False)]
)
def test_the_choice_on_the_device(units, chosen):
  """The kernel where w_rec fits, else the loop; the numbers are the loop's."""
  operands = arrays(5, 4, units)
  scan = elman_scan("h", "tanh")
  run = jax.jit(lambda *a: both(scan, *a))
  text = run.lower(*operands).as_text()
  assert calls(text).count(CALLS[KERNEL]) == 2 * chosen
  wide = [np.asarray(a, np.float64) for a in operands]
  close(run(*operands), loop("h", "tanh", *wide, None), FLOAT32)


@pytest.mark.parametrize("form", ["x", "h"])
def test_updates_are_those_of_the_cpu(form):
  """Initialisation, data, both passes, Omega, clipping and SGD."""
  config = TaskConfig(length=20, hidden_size=12, form=form)
  exp = training.experiment(config)
  key = jax.random.key(0)

  def run(device):
    with jax.default_device(device):
      step = jax.jit(lambda s: training.update(exp, Data(), key, s)[0])
      state = training.init(exp, key)
      for _ in range(3):
        state = step(state)
    return jax.device_get(state.params)

  ours, theirs = run(jax.devices()[0]), run(jax.devices("cpu")[0])
  assert jax.devices()[0].platform == "gpu"
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=UPDATES, atol=UPDATES),
    ours,
    theirs,
  )


def test_the_launcher_trains_on_it(tmp_path):
  status, _, err = launch(*TINY, "--max_updates=200", f"--run_dir={tmp_path}")
  assert status == 0, err
  record = json.loads((tmp_path / "record.json").read_text())
  assert record["provenance"]["device_platform"] == "gpu"
  assert np.isfinite(record["curves"]["loss"]).all()
