"""Is every kernel the XLA loop? Some 30 cases, against the loop in float64."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.kernels import elman_scan

# Largest difference over the largest magnitude of each result, at least 1.
BOUNDS = {"highest": 1e-5, "tf32x3": 1e-5, "tf32": 2e-2, "bfloat16": 1e-1}
STORED_IN_BFLOAT16 = 5e-2


class Case(NamedTuple):
  """What a kernel is run on; `seeds` are vmapped, 0 for no such axis."""

  form: str = "x"
  activation: str = "tanh"
  length: int = 100
  batch: int = 20
  units: int = 50
  lengths: str = "none"
  loss: str = "last"
  seeds: int = 0
  dtype: str = "float32"
  precision: str = "tf32x3"

  def bound(self) -> float:
    """What its errors may be."""
    if self.dtype == "bfloat16":
      return STORED_IN_BFLOAT16
    return BOUNDS[self.precision]


def cases() -> list[Case]:
  """Every value of each axis, and both forms of most."""
  found = []
  for form, sigma in itertools.product(
    "xh", ("tanh", "sigmoid", "relu", "linear")
  ):
    found.append(Case(form, sigma, 40))
  for form, kind, loss in itertools.product(
    "xh", ("scalar", "ragged"), ("last", "every")
  ):
    found.append(Case(form, "tanh", 40, lengths=kind, loss=loss))
  found += [Case(length=n, loss="every") for n in (1, 2, 1000)]
  found += [Case(batch=n, length=40) for n in (1, 16, 33)]
  found += [Case(units=n, length=40) for n in (1, 17, 64, 96, 128, 160)]
  found += [Case(seeds=n, lengths="ragged", loss="every") for n in (3, 64)]
  found += [
    Case(precision=p, units=n)
    for p, n in (("highest", 50), ("tf32", 50), ("bfloat16", 50), ("tf32", 192))
  ]
  found += [
    Case(form=f, dtype="bfloat16", length=20, units=n)
    for f, n in (("x", 50), ("h", 256))
  ]
  return found


def operands(case: Case) -> list[np.ndarray]:
  """w_rec, drives, x_0, dhs, lengths; contracting, so that errors do not grow.

  As NumPy's, in float32 or as bfloat16 rounds them.
  """
  rng = np.random.default_rng(0)
  length, batch, units = case[2:5]
  seeds = (case.seeds,) if case.seeds else ()
  of_loss = length if case.loss == "every" else 1
  shapes = ((units, units), (length, batch, units), (batch, units))
  shapes += ((of_loss, batch, units),)
  found = [rng.normal(size=seeds + s) for s in shapes]
  found[0] *= 0.7 / np.sqrt(units)
  found = [np.asarray(jnp.asarray(x, case.dtype), np.float32) for x in found]
  steps = np.int32(length // 2)
  if case.lengths == "ragged":
    steps = (np.arange(batch) * length % (length + 1)).astype(np.int32)
  if case.lengths == "none":
    steps = np.int32(length)
  return [*found, np.broadcast_to(steps, seeds + np.shape(steps))]


def passes(case: Case, interpret: bool | None):
  """The two passes of a case, vmapped; of the loop if `interpret` is None."""
  how = {"implementation": "xla", "precision": "highest"}
  if interpret is not None:
    how = {"implementation": "pallas_gpu", "precision": case.precision}
    how["interpret"] = interpret
  scan = elman_scan(case.form, case.activation, **how)

  def run(w_rec, drives, x_0, dhs, lengths):
    if case.lengths == "none":
      lengths = None
    xs, hs = scan.forward(w_rec, drives, x_0, lengths)
    return xs, hs, *scan.backward(w_rec, x_0, xs, hs, dhs, lengths)

  return jax.vmap(run) if case.seeds else run


def errors(case: Case, interpret: bool) -> dict:
  """The row of a case: errors of xs, hs, deltas, products and dx_0."""
  *arrays, lengths = operands(case)
  given = [jnp.asarray(x, case.dtype) for x in arrays]
  actual = jax.jit(passes(case, interpret))(*given, lengths)
  loop = jax.jit(passes(case, None))
  wide = case.dtype == "float32"
  with jax.enable_x64(wide):  # bfloat16 against a loop that stores it too.
    given = [jnp.asarray(x, "float64" if wide else case.dtype) for x in arrays]
    expected = jax.device_get(loop(*given, lengths))
  found = []
  for a, e in zip(jax.device_get(actual), expected, strict=True):
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    scale = max(1.0, np.abs(e).max(initial=0))
    found.append(float(np.abs(a - e).max(initial=0) / scale))
  agrees = bool(max(found) <= case.bound())
  return case._asdict() | {"errors": found, "agrees": agrees}


def some(small: bool) -> Iterator[Case]:
  """All cases, or those that an interpreter does in seconds."""
  for case in cases():
    if not small or case.length * case.units * max(1, case.seeds) <= 40:
      yield case
