"""One training step as the paper's authors' released code makes it.

The rule is written down here once more, in NumPy: h-form, row vectors, zero
initial state, δ_t = dE/dh_t,

  q_t = |(δ_t ∘ σ′(h_t)) W_hhᵀ|² / |δ_t|² where |δ_t|² ≥ 1e-20, else 1
  Ω = Σ_t mean_b (q_t − 1)² / Σ_t mean_b [|δ_t|² ≥ 1e-20]

with δ_t and h_t held fixed, added to the gradient of W_hh before one joint
clip. The library is compared with it on drawn numbers; it and the library are
compared with the authors' own numbers where their file is at hand.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from steadygrad import adjoints
from steadygrad.cells import elman
from steadygrad.models import linear_readout, recurrent
from steadygrad.transforms import (
  add_omega_gradient,
  clip_by_global_norm,
  telemetry,
)
from steadygrad.types import Batch
from tests import oracles

# The authors' numbers were computed by another compiler over 20 steps in
# float64; the issue asks for this, 1e-14 is what comes out.
GOLDEN = 1e-9
# The same arithmetic in another order.
ROUNDING = 1e-12

WEIGHTS = {"W_hh": "w_rec", "W_uh": "w_in", "b_hh": "b"}
READOUT = {"W_hy": "w_out", "b_hy": "b_out"}
ACTIVATIONS = {"basic_tanh": "tanh", "sigmoid": "sigmoid"}
PRIMES = {"tanh": lambda h: 1 - h**2, "sigmoid": lambda h: h * (1 - h)}
THRESHOLDS = {"nothing": np.inf, "rescale": 0.05}

RULES = [
  f"{init}.{rule}"
  for init in ACTIVATIONS
  for rule in ("nothing.0", "nothing.2", "rescale.2")
]
DRAWN = [f"{task}.{rule}" for task in ("torder", "mem") for rule in RULES]
# The authors' file has the memorisation task with tanh alone.
FILED = [name for name in DRAWN if not name.startswith("mem.sigmoid")]


def authors_forward(w, u, phi):
  """(h_tm1s, hs), [T, B, H]."""
  hs = [np.zeros((u.shape[1], len(w["W_hh"])))]
  for u_t in u:
    hs.append(phi(hs[-1] @ w["W_hh"] + u_t @ w["W_uh"] + w["b_hh"]))
  hs = np.stack(hs)
  return hs[:-1], hs[1:]


def authors_omega(deltas, rights, w_hh):
  """(Ω, its gradient in W_hh, valid fraction); rights = δ_t ∘ σ′(h_t)."""
  d_sq = np.sum(deltas**2, -1)
  valid = d_sq >= 1e-20
  products = rights @ w_hh.T
  q = np.where(valid, np.sum(products**2, -1) / d_sq, 1)
  count = valid.mean(1).sum()
  omega = ((q - 1) ** 2).mean(1).sum() / count
  slope = np.where(valid, 4 * (q - 1) / d_sq, 0) / deltas.shape[1] / count
  gradient = np.einsum("tb,tbi,tbj->ij", slope, products, rights)
  return omega, gradient, valid.mean()


def authors_step(w, u, t, *, activation, reads, alpha, max_norm):
  """Every field of the authors' file for one step."""
  prime = PRIMES[activation]
  h_tm1s, hs = authors_forward(w, u, oracles.PHI[activation])
  ys = hs[-1] if reads == "last" else hs.reshape(-1, hs.shape[-1])
  logits = ys @ w["W_hy"] + w["b_hy"]
  logits -= logits.max(-1, keepdims=True)
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  d_logits = (p - t) / len(t)
  d_ys = d_logits @ w["W_hy"].T
  # A last-step loss is read at h_T alone, [1, B, H] at the end.
  dhs = d_ys.reshape(-1, *hs.shape[1:])
  dhs = np.concatenate([np.zeros((len(hs) - len(dhs), *hs.shape[1:])), dhs])
  deltas, rights, carry = np.zeros_like(hs), np.zeros_like(hs), 0
  for k in reversed(range(len(hs))):
    deltas[k] = dhs[k] + carry
    rights[k] = deltas[k] * prime(hs[k])
    carry = rights[k] @ w["W_hh"].T
  omega, d_omega, valid = authors_omega(deltas, rights, w["W_hh"])
  grads = {
    "W_hh": np.einsum("tbi,tbj->ij", h_tm1s, rights) + alpha * d_omega,
    "W_uh": np.einsum("tbi,tbj->ij", u, rights),
    "b_hh": rights.sum((0, 1)),
    "W_hy": ys.T @ d_logits,
    "b_hy": d_logits.sum(0),
  }
  clipped = oracles.clip(grads.values(), max_norm)
  fields = {"g_" + k: g for k, g in zip(grads, clipped, strict=True)}
  cost = -np.mean(np.sum(t * np.log(p), -1))
  norm = oracles.norm(grads.values())
  return fields | {"cost": cost, "norm": norm, "omega": omega, "valid": valid}


def settings(name):
  """What a case's name says: task.init.clip.alpha."""
  task, init, clip, alpha = name.split(".")
  return {
    "activation": ACTIVATIONS[init],
    "reads": "last" if task == "torder" else "every",
    "alpha": float(alpha),
    "max_norm": THRESHOLDS[clip],
  }


@functools.cache
def compiled_step(hidden, outputs, activation, reads, merged):
  """(w, u, t, alpha, max_norm) -> (cost, updates, telemetry), library."""

  @jax.jit
  def step(w, u, t, alpha, max_norm):
    cell = elman(
      u.shape[-1], hidden, form="h", activation=activation, dtype=jnp.float64
    )
    readout = linear_readout(hidden, outputs, reads=reads, dtype=jnp.float64)

    def loss_fn(logits, batch):
      logits = logits.reshape(-1, outputs)
      return optax.softmax_cross_entropy(logits, batch.targets).mean()

    tx = optax.chain(
      add_omega_gradient(cell, alpha, merged=merged),
      clip_by_global_norm(max_norm),
    )
    params = {
      "cell": {ours: w[k] for k, ours in WEIGHTS.items()},
      "readout": {ours: w[k] for k, ours in READOUT.items()},
    }
    run = adjoints(recurrent(cell, readout), loss_fn)
    cost, grads, trajectory = run(params, Batch(u, t))
    state = tx.init(params)
    updates, state = tx.update(grads, state, params, trajectory=trajectory)
    return cost, updates, telemetry(state)

  return step


def library_step(w, u, t, *, activation, reads, alpha, max_norm, merged):
  """The same fields, by the library."""
  step = compiled_step(*w["W_hy"].shape, activation, reads, merged)
  w = {k: w[k] for k in (*WEIGHTS, *READOUT)}
  cost, updates, numbers = step(w, u, t, alpha, max_norm)
  fields = {"g_" + k: updates["cell"][ours] for k, ours in WEIGHTS.items()}
  fields |= {"g_" + k: updates["readout"][v] for k, v in READOUT.items()}
  return fields | {
    "cost": cost,
    "norm": numbers["gradient_norm"],
    "omega": numbers["omega"],
    "valid": numbers["omega_valid_fraction"],
  }


def assert_fields_close(got, expected, tolerance):
  """Relative to the largest number of each field."""
  for field, wanted in expected.items():
    atol = tolerance * np.max(np.abs(wanted))
    np.testing.assert_allclose(
      got[field], wanted, rtol=0, atol=atol, err_msg=field
    )


def draw(name, rng):
  """Weights and one-hot data of the shapes of the authors' tasks, smaller."""
  steps, batch, inputs, hidden, outputs = 7, 3, 4, 5, 3
  shapes = {
    "W_uh": (inputs, hidden),
    "W_hh": (hidden, hidden),
    "W_hy": (hidden, outputs),
    "b_hh": (hidden,),
    "b_hy": (outputs,),
  }
  w = {k: rng.normal(size=s) for k, s in shapes.items()}
  u = np.eye(inputs)[rng.integers(inputs, size=(steps, batch))]
  rows = batch if name.startswith("torder") else steps * batch
  return w, u, np.eye(outputs)[rng.integers(outputs, size=rows)]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_the_library_follows_the_authors_rule(x64, rng, name, merged):
  data = draw(name, rng)
  expected = authors_step(*data, **settings(name))
  got = library_step(*data, **settings(name), merged=merged)
  assert_fields_close(got, expected, ROUNDING)


def test_the_file_holds_the_cases_listed_here(golden):
  assert sorted(golden) == sorted(FILED)


@pytest.mark.parametrize("name", FILED)
def test_the_oracle_gives_the_authors_numbers(golden, name):
  case = golden[name]
  got = authors_step(case, case["u"], case["t"], **settings(name))
  expected = {k: case[k] for k in got}
  assert_fields_close(got, expected, GOLDEN)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", FILED)
def test_the_library_gives_the_authors_numbers(x64, golden, name, merged):
  case = golden[name]
  got = library_step(
    case, case["u"], case["t"], **settings(name), merged=merged
  )
  assert_fields_close(got, {k: case[k] for k in got}, GOLDEN)


def test_the_clip_of_the_cases_binds(golden):
  """Otherwise the clipped gradients would show nothing."""
  for name in FILED:
    if "rescale" in name:
      assert golden[name]["norm"] > THRESHOLDS["rescale"]
