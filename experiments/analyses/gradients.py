"""Eqs. 3 to 5 on small networks, and Omega's two derivatives along a run."""

import jax
import jax.numpy as jnp
import numpy as np

from analyses import networks
from steadygrad import analysis, unroll
from steadygrad.numerics import joint_norm

GAINS = (0.7, 1.8)  # A recurrent matrix that vanishes and one that explodes.


def unrolled(kind):
  """Fig. 2 with numbers: the contributions to the error of the last of 5."""
  model, params, batch = networks.noise_model(kind, 1.0, steps=5)
  split = analysis.temporal_contributions(
    model, networks.squared_error, steps=(-1,)
  )
  _, found = jax.jit(split)(params, batch)
  total = jax.jit(lambda tree: joint_norm(tree))(found.totals)
  return dict(
    config=dict(cell=kind, steps=5, hidden=32, gain=1.0),
    results=dict(total_norm=total),
    curves=dict(norms=found.norms[0]),
  )


def contributions(kind):
  """The (t, k) map of |∂E_t/∂x_t ∂x_t/∂x_k ∂⁺x_k/∂θ| at two gains."""
  steps = 40
  maps, errors = [], []
  for gain in GAINS:
    model, params, batch = networks.noise_model(kind, gain, steps=steps)

    @jax.jit
    def both(params, model=model, batch=batch):
      loss = networks.squared_error
      split = analysis.temporal_contributions(model, loss)
      _, found = split(params, batch)
      grads = jax.grad(lambda p: loss(model.apply(p, batch.us), batch))(params)
      total = jax.tree.map(lambda x: jnp.sum(x, 0), found.totals)
      miss = jax.tree.map(jnp.subtract, total, grads["cell"])
      return found.norms, joint_norm(miss) / joint_norm(grads["cell"])

    norms, error = both(params)
    maps.append(norms)
    errors.append(error)
  maps = np.stack(maps)
  last = maps[:, -1]
  return dict(
    config=dict(cell=kind, steps=steps, hidden=32, gains=GAINS),
    results=dict(
      relative_error_of_the_sum=errors,
      longest_over_shortest=last[:, 0] / last[:, -1],
    ),
    curves=dict(norms=maps),
  )


def jacobians(kind):
  """|∂x_T/∂x_k| and all singular values by lag, at two gains."""
  # In float32 all but the largest would soon be rounding.
  with jax.enable_x64(True):
    return _jacobians(kind)


def _jacobians(kind):
  steps = 60
  norms, values, bounds, holds = [], [], [], []
  for gain in GAINS:
    model, params, batch = networks.noise_model(kind, gain, steps=steps)

    @jax.jit
    def profile(theta, cell=model.cell, us=batch.us):
      x_0 = cell.initial_state(theta, us.shape[1])
      xs = unroll(cell, theta, us, x_0=x_0)
      found = analysis.step_jacobians(cell, theta, xs, us, x_0=x_0)
      return analysis.lag_profile(found)

    found = profile(params["cell"])
    norms.append(found.log_norms / np.log(10))
    values.append(found.log_singular_values[:, 0, ::4] / np.log(10))
    if kind == "elman":
      check = analysis.check_bound(found, params["cell"]["w_rec"], 1.0)
      bounds.append(check.log_bounds / np.log(10))
      holds.append(check.holds.all())
  return dict(
    config=dict(cell=kind, steps=steps, hidden=32, gains=GAINS, sequences=8),
    results=dict(
      log10_norm_at_longest_lag=[np.mean(n[-1]) for n in norms],
      bound_holds=holds,
    ),
    curves=dict(
      log10_norms=np.stack(norms),
      log10_singular_values=np.stack(values),
      log10_bounds=np.stack(bounds) if bounds else None,
    ),
  )


def omega_angle(kind):
  """Cosine between Omega's immediate and total derivative along two runs."""
  length, every, points = 30, 40, 40 if kind == "elman" else 20
  task, model = networks.task_model(kind, length, 30)
  watch = analysis.omega_derivatives(model, task.loss)

  def keep(seen, losses):
    return seen.cosine, seen.norm_ratio, seen.omega, losses.mean()

  kept, settings = networks.while_training(
    task, model, watch, keep, points=points, every=every
  )
  columns = ("cosine", "ratio", "omega", "loss")
  curves = {k: dict(zip(columns, v, strict=True)) for k, v in kept.items()}
  return dict(
    config=dict(cell=kind, task="temporal_order", length=length, hidden=30)
    | settings,
    results={
      name: dict(
        mean_cosine=np.mean(run["cosine"]),
        least_cosine=np.min(run["cosine"]),
        mean_norm_ratio=np.mean(run["ratio"]),
      )
      for name, run in curves.items()
    },
    curves={"update": np.arange(points) * every} | curves,
  )
