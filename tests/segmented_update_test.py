"""A whole update in segments of time, against the generic cell's in one.

At the sizes of other tests everything is one segment; here a segment is three
or four of eleven steps, and the last one overlaps with the one before.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, models, segments
from steadygrad.cells import elman
from steadygrad.transforms import add_omega_gradient
from steadygrad.types import Batch

# Sums in another order in float64; observed 3e-14.
ROUNDING = 1e-12
STEPS, BATCH, UNITS = 11, 3, 5
LENGTHS = {
  "none": None,
  "zero": 0,
  "part": 6,
  "all": STEPS,
  "ragged": (0, 5, STEPS),
}


def squared_error(outputs, batch):
  return jnp.mean((outputs - batch.targets) ** 2)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reads", ["last", "every"])
@pytest.mark.parametrize("form", ["x", "h"])
def test_equals_the_generic_cell(x64, monkeypatch, form, reads, lengths):
  rng = np.random.default_rng(0)
  cell = elman(2, UNITS, form=form, dtype=jnp.float64)
  readout = models.linear_readout(UNITS, 4, reads=reads, dtype=jnp.float64)
  params = models.recurrent(cell, readout).init(jax.random.key(0))
  params = jax.tree.map(lambda x: rng.normal(size=x.shape) / 2, params)
  shape = (BATCH, 4) if reads == "last" else (STEPS, BATCH, 4)
  length = LENGTHS[lengths]
  batch = Batch(
    rng.normal(size=(STEPS, BATCH, 2)),
    rng.normal(size=shape),
    length if length is None else jnp.asarray(length, jnp.int32),
  )

  def update(cell_of_model, merged):
    model = models.recurrent(cell_of_model, readout)
    tx = add_omega_gradient(cell, 1.5, merged=merged)

    def run(params, batch):
      loss, grads, trajectory = adjoints(model, squared_error)(params, batch)
      updates, state = tx.update(
        grads, tx.init(params), params, trajectory=trajectory
      )
      back = trajectory.deltas, trajectory.products
      return loss, updates, state.omega, back, None if merged else grads

    return jax.jit(run)(params, batch)

  expected = update(cell._replace(fused=None), merged=False)
  monkeypatch.setattr(segments, "NUMBERS", 4 * BATCH * UNITS)
  monkeypatch.setattr(segments, "ROWS", 1)
  for merged in (False, True):
    got = update(cell, merged)
    chex.assert_trees_all_close(
      got[:4], expected[:4], rtol=ROUNDING, atol=ROUNDING
    )
    if not merged:
      chex.assert_trees_all_close(
        got[4], expected[4], rtol=ROUNDING, atol=ROUNDING
      )
