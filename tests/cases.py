"""The cells under test, each as a `Cell` and as an oracle's step."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from steadygrad import adjoints
from steadygrad.cells import elman, linen
from steadygrad.models import linear_readout, recurrent
from steadygrad.types import Cell
from tests import oracles

INPUTS, UNITS, OUTPUTS, STEPS, BATCH = 3, 4, 2, 6, 3
LENGTHS = {
  "none": None,
  "scalar": 4,
  "scalar_zero": 0,
  "ragged": (6, 0, 3),
}


class Case(NamedTuple):
  """A cell twice.

  Attributes:
    cell: the library's.
    step: the oracle's, on flat states.
    output: flat states -> what the readout sees, the oracle's.
    initial: (params, batch) -> flat x_0, the oracle's.
  """

  cell: Cell
  step: Callable[..., Any]
  output: Callable[..., Any]
  initial: Callable[..., Any]


def own_cell() -> Cell:
  """A user's own step: two leaves of state, one with a learned start."""

  def init(key):
    keys = jax.random.split(key, 3)
    shapes = {"w": (UNITS, UNITS), "v": (INPUTS, UNITS), "fast_0": (UNITS,)}
    return {
      name: jax.random.normal(k, shape)
      for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }

  def initial_state(params, batch):
    fast = jnp.broadcast_to(jnp.sin(params["fast_0"]), (batch, UNITS))
    return {"fast": fast, "slow": jnp.zeros_like(fast)}

  def step(params, x_tm1, u_t):
    pre = x_tm1["fast"] @ params["w"] + u_t @ params["v"] + x_tm1["slow"]
    fast = jnp.tanh(pre)
    return {"fast": fast, "slow": 0.9 * x_tm1["slow"] + 0.1 * fast}

  return Cell(init, initial_state, step, lambda x: x["fast"])


def _own_step(p, x, u):
  fast, slow = np.split(x, 2, -1)
  fast = np.tanh(fast @ p["w"] + u @ p["v"] + slow)
  return np.concatenate([fast, 0.9 * slow + 0.1 * fast], -1)


def _own_initial(p, batch):
  fast = np.tile(np.sin(p["fast_0"]), (batch, 1))
  return np.concatenate([fast, 0 * fast], -1)


def _zeros(size):
  return lambda params, batch: np.zeros((batch, size))


def _elman_case(form, activation="tanh"):
  cell = elman(
    INPUTS, UNITS, form=form, activation=activation, dtype=jnp.float64
  )
  output = oracles.PHI[activation] if form == "x" else lambda x: x
  step = oracles.elman_step(form, activation)
  return Case(cell, step, output, _zeros(UNITS))


@functools.cache
def case(name: str) -> Case:
  """A case by name, for float64; "generic" drops the fused pair."""
  if name.endswith("_generic"):
    base = case(name.removesuffix("_generic"))
    return base._replace(cell=base.cell._replace(fused=None))
  if name == "gru":
    cell = nn.GRUCell(UNITS, param_dtype=jnp.float64)
    cell = linen(cell, INPUTS)
    return Case(cell, oracles.gru_step, lambda x: x, _zeros(UNITS))
  if name == "lstm":
    cell = linen(nn.LSTMCell(UNITS, param_dtype=jnp.float64), INPUTS)
    return Case(
      cell, oracles.lstm_step, lambda x: x[..., UNITS:], _zeros(2 * UNITS)
    )
  if name == "own":
    return Case(own_cell(), _own_step, lambda x: x[..., :UNITS], _own_initial)
  _, form, activation = name.split("_")
  return _elman_case(form, activation)


NAMES = (
  "elman_x_tanh",
  "elman_x_tanh_generic",
  "elman_h_tanh",
  "elman_h_tanh_generic",
  "gru",
  "lstm",
  "own",
)


@functools.cache
def model(name: str, reads: str):
  readout = linear_readout(UNITS, OUTPUTS, reads=reads, dtype=jnp.float64)
  return recurrent(case(name).cell, readout)


def squared_error(outputs, batch):
  """½ Σ weights |y − target|² / B, as `oracles.squared_error`."""
  targets, weights = batch.targets
  error = jnp.sum(jnp.square(outputs - targets), -1)
  return 0.5 * jnp.sum(weights * error) / batch.us.shape[1]


@functools.cache
def compiled_adjoints(name: str, reads: str):
  return jax.jit(adjoints(model(name, reads), squared_error))


def draw_params(name: str, reads: str = "last", seed: int = 0):
  """Parameters of a size at which four units neither explode nor vanish."""
  key = jax.random.key(seed)
  shapes = jax.eval_shape(model(name, reads).init, key)
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda p: jnp.asarray(0.6 * rng.normal(size=p.shape), p.dtype), shapes
  )
