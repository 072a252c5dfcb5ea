"""Spectra, bounds, and Lyapunov spectra of maps and cells."""

import jax
import jax.numpy as jnp
import numpy as np

from analyses import networks
from steadygrad import analysis, unroll


def spectrum(_):
  """Eigenvalues of one recurrent matrix, and what its norms let through."""
  hidden, steps, gain = 50, 60, 1.3
  cell = networks.cell_of("elman", 3, hidden, gain)
  params = jax.jit(cell.init)(jax.random.key(2))
  w = params["w_rec"]
  quiet = jnp.zeros((steps, 1, 3))
  loud = jax.random.normal(jax.random.key(3), (steps, 1, 3))

  @jax.jit
  def norms(us, scale):
    x_0 = jax.random.normal(jax.random.key(4), (1, hidden)) * scale
    xs = unroll(cell, params, us, x_0=x_0)
    found = analysis.step_jacobians(cell, params, xs, us, x_0=x_0)
    return analysis.check_bound(analysis.lag_profile(found), w, 1.0)

  linear = norms(quiet, 0.0)  # At x = 0 the network is its own linearisation.
  driven = norms(loud, 1.0)
  power = jax.jit(analysis.power_iteration)(w)
  stands = jax.jit(lambda w: analysis.conditions(w, 1.0))(w)
  eigenvalues = np.linalg.eigvals(np.asarray(w, np.float64))
  dominant = complex(power.eigenvalue)
  return dict(
    config=dict(hidden=hidden, steps=steps, gain=gain, activation="tanh"),
    results=stands._asdict()
    | dict(
      power_iteration=[dominant.real, dominant.imag],
      power_iteration_converged=power.converged,
      power_iteration_steps=power.iterations,
      eigvals_radius=np.abs(eigenvalues).max(),
      bound_holds=linear.holds.all() & driven.holds.all(),
    ),
    curves=dict(
      real=eigenvalues.real,
      imaginary=eigenvalues.imag,
      log10_linear=linear.log_norms[:, 0] / np.log(10),
      log10_driven=driven.log_norms[:, 0] / np.log(10),
      log10_bound=driven.log_bounds / np.log(10),
    ),
  )


def _known_maps():
  """Exponents of maps whose exponents are known, in float64."""
  cat = jnp.array([[2.0, 1.0], [1.0, 1.0]])
  rotation = jnp.array([[0.6, 0.8], [-0.8, 0.6]])
  maps = {
    "logistic r = 4": (lambda x: 4 * x * (1 - x), 1, [np.log(2)]),
    "cat": (lambda x: jnp.mod(x @ cat, 1), 2, [0.962424, -0.962424]),
    "Henon": (
      lambda x: jnp.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]),
      2,
      [0.4192, -1.6232],
    ),
    "orthogonal": (lambda x: x @ rotation, 2, [0.0, 0.0]),
  }
  table = {}
  for name, (f, size, known) in maps.items():
    starts = jnp.linspace(0.011, 0.19, 64)[:, None] * jnp.ones(size)

    @jax.jit
    def run(starts, f=f):
      one = lambda x: analysis.lyapunov_exponents(  # noqa: E731
        f, x, num_steps=20000, burn_in=200, qr_every=5
      )
      return jax.vmap(one)(starts)

    found = run(starts)
    table[name] = dict(found=found.exponents.mean(0), known=known)
  return table


def lyapunov(_):
  """Spectra of three cells driven by noise, at several gains."""
  with jax.enable_x64(True):
    table = _known_maps()
  gains, hidden, steps = (0.5, 1.0, 2.0), 20, 1000
  us = 0.3 * jax.random.normal(jax.random.key(5), (steps, 2, 3))
  spectra, converged, drifts = {}, {}, {}
  for kind in networks.CELLS:
    spectra[kind], converged[kind], drifts[kind] = [], [], []
    for gain in gains:
      cell = networks.cell_of(kind, 3, hidden, gain)

      @jax.jit
      def run(key, cell=cell):
        return analysis.cell_lyapunov_exponents(
          cell, cell.init(key), us, burn_in=100, tolerance=0.15
        )

      found = run(jax.random.key(6))
      spectra[kind].append(found.exponents.mean(0))
      converged[kind].append(found.converged.all())
      drifts[kind].append(found.drift[:, 0].max())
  return dict(
    config=dict(
      hidden=hidden, steps=steps, burn_in=100, gains=gains, tolerance=0.15
    ),
    results=dict(
      known_maps=table,
      largest={k: [v[0] for v in rows] for k, rows in spectra.items()},
      drift_of_the_largest=drifts,
      converged=converged,
    ),
    curves=spectra,
  )
