r"""`spectral_radius` of many matrices against eigenvalues.

  PYTHONPATH=src:experiments:tests \
    python tests/long/spectral_radius.py --count=2000

Both dtypes are compared with the known spectrum where the family has one, in
float64 with mpmath up to N = 16, and else with the float64 eigenvalues of the
same matrix. An answer is wrong if its relative error exceeds 1e-5, 1e-10 in
float64, times the condition number of the largest eigenvalue where the spectrum
is not known. The last line is one JSON object.
"""

import json
import sys

import jax
import mpmath
import numpy as np
import scipy.linalg
from absl import app, flags
from matrices import FAMILIES, known_radius

from steadygrad.numerics import spectral_radius

COUNT = flags.DEFINE_integer("count", 2000, "Matrices, over all families.")
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 20, 32, 50, 64, 100, 128, 200, 256)
LIMITS = {"float32": 1e-5, "float64": 1e-10}


def eigenvalues(w):
  """(|λ| of the largest eigenvalue, its condition number) by LAPACK."""
  scale = np.abs(w).max() or 1.0
  values, left, right = scipy.linalg.eig(w / scale, left=True)
  i = np.argmax(np.abs(values))
  overlap = np.abs(np.vdot(left[:, i], right[:, i]))
  return np.abs(values[i]) * scale, max(1, 1 / max(overlap, 1e-300))


def by_mpmath(w):
  with mpmath.workdps(60):
    values, _ = mpmath.eig(mpmath.matrix(w.tolist()))
    return float(max(abs(v) for v in values))


def main(argv):
  del argv
  jax.config.update("jax_enable_x64", True)
  rng, radius = np.random.default_rng(0), jax.jit(spectral_radius)
  table = {name: {kind: [0, 0, 0, 0.0] for kind in LIMITS} for name in FAMILIES}
  for i in range(COUNT.value):
    name = list(FAMILIES)[i % len(FAMILIES)]
    size = SIZES[i // len(FAMILIES) % len(SIZES)]
    made = FAMILIES[name](rng, size)
    for kind, limit in LIMITS.items():
      w = made.astype(kind)
      exact, condition = eigenvalues(w.astype("f8"))
      known = known_radius(name, w.astype("f8"))
      if known is not None:
        exact, condition = known, 1
      elif kind == "float64" and size <= 16:
        exact = by_mpmath(w)
      got = float(radius(w))
      error = abs(got - exact) / exact if exact else abs(got)
      row = table[name][kind]
      row[0] += 1
      if np.isnan(got):
        row[1] += 1
      else:
        share = float(error / limit / condition)
        row[2] += int(not share <= 1)
        row[3] = max(row[3], share)
  total = {
    kind: {
      "matrices": sum(row[kind][0] for row in table.values()),
      "nan": sum(row[kind][1] for row in table.values()),
      "wrong": sum(row[kind][2] for row in table.values()),
      "largest_error_over_limit": max(row[kind][3] for row in table.values()),
    }
    for kind in LIMITS
  }
  for name, row in table.items():
    print(f"{name:26}", row)
  print(json.dumps(total | {"platform": jax.default_backend()}))
  sys.exit(any(kind["wrong"] for kind in total.values()))


if __name__ == "__main__":
  app.run(main)
