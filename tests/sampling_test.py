"""Sequences drawn from a model, against a plain loop, and mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import models
from steadygrad.cells import elman

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SYMBOLS, UNITS, STEPS = 5, 7, 12


def model_of(reads="every"):
  readout = models.linear_readout(UNITS, SYMBOLS, reads=reads)
  return models.recurrent(elman(SYMBOLS, UNITS, form="h"), readout)


def draw_notes(key, logits):
  return jax.random.bernoulli(key, jax.nn.sigmoid(logits))


def as_float(row):
  return row.astype(jnp.float32)


ONE_HOT = functools.partial(jax.nn.one_hot, num_classes=SYMBOLS)
# (dtype and shape of a row, encode, draw).
KINDS = {
  "symbols": (np.zeros([], np.uint8), ONE_HOT, jax.random.categorical),
  "notes": (np.zeros(SYMBOLS, np.int32), as_float, draw_notes),
}


@pytest.mark.parametrize("reads", ["last", "every"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_a_loop(kind, reads):
  """Which runs the model at each row on all before it, from the beginning."""
  first, encode, draw = KINDS[kind]
  model = model_of(reads)
  params = model.init(jax.random.key(0))
  params = jax.tree.map(lambda p: 4 * p + 0.1, params)  # Rows hang on rows.
  key = jax.random.key(1)
  compose = functools.partial(
    models.compose, model, num_steps=STEPS, encode=encode, draw=draw
  )
  got = jax.jit(compose)(params, key, first)
  assert got.shape == (STEPS, *first.shape) and got.dtype == first.dtype
  rows, apply = [first], jax.jit(model.apply)
  for own in jax.random.split(key, STEPS):
    us = np.zeros((STEPS, 1, SYMBOLS), np.float32)
    us[: len(rows), 0] = [encode(jnp.asarray(row)) for row in rows]
    outputs = apply(params, us, np.int32(len(rows)))
    outputs = outputs if reads == "last" else outputs[len(rows) - 1]
    rows.append(np.asarray(draw(own, outputs[0])).astype(first.dtype))
  np.testing.assert_array_equal(got, rows[1:])
  assert len(np.unique(got, axis=0)) > 1


@pytest.mark.parametrize(
  "arguments,said",
  [
    ({"model": elman(2, 3)}, "model must be a steadygrad Model, got"),
    ({"params": {"w": 1}}, r"params must be .* got \['w'\]"),
    ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
    ({"encode": 3}, "encode must be a function, got 3"),
    ({"draw": "likely"}, "draw must be a function, got 'likely'"),
    ({"draw": draw_notes}, r"draw must give .* first, \(\), got \(5,\)"),
  ],
)
def test_mistakes_are_named(arguments, said):
  model = model_of()
  given = {
    "model": model,
    "params": model.init(jax.random.key(0)),
    "key": jax.random.key(1),
    "first": jnp.uint8(0),
    "num_steps": STEPS,
    "encode": ONE_HOT,
    "draw": jax.random.categorical,
  }
  with pytest.raises(ValueError, match=said):
    models.compose(**given | arguments)
