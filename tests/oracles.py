"""NumPy float64 oracles, written apart from the library they check.

A cell is here a function `step(params, x_tm1, u_t) -> x_t` of flat states [*,
n] that also takes complex arrays: every Jacobian is a complex step, exact to
rounding, so that no formula is shared with the library. Sequences are gone
through one by one, each over its exact length and no further.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

# Derivatives by a complex step f(x + ih) / h have no cancellation, so that h
# may be as small as this, and the error of order h² is none.
COMPLEX_STEP = 1e-30
# Central differences: error about h² + 1e-16 / h, smallest near this.
DIFFERENCE_STEP = 1e-5

PHI = {
  "tanh": np.tanh,
  "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
  "relu": lambda x: x * (np.real(x) > 0),
  "linear": lambda x: x,
}


def elman_step(form, activation):
  phi = PHI[activation]

  def step(p, x, u):
    drive = u @ p["w_in"] + p["b"]
    if form == "x":
      return phi(x) @ p["w_rec"] + drive
    return phi(x @ p["w_rec"] + drive)

  return step


def _dense(p, x):
  return x @ p["kernel"] + p.get("bias", 0)


def gru_step(p, h, u):
  sigmoid = PHI["sigmoid"]
  r = sigmoid(_dense(p["ir"], u) + _dense(p["hr"], h))
  z = sigmoid(_dense(p["iz"], u) + _dense(p["hz"], h))
  n = np.tanh(_dense(p["in"], u) + r * _dense(p["hn"], h))
  return (1 - z) * n + z * h


def lstm_step(p, x, u):
  c, h = np.split(x, 2, -1)
  pre = {k: _dense(p["i" + k], u) + _dense(p["h" + k], h) for k in "ifgo"}
  i, f, o = (PHI["sigmoid"](pre[k]) for k in "ifo")
  c = f * c + i * np.tanh(pre["g"])
  return np.concatenate([c, o * np.tanh(c)], -1)


def flat(tree):
  """States of several leaves as one array [..., n], leaves in JAX's order."""
  return np.concatenate([np.asarray(x) for x in jax.tree.leaves(tree)], -1)


def to_numpy(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def perturbed(params, leaf, index, by):
  """`params` with one number of one leaf moved."""
  leaves, treedef = jax.tree.flatten(params)
  moved = leaves[leaf].astype(np.result_type(leaves[leaf], by))
  moved[index] += by
  return treedef.unflatten(leaves[:leaf] + [moved] + leaves[leaf + 1 :])


def each_number(params):
  for i, leaf in enumerate(jax.tree.leaves(params)):
    for index in np.ndindex(leaf.shape):
      yield i, index


def pulled_back(function, params, cotangent):
  """Gradient in params of cotangent · function(params), by complex steps."""
  grads = jax.tree.map(np.zeros_like, params)
  leaves = jax.tree.leaves(grads)
  for i, index in each_number(params):
    moved = function(perturbed(params, i, index, 1j * COMPLEX_STEP))
    leaves[i][index] = np.sum(cotangent * np.imag(moved)) / COMPLEX_STEP
  return grads


def jacobian(function, x):
  """J[i, j] = ∂function(x)[j] / ∂x[i]; `function` works on rows [*, n]."""
  rows = x + 1j * COMPLEX_STEP * np.eye(x.size)
  return np.imag(function(rows)) / COMPLEX_STEP


def forward(step, params, us, x_0, lengths):
  """xs [T, B, n], each sequence run over its own length and then held."""
  xs = np.zeros((len(us), *x_0.shape))
  for b, length in enumerate(lengths):
    x = x_0[b : b + 1]
    for t in range(len(us)):
      x = step(params, x, us[t, b : b + 1]) if t < length else x
      xs[t, b] = x[0]
  return xs


class Bptt(NamedTuple):
  grads: Any
  dx_0: np.ndarray
  dus: np.ndarray
  deltas: np.ndarray
  products: np.ndarray


def bptt(step, params, us, x_0, xs, dxs, lengths):
  """Back-propagation through time; what lies beyond a length is cut off."""
  deltas, products = np.zeros_like(xs), np.zeros_like(xs)
  dus, dx_0 = np.zeros_like(us), np.zeros_like(x_0)
  grads = jax.tree.map(np.zeros_like, params)
  for b, length in enumerate(lengths):
    # The last state is the one that is read at every later step.
    p = dxs[length:, b].sum(0)
    for t in reversed(range(length)):
      x, u = xs[t - 1, b] if t else x_0[b], us[t, b]
      delta = dxs[t, b] + p
      p = jacobian(lambda x, u=u: step(params, x, u), x) @ delta
      dus[t, b] = jacobian(lambda u, x=x: step(params, x, u), u) @ delta
      here = pulled_back(lambda q, x=x, u=u: step(q, x, u), params, delta)
      grads = jax.tree.map(np.add, grads, here)
      deltas[t, b], products[t, b] = delta, p
    dx_0[b] = p
  return Bptt(grads, dx_0, dus, deltas, products)


def squared_error(output, readout, xs, targets, weights):
  """½ Σ weights |y − target|² / B; (loss, readout gradients, dxs)."""
  batch = xs.shape[1]
  ys = output(xs)
  error = ys @ readout["w_out"] + readout["b_out"] - targets
  loss = 0.5 * np.sum(weights[..., None] * error**2) / batch
  d_out = weights[..., None] * error / batch
  grads = {
    "w_out": np.einsum("tbn,tbo->no", ys, d_out),
    "b_out": d_out.sum((0, 1)),
  }
  d_ys = d_out @ readout["w_out"].T
  dxs = np.zeros_like(xs)
  for t, b in np.ndindex(xs.shape[:2]):
    dxs[t, b] = jacobian(output, xs[t, b]) @ d_ys[t, b]
  return loss, grads, dxs


def products_of(step, params, x_tm1s, us, deltas):
  """products[t, b] = deltas[t, b] J_t for every pair on its own."""
  products = np.zeros_like(deltas)
  for t, b in np.ndindex(deltas.shape[:2]):
    f = lambda x, u=us[t, b]: step(params, x, u)  # noqa: E731
    products[t, b] = jacobian(f, x_tm1s[t, b]) @ deltas[t, b]
  return products


def omega(deltas, products, *, ratio, reduction, bound=1e-20, mask=None):
  """(Ω, share of pairs that count, ∂Ω/∂products), by its definition."""
  num_steps, batch = deltas.shape[:2]
  mask = np.ones((num_steps, batch), bool) if mask is None else mask
  total, count, slopes = 0.0, 0, np.zeros_like(products)
  for t, b in itertools.product(range(num_steps), range(batch)):
    d, p = deltas[t, b], products[t, b]
    if not mask[t, b] or d @ d < bound:
      continue
    count += 1
    q = (p @ p) / (d @ d)
    if ratio == "squared":
      total += (q - 1) ** 2
      slopes[t, b] = 4 * (q - 1) * p / (d @ d)
    else:
      r = math.sqrt(q)
      total += (r - 1) ** 2
      slopes[t, b] = 2 * (r - 1) * p / (r * (d @ d)) if r else 0
  by = max(count, 1) if reduction == "mean" else batch
  return total / by, count / mask.sum(), slopes / by


def immediate_omega_gradient(
  step, params, x_tm1s, us, deltas, *, of=None, **modes
):
  """∂Ω/∂params by central differences with x, u and δ frozen; any cell.

  `of` are the error signals whose norm is compared, where they are not those
  that are sent through the step.
  """
  of = deltas if of is None else of

  def value(params):
    products = products_of(step, params, x_tm1s, us, deltas)
    return omega(of, products, **modes)[0]

  grads = jax.tree.map(np.zeros_like, params)
  leaves = jax.tree.leaves(grads)
  for i, index in each_number(params):
    up = value(perturbed(params, i, index, DIFFERENCE_STEP))
    down = value(perturbed(params, i, index, -DIFFERENCE_STEP))
    leaves[i][index] = (up - down) / (2 * DIFFERENCE_STEP)
  return grads


def norm(leaves):
  """The joint norm; `math.hypot` scales, so that nothing overflows."""
  numbers = [np.asarray(x, np.float64).ravel() for x in leaves]
  return math.hypot(*np.concatenate(numbers)) if numbers else 0.0


def clip(leaves, max_norm):
  """Algorithm 1."""
  size = norm(leaves)
  if size <= max_norm:
    return list(leaves)
  return [np.asarray(x, np.float64) / size * max_norm for x in leaves]
