"""Shapes that do not fit: the message names the argument and its axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import _validate, numerics
from steadygrad.kernels import elman_scan
from steadygrad.training import evaluation
from steadygrad.transforms.omega import omega_gradient, omega_terms
from steadygrad.types import Trajectory
from tests import cases

SQUARE = np.zeros((3, 3), np.float32)
SEQUENCE = np.zeros((5, 2, 3), np.float32)
STATE = SEQUENCE[0]
SCAN = elman_scan("x", "tanh")


def _forward(w_rec=SQUARE, drives=SEQUENCE, x_0=STATE, lengths=None):
  return SCAN.forward(w_rec, drives, x_0, lengths)


def _backward(dhs=SEQUENCE, hs=SEQUENCE, lengths=None):
  return SCAN.backward(SQUARE, STATE, SEQUENCE, hs, dhs, lengths)


def _trajectory(**changes):
  trajectory = Trajectory({}, STATE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE)
  return trajectory._replace(**changes)


def _omega_gradient(cotangents):
  cell = cases.case("elman_x_tanh").cell
  return omega_gradient(cell, _trajectory(), cotangents)


REFUSED = {
  "a matrix not square": (
    lambda: _forward(SQUARE[:2]),
    r"w_rec must be \[N, N\] with N = 2, got shape \(2, 3\)"),
  "a matrix of lists": (
    lambda: _forward([[0.0]]), r"w_rec must be an array \[N, N\]"),
  "drives of one sequence": (
    lambda: _forward(drives=STATE),
    r"drives must be \[T, B, N\] with N = 3, got shape \(2, 3\)"),
  "drives of other units": (
    lambda: _forward(drives=SEQUENCE[..., :2]), r"drives .* N = 3, .*5, 2, 2"),
  "a state of one sequence": (
    lambda: _forward(x_0=STATE[0]), r"x_0 must be \[B, N\] with B = 2, N = 3"),
  "a state to be broadcast": (
    lambda: _forward(x_0=STATE[:1]), r"x_0 .* B = 2, .*\(1, 3\)"),
  "lengths of others": (
    lambda: _forward(lengths=np.arange(3)), r"lengths .*\(2,\), got \(3,\)"),
  "lengths beyond": (lambda: _forward(lengths=6), r"lengths .*0\.\.5, got 6"),
  "states of other steps": (lambda: _backward(hs=SEQUENCE[1:]), "hs .* T = 5"),
  "gradients of two steps": (
    lambda: _backward(SEQUENCE[:2]), r"dhs .* T = 5, or \[1, B, N\].*\(2, 2,"),
  "a radius of a vector": (
    lambda: numerics.spectral_radius(SQUARE[0]), r"w must be \[N, N\]"),
  "a radius of integers": (
    lambda: numerics.spectral_radius(jnp.eye(2, dtype=int)),
    "w must be floating-point, got dtype.'int32"),
  "products of other steps": (
    lambda: omega_terms(_trajectory(products=SEQUENCE[1:])),
    r"trajectory.products must be shaped \(5, 2, 3\), got \(4, 2, 3\)"),
  "a mask of sequences": (
    lambda: omega_terms(_trajectory(mask=np.ones(2, bool))),
    r"trajectory.mask must be \[T, B\], here \(5, 2\), got shape \(2,\)"),
  "cotangents of one step": (
    lambda: _omega_gradient(STATE), r"cotangents must be shaped \(5, 2, 3\)"),
  "half a batch": (
    lambda: evaluation.count_wrong(None, None, {}, None, 0.5, 1),
    "batch_size must be an integer of at least 1, got 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
  call, message = REFUSED[name]
  with pytest.raises(ValueError, match=message):
    call()


def test_traced_shapes_are_refused_too():
  with pytest.raises(ValueError, match=r"x must be \[N, N\]"):
    jax.eval_shape(lambda x: _validate.check_shapes(x=(x, "N N")), SQUARE[:2])


def test_traced_counts_pass_only_where_they_may():
  def check(value, traced):
    _validate.check_integer("count", value, traced=traced)
    return value

  assert jax.jit(check, static_argnums=1)(3, True) == 3
  with pytest.raises(ValueError, match="count must be an integer"):
    jax.jit(check, static_argnums=1)(3, False)


def test_an_empty_sequence_and_one_step_pass():
  assert _forward(drives=SEQUENCE[:0])[0].shape == (0, 2, 3)
  assert _backward(SEQUENCE[:1])[0].shape == SEQUENCE.shape
