"""What `analysis` refuses: the message names the argument and its value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import analysis
from tests.analysis_models import (
  batch_of,
  cell_of,
  model_of,
  params_of,
  squared_error,
)

F = np.float32
X = np.zeros(2, F)
STARTS = np.zeros((3, 2), F)
EYE = np.eye(2, dtype=F)
US = np.zeros((4, 1, 2), F)
POINT = {"w": np.zeros(2, F)}


def half(x):
  return x / 2


def family(x, b):
  return x / 2 + b


def loss(point):
  return jnp.sum(jnp.square(point["w"]))


def _points(starts=STARTS, f=half, **options):
  return analysis.fixed_points(f, starts, **options)


def _branch(x_0=X, b=0.0, f=family, **options):
  return analysis.follow_branch(f, x_0, b, **options)


def _fold(x_0=X, b=0.0, f=family, **options):
  return analysis.saddle_node(f, x_0, b, **options)


def _cycles(period, **options):
  return analysis.cycles(half, STARTS, period, **options)


def _diagram(parameters, starts=STARTS):
  return analysis.bifurcation_diagram(family, parameters, starts)


def _attractors(starts=STARTS, f=half, **options):
  return analysis.attractors(f, starts, **options)


def _labels(starts, **options):
  zeros = np.zeros(1, np.int32)
  ends = analysis.Attractors(STARTS[None], zeros, True, True, 1, 0)
  return analysis.basin_labels(half, ends, starts, **options)


def _exponents(x_0=X, f=half, **options):
  return analysis.lyapunov_exponents(f, x_0, **(dict(num_steps=4) | options))


def _sensitivity(x_0=X, b=0.0, f=family, **options):
  options = dict(num_steps=3) | options
  return analysis.orbit_sensitivity(f, x_0, b, **options)


def _surface(**changes):
  options = dict(
    center=POINT, directions=(POINT, POINT), offsets=(X, X)
  ) | changes  # fmt: skip
  return analysis.surface(loss, **options)


def _descend(start=POINT, **options):
  options = dict(learning_rate=0.1, num_steps=2) | options
  return analysis.descend(loss, start, **options)


def _jacobians(**changes):
  cell = cell_of("elman_x")
  xs = np.zeros((4, 1, 4), F)
  options = dict(xs=xs, us=US, x_0=xs[0]) | changes
  return analysis.step_jacobians(cell, params_of(cell), **options)


def _contributions(steps):
  model = model_of("elman_x")
  split = analysis.temporal_contributions(model, squared_error, steps=steps)
  return split(params_of(model), batch_of())


def _recorder(**options):
  return analysis.dynamics_recorder(
    model_of("elman_x"), squared_error, **options
  )


# What is called, and what its message must say besides being a ValueError.
REFUSED = {
  "no starts": (lambda: _points(None), "starts.*None"),
  "starts of words": (lambda: _points("here"), "starts.*'here'"),
  "empty starts": (lambda: _points(STARTS[:0]), r"starts.*\(0, 2\)"),
  "starts of no units": (lambda: _points(STARTS[:, :0]), r"starts.*\(3, 0\)"),
  "starts [N]": (lambda: _points(X), r"starts must be \[S, N\].*\(2,\)"),
  "integer starts": (lambda: _points(STARTS.astype(int)), "starts.*int"),
  "complex starts": (lambda: _points(STARTS + 0j), "starts.*complex"),
  "boolean starts": (lambda: _points(STARTS > 0), "starts.*bool"),
  "half starts": (lambda: _points(jnp.zeros((3, 2), "bfloat16")), "bfloat16"),
  "keys": (lambda: _points(jax.random.split(jax.random.key(0))), "starts"),
  "starts not finite": (lambda: _points(STARTS * np.nan), "starts.*finite"),
  "a map elsewhere": (lambda: _points(f=jnp.sum), r"itself, got float32 \(\)"),
  "a map to integers": (
    lambda: _points(f=lambda x: x.astype(int)), "itself, got int"),
  "a map to complex": (
    lambda: _points(f=lambda x: jax.lax.complex(x, x)), "got complex"),
  "a map to two": (lambda: _points(f=lambda x: (x, x)), "itself"),
  "no steps": (lambda: _points(max_steps=0), "max_steps.*0"),
  "half a step": (lambda: _points(max_steps=1.5), "max_steps.*1.5"),
  "steps in words": (lambda: _points(max_steps="9"), "max_steps.*'9'"),
  "steps None": (lambda: _points(max_steps=None), "max_steps.*None"),
  "steps True": (lambda: _points(max_steps=True), "max_steps.*True"),
  "tolerance below 0": (lambda: _points(tolerance=-1e-3), "tolerance.*-0.001"),
  "tolerance NaN": (lambda: _points(tolerance=np.nan), "tolerance.*nan"),
  "tolerance in words": (lambda: _points(tolerance="a"), "tolerance.*'a'"),
  "tolerance [2]": (lambda: _points(tolerance=X), "tolerance"),
  "merging below 0": (lambda: _points(merge_within=-1.0), "merge_within.*-1"),
  "merging at 0": (lambda: _points(merge_within=0), "merge_within.*above 0"),
  "merging complex": (lambda: _points(merge_within=1j), "merge_within.*1j"),
  "period 0": (lambda: _cycles(0), "period.*0"),
  "period 1.5": (lambda: _cycles(1.5), "period.*1.5"),
  "period None": (lambda: _cycles(None), "period.*None"),
  "cycles merging": (lambda: _cycles(2, merge_within=-1), "merge_within.*-1"),
  "no times": (lambda: analysis.iterate(half, 0), "times.*0"),
  "one parameter": (lambda: _diagram(0.0), "parameters must be"),
  "no parameters": (lambda: _diagram(X[:0]), r"parameters.*\(0,\)"),
  "integer parameters": (lambda: _diagram(np.arange(3)), "parameters.*int"),
  "diagram starts": (lambda: _diagram(X, X), "starts.*shape"),
  "branch of None": (lambda: _branch(None), "x_0"),
  "branch of integers": (lambda: _branch(np.zeros(2, int)), "x_0.*int"),
  "branch of no units": (lambda: _branch(X[:0]), "x_0.*shape"),
  "complex parameter": (lambda: _branch(b=1j), "parameter.*1j"),
  "parameter inf": (lambda: _branch(b=np.inf), "parameter.*finite"),
  "parameter in words": (lambda: _branch(b="b"), "parameter.*'b'"),
  "branch elsewhere": (lambda: _branch(f=lambda x, b: b), "family must map"),
  "no points": (lambda: _branch(num_points=0), "num_points.*0"),
  "points 2.5": (lambda: _branch(num_points=2.5), "num_points.*2.5"),
  "no arc": (lambda: _branch(arc_step=0), "arc_step.*0"),
  "arc inf": (lambda: _branch(arc_step=np.inf), "arc_step.*inf"),
  "arc None": (lambda: _branch(arc_step=None), "arc_step.*None"),
  "branch steps": (lambda: _branch(max_steps=0), "max_steps.*0"),
  "branch tolerance": (lambda: _branch(tolerance=-1), "tolerance.*-1"),
  "fold of a matrix": (lambda: _fold(STARTS), "shapes"),
  "fold of integers": (lambda: _fold(np.zeros(2, int)), "x_0.*int"),
  "fold elsewhere": (lambda: _fold(f=lambda x, b: x[:1]), "family must map"),
  "fold steps": (lambda: _fold(max_steps=1.5), "max_steps.*1.5"),
  "fold tolerance": (lambda: _fold(tolerance="a"), "tolerance.*'a'"),
  "no orbits": (lambda: _attractors(STARTS[:0]), "starts.*shape"),
  "no transient": (lambda: _attractors(num_steps=0), "num_steps.*0"),
  "no periods": (lambda: _attractors(max_period=0), "max_period.*0"),
  "settled below 0": (lambda: _attractors(tolerance=-1.0), "tolerance.*-1"),
  "attractors merging": (lambda: _attractors(merge_within=-1), "merge_within"),
  "orbits elsewhere": (lambda: _attractors(f=jnp.sum), "f must map"),
  "labels of another size": (lambda: _labels(np.zeros((4, 3), F)), "starts"),
  "labels of none": (lambda: _labels(STARTS[:0]), "starts.*shape"),
  "labels at once": (lambda: _labels(STARTS, num_steps=0), "num_steps.*0"),
  "labels within": (lambda: _labels(STARTS, within=-1), "within.*-1"),
  "grid in words": (lambda: analysis.start_grid("a", 1, 3), "lower.*'a'"),
  "grid to inf": (lambda: analysis.start_grid([0], [np.inf], 3), "upper"),
  "grid of 0": (lambda: analysis.start_grid([0], [1], 0), "resolution.*0"),
  "grid of 2.5": (lambda: analysis.start_grid([0], [1], 2.5), "resolution"),
  "exponents of None": (lambda: _exponents(None), "x_0.*None"),
  "exponents of integers": (lambda: _exponents(np.zeros(2, int)), "x_0.*int"),
  "exponents elsewhere": (lambda: _exponents(f=jnp.sum), "f must map"),
  "exponents of no steps": (lambda: _exponents(num_steps=None), "num_steps"),
  "exponents of 1.5": (lambda: _exponents(num_steps=1.5), "num_steps.*1.5"),
  "burn-in in words": (lambda: _exponents(burn_in="a"), "burn_in.*'a'"),
  "QR at 0": (lambda: _exponents(qr_every=0), "qr_every.*0"),
  "no exponents": (lambda: _exponents(num_exponents=0), "num_exponents.*0"),
  "exponents 1.5": (lambda: _exponents(num_exponents=1.5), "num_exponents"),
  "drift below 0": (lambda: _exponents(tolerance=-1.0), "tolerance.*-1"),
  "one input": (lambda: _exponents(num_steps=None, us=F(1)), "us.*shapes"),
  "inputs of two lengths": (
    lambda: _exponents(num_steps=None, us=(X, X[:1])), "us.*shapes"),
  "cells' inputs": (
    lambda: analysis.cell_lyapunov_exponents(cell_of("gru"), {}, X), "us"),
  "input of a cell": (
    lambda: analysis.autonomous(cell_of("gru"), {}, np.zeros(2, int)),
    "u must.*int"),
  "sensitive integers": (lambda: _sensitivity(np.zeros(2, int)), "x_0.*int"),
  "sensitive to 1j": (lambda: _sensitivity(b=1j), "parameter.*1j"),
  "sensitive for 0": (lambda: _sensitivity(num_steps=0), "num_steps.*0"),
  "sensitive elsewhere": (lambda: _sensitivity(f=lambda x, b: b), "family"),
  "sensitive to none": (
    lambda: _sensitivity(num_steps=None, us=US[:0]), "us has 0 steps"),
  "inputs [B, M]": (lambda: _jacobians(us=US[0]), "us.*shape"),
  "integer inputs": (lambda: _jacobians(us=US.astype(int)), "us.*int"),
  "other steps": (lambda: _jacobians(xs=np.zeros((3, 1, 4), F)), "xs"),
  "states of a batch": (lambda: _jacobians(x_0=np.zeros((2, 4), F)), "x_0"),
  "mask of a batch": (lambda: _jacobians(mask=np.ones((4, 2), bool)), "mask"),
  "closed form": (
    lambda: analysis.elman_jacobians(EYE, np.zeros(3, F), activation="tanh"),
    "x_tm1s.*3"),
  "products of integers": (
    lambda: analysis.jacobian_products(np.zeros((2, 1, 2, 2), int)), "int"),
  "words": (lambda: analysis.conditions("w", 1.0), "w_rec.*'w'"),
  "no matrix": (lambda: analysis.conditions(np.zeros((0, 0), F), 1.0), "w_rec"),
  "complex matrix": (lambda: analysis.conditions(EYE * 1j, 1.0), "complex"),
  "integer matrix": (
    lambda: analysis.conditions(np.eye(2, dtype=int), 1), "w_rec.*int"),
  "gamma 0": (lambda: analysis.conditions(EYE, 0), "gamma.*0"),
  "gamma None": (lambda: analysis.conditions(EYE, None), "gamma.*None"),
  "bound's gamma": (lambda: analysis.check_bound(None, EYE, "a"), "gamma.*a"),
  "values of a vector": (lambda: analysis.singular_values(X), "w.*shape"),
  "power of integers": (
    lambda: analysis.power_iteration(np.eye(2, dtype=int)), "w.*int"),
  "no power": (
    lambda: analysis.power_iteration(EYE, max_iterations=0), "max_iter.*0"),
  "power's tolerance": (
    lambda: analysis.power_iteration(EYE, tolerance=-1), "tolerance.*-1"),
  "no directions": (lambda: _surface(directions=(POINT,)), "directions.*two"),
  "other directions": (
    lambda: _surface(directions=({"w": EYE}, POINT)), "directions.*shaped"),
  "one offset": (lambda: _surface(offsets=X[:1]), "offsets.*two"),
  "no offsets": (lambda: _surface(offsets=(X, X[:0])), "offsets.*shape"),
  "integer center": (
    lambda: _surface(center={"w": np.zeros(2, int)}), "center.*int"),
  "integer descent": (lambda: _descend({"w": np.zeros(2, int)}), "start.*int"),
  "descent of -1": (lambda: _descend(num_steps=-1), "num_steps.*-1"),
  "rate in words": (lambda: _descend(learning_rate="a"), "learning_rate.*'a'"),
  "rate NaN": (lambda: _descend(learning_rate=np.nan), "learning_rate.*nan"),
  "power in words": (
    lambda: analysis.linear_sensitivities(1.0, 1.0, "2"), "t must.*'2'"),
  "unit's steps": (
    lambda: analysis.single_unit_loss(F(1), F(1), num_steps=1.5), "num_steps"),
  "curvature": (
    lambda: analysis.curvature_along_gradient(loss, {"w": np.zeros(2, int)}),
    "params.*int"),
  "Hessian": (
    lambda: analysis.hessian_vector_product(loss, POINT, {"w": EYE}), "v must"),
  "step 1.5": (lambda: _contributions((1.5,)), "steps.*1.5"),
  "step alone": (lambda: _contributions(1), "steps.*1"),
  "starts of a record": (lambda: _recorder(num_starts=0), "num_starts.*0"),
  "steps of a record": (lambda: _recorder(settle_steps=1.5), "settle_steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
  call, message = REFUSED[name]
  with pytest.raises(ValueError, match=message):
    call()


def test_numpy_arrays_of_any_width_are_taken():
  """As what JAX makes of them: float32, whose `merge_within` is .02."""
  crawl = lambda x: x * (1 - 1e-3) + 1e-3  # noqa: E731
  found = analysis.fixed_points(
    crawl, np.array([[3.0], [0.0]]), return_eigenvalues=False
  )
  assert found.points.dtype == jnp.float32 and found.converged.all()
  assert found.count == 1


def test_lists_are_taken():
  assert analysis.power_iteration([[0.5]]).modulus == 0.5
  assert analysis.start_grid(0, 1, 3).shape == (3, 1)


def test_counts_may_be_numpys_and_options_traced():
  found = analysis.attractors(half, STARTS, num_steps=np.int64(40))
  assert found.converged.all()
  run = jax.jit(
    lambda steps, tolerance: (
      analysis.fixed_points(
        half,
        STARTS + 1,
        max_steps=steps,
        tolerance=tolerance,
        merge_within=tolerance,
        return_eigenvalues=False,
      ).converged
    )
  )
  assert run(9, 1e-3).all()
