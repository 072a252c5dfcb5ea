"""Ω of cells whose states hold what no later step reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, analysis, cells, models, transforms
from steadygrad.types import Batch

T, B, M, N = 7, 3, 2, 4

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def problem(cell, reads):
  model = models.recurrent(cell, models.linear_readout(N, 2, reads=reads))
  params = model.init(jax.random.key(0))
  shape = (B, 2) if reads == "last" else (T, B, 2)
  keys = jax.random.split(jax.random.key(1))
  us = jax.random.normal(keys[0], (T, B, M))
  return model, params, Batch(us, jax.random.normal(keys[1], shape))


def squared_error(outputs, batch):
  return jnp.mean(jnp.square(outputs - batch.targets))


def by_hand(params, seen):
  """Ω of eq. 10 for p_t = δ_t conj(λ), of "re" and "im" alone."""
  radius = np.exp(-np.exp(np.asarray(params["cell"]["nu"], np.float64)))
  size = np.square(np.asarray(seen.deltas["re"], np.float64))
  size = size + np.square(np.asarray(seen.deltas["im"], np.float64))
  below, above = size.sum(-1), (radius**2 * size).sum(-1)
  counts = below >= 1e-20
  return np.square(above[counts] / below[counts] - 1).sum() / counts.sum()


@pytest.mark.parametrize("reads", ["last", "every"])
def test_omega_of_a_linear_recurrence_is_that_of_its_eigenvalues(reads):
  cell = cells.lru(M, N)
  model, params, batch = problem(cell, reads)
  _, grads, seen = adjoints(model, squared_error)(params, batch)
  tx = transforms.add_omega_gradient(cell, weight=1.0)
  updates, state = tx.update(grads, tx.init(params), params, trajectory=seen)
  assert float(state.omega) == pytest.approx(by_hand(params, seen), rel=1e-5)
  added = jax.tree.map(jnp.subtract, updates, grads)["cell"]

  def change(by):
    moved = jax.tree.map(lambda p: p, params)
    moved["cell"] = params["cell"] | {"nu": params["cell"]["nu"] + by}
    return by_hand(moved, seen)

  for i in range(N):
    step = np.zeros(N)
    step[i] = 1e-4
    slope = (change(step) - change(-step)) / 2e-4
    assert float(added["nu"][i]) == pytest.approx(slope, rel=1e-2, abs=1e-6)
  for name in added.keys() - {"nu", "theta"}:
    assert not np.any(added[name]), name
  # Turning changes no norm.
  assert np.abs(added["theta"]).max() < 1e-3 * np.abs(added["nu"]).max()


def test_what_is_only_shown_would_change_it():
  cell = cells.lru(M, N)
  model, params, batch = problem(cell, "every")
  _, _, seen = adjoints(model, squared_error)(params, batch)
  whole = transforms.omega_terms(seen).omega
  assert abs(float(whole) - by_hand(params, seen)) > 0.05


def test_layers_and_directions_say_what_feeds_back():
  lru, elman = cells.lru(M, N), cells.elman(N, N)
  assert cells.stack([elman, elman]).feeds_back is None
  assert cells.stack([lru, elman]).feeds_back == (lru.feeds_back, True)
  readout = models.linear_readout(2 * N, 2)
  both = models.bidirectional(lru, cells.elman(M, N), readout).cell
  assert both.feeds_back == {"forward": lru.feeds_back, "backward": True}


def test_omega_is_that_of_the_analysis():
  model, params, batch = problem(cells.mingru(M, N), "every")
  found = analysis.omega_derivatives(model, squared_error)(params, batch)
  _, _, seen = adjoints(model, squared_error)(params, batch)
  tx = transforms.add_omega_gradient(model.cell, weight=1.0)
  state = tx.update(
    jax.tree.map(jnp.zeros_like, params), tx.init(params), trajectory=seen
  )[1]
  assert float(found.omega) == pytest.approx(float(state.omega), rel=1e-4)
