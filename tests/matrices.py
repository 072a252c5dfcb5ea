"""Families of square matrices, near to normal and far from it."""

import numpy as np


def _orthogonal(rng, size):
  q, r = np.linalg.qr(rng.normal(size=(size, size)))
  return q * np.sign(np.diag(r))


def _dense(rng, size):
  return rng.normal(size=(size, size)) / np.sqrt(size)


def _upper(rng, size):
  return np.triu(rng.normal(size=(size, size)), 1)


def _renumbered(rng, w):
  order = rng.permutation(len(w))
  return w[order][:, order]


def _block_triangular(rng, size):
  w, half = _dense(rng, size), max(1, size // 2)
  w[half:, :half] = 0
  w[:half, half:] *= 10
  return w


def _companion(rng, size):
  w = np.eye(size, k=1)
  w[-1] = rng.normal(size=size) / np.sqrt(size)
  return w


def _near_singular(rng, size):
  left, right = _orthogonal(rng, size), _orthogonal(rng, size)
  return left * np.logspace(0, -12, size) @ right


def _stacked(rng, size):
  """Layers of three; each feeds the next one strongly."""
  w = np.zeros((size, size))
  width = -(-size // 3)
  for i in range(0, size, width):
    own = slice(i, min(i + width, size))
    w[own, own] = _dense(rng, own.stop - i)
    after = slice(own.stop, min(own.stop + width, size))
    w[own, after] = 3 * rng.normal(size=w[own, after].shape)
  return w


def _weak_feedback(rng, size):
  """A delay line of leaky units that is closed by one weak weight."""
  w = 0.9 * np.eye(size) + np.eye(size, k=1)
  w[-1, 0] = 10.0 ** rng.uniform(-12, -1)
  return w


def _ring(rng, size):
  w = np.eye(size, k=1) * rng.uniform(0.5, 2, (size, 1))
  w[-1, 0] = rng.uniform(0.5, 2)
  return w


def _rescaled(rng, size):
  units = 10.0 ** rng.uniform(-6, 6, size)
  return _dense(rng, size) * units / units[:, None]


def _sparse(rng, size):
  """15 incoming weights a unit, as smart_tanh has."""
  kept = np.argsort(rng.random((size, size)), 0) < 15
  return rng.normal(size=(size, size)) * kept


# name: (rng, N) -> [N, N]
FAMILIES = {
  "dense": _dense,
  "orthogonal": lambda rng, n: _orthogonal(rng, n) * rng.uniform(0.3, 2),
  "permutation": lambda rng, n: np.eye(n)[rng.permutation(n)],
  "shift plus diagonal": lambda rng, n: (
    rng.uniform(0.1, 2) * np.eye(n) + rng.uniform(0.1, 2) * np.eye(n, k=1)
  ),
  "triangular, distinct": lambda rng, n: (
    _upper(rng, n) + np.diag(rng.permutation(np.linspace(0.5, 1.5, n)))
  ),
  "triangular, equal": lambda rng, n: _upper(rng, n) + 0.9 * np.eye(n),
  "triangular, renumbered": lambda rng, n: _renumbered(
    rng, _upper(rng, n) + np.diag(rng.uniform(0.1, 0.95, n))
  ),
  "block triangular": _block_triangular,
  "nilpotent plus identity": lambda rng, n: np.eye(n) + 1e-4 * _upper(rng, n),
  "nilpotent": lambda rng, n: _renumbered(rng, _upper(rng, n)),
  "companion": _companion,
  "near singular": _near_singular,
  "times 1e-30": lambda rng, n: 1e-30 * _dense(rng, n),
  "times 1e30": lambda rng, n: 1e30 * _dense(rng, n),
  "stacked layers": _stacked,
  "weak feedback": _weak_feedback,
  "ring": _ring,
  "rescaled units": _rescaled,
  "sparse": _sparse,
  "one rank": lambda rng, n: np.outer(rng.normal(size=n), rng.normal(size=n)),
  "symmetric": lambda rng, n: _dense(rng, n) + _dense(rng, n).T,
  "antisymmetric": lambda rng, n: (
    np.triu(m := _dense(rng, n), 1) - np.triu(m, 1).T
  ),
}


def known_radius(name, w):
  """The spectral radius in closed form; None where there is none."""
  if "triangular," in name or name.startswith(("nilpotent", "shift")):
    return np.abs(np.diag(w)).max()
  if name == "permutation":
    return 1.0
  if name == "ring":
    line = np.append(np.diag(w, 1), w[-1, 0])
    return np.exp(np.log(line).mean()) if len(w) > 1 else w[0, 0]
  if name == "one rank":
    return np.abs(np.trace(w))
  return None
