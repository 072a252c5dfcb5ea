"""Bytes that an update moves, counted in its program as lowered for a GPU.

No GPU is needed. XLA has not fused anything yet, so that there are two counts:

  kernels   operands and results of kernels, products and look-ups, which are
            written and read whole whatever is fused; a lower bound
  all       of every operation as long as a sequence of one network, as if
            nothing were fused; an upper bound
"""

import inspect
import math
import re
from unittest import mock

import jax
from benchmarks import peers

from steadygrad import training
from steadygrad.training.config import TaskConfig

_BYTES = {"f64": 8, "i64": 8, "f32": 4, "i32": 4, "ui32": 4, "bf16": 2}
_BYTES |= {"f16": 2, "i8": 1, "ui8": 1, "i1": 1}
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")
_WHOLE = ("custom_call", "dot_general", "gather")
# They name arrays that others write, or stand for what holds them.
_FREE = ("return", "while", "case", "func", "call", "constant", "reshape")


def of_update(case: peers.Case, implementation: str = "pallas_gpu") -> dict:
  """Bytes an update of one network, by operation and in all."""
  config = TaskConfig(
    length=case.length,
    hidden_size=case.units,
    batch_size=case.batch,
    algorithm=case.algorithm,
  )
  try:
    exp = training.experiment(config, implementation=implementation)
    text = lowered(exp)
  except ValueError:  # The kernels do not hold it.
    return {"kernels": None, "all": None}
  return count(text, case.length * case.batch)


def lowered(exp) -> str:
  """StableHLO of one update, for a GPU that need not be here."""

  def step(key, state):
    return training.update(exp, training.Data(), key, state)[0].params

  key = jax.random.key(0)
  state = jax.eval_shape(lambda k: training.init(exp, k), key)
  described = {
    "platform": "gpu",
    "device_kind": "NVIDIA H100",
    "num_cores": 132,
  }
  # JAX 0.10.0 describes a device without its platform.
  known = inspect.signature(jax.sharding.AbstractDevice).parameters
  device = jax.sharding.AbstractDevice(
    **{k: v for k, v in described.items() if k in known}
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  # What is traced for a CPU goes in segments, and a loop's lines count once.
  on_gpu = mock.patch.object(jax, "default_backend", lambda: "gpu")
  with on_gpu, jax.sharding.use_abstract_mesh(mesh):
    traced = jax.jit(step).trace(key, state)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def count(text: str, least: int) -> dict:
  """Bytes in lines of StableHLO with an array of `least` numbers or more."""
  found: dict[str, int] = {}
  for line in text.splitlines():
    named = re.search(r"(?:stablehlo|func)\.(\w+)", line)
    if not named or named[1] in _FREE or " : " not in line:
      continue
    # What follows the last " : " are the types of operands and results; an
    # elementwise operation has one type for all of them.
    types = line.rpartition(" : ")[2]
    arrays = [_size(*m) for m in _TENSOR.findall(types)]
    if "->" not in types and arrays:
      arrays *= 1 + line.partition(" : ")[0].partition("=")[2].count("%")
    if arrays and max(numbers for numbers, _ in arrays) >= least:
      total = sum(numbers * width for numbers, width in arrays)
      found[named[1]] = found.get(named[1], 0) + total
  whole = sum(found.get(name, 0) for name in _WHOLE)
  return {"kernels": whole, "all": sum(found.values()), "by_operation": found}


def _size(axes: str, dtype: str) -> tuple[int, int]:
  """(numbers, bytes of each)."""
  sizes = [int(n) for n in axes.split("x")[:-1]]
  return math.prod(sizes), _BYTES.get(dtype, 4)
