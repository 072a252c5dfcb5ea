"""Fixed points and basins; Figs. 3, 4 and 5, and the numbers behind them."""

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import analysis

W = 5.0  # Recurrent weight of the unit of Figs. 3 to 5.
STEPS = 50


def unit(x, b):
  """x' = 5 σ(x) + b."""
  return W * jax.nn.sigmoid(x) + b


def _rolled(n):
  """x' = tanh(x w) with w[i] = -roll(linspace(-1, 1, n), -i)."""
  w = _matrix(n)
  return lambda x: jnp.tanh(x @ w)


def fixed_points(_):
  """All fixed points for n = 2, 3, 4, and the basins for n = 2."""
  with jax.enable_x64(True):
    counts, found = {}, {}
    for n in (2, 3, 4):
      starts = np.random.default_rng(0).uniform(-1.5, 1.5, (150, n))
      run = jax.jit(analysis.fixed_points, static_argnums=0)
      found[n] = run(_rolled(n), jnp.asarray(starts))
      counts[n] = dict(
        fixed_points=found[n].count,
        stable=jnp.sum(found[n].stable & found[n].distinct),
        failed_starts=found[n].num_failed,
      )
    # A bias makes the two basins unequal, so that the picture shows it.
    bias = jnp.array([0.25, 0.1])
    f = lambda x: jnp.tanh(x @ (2 * _matrix(2)) + bias)  # noqa: E731

    @jax.jit
    def plane():
      starts = jnp.asarray(np.random.default_rng(1).uniform(-2, 2, (60, 2)))
      grid = analysis.start_grid([-2, -2], [2, 2], 100)
      ends = analysis.attractors(f, starts)
      points = analysis.fixed_points(f, starts)
      return points, ends, analysis.basin_labels(f, ends, grid)

    points, ends, labels = plane()
  keep = np.asarray(points.distinct)
  return dict(
    config=dict(map="tanh(x w)", bias=bias, extent=[-2, 2], gain=2.0),
    results=dict(counts=counts, attractors=ends.count),
    curves=dict(
      labels=labels,
      points=points.points[keep],
      stable=points.stable[keep],
      eigenvalue_moduli=np.abs(points.eigenvalues[keep]),
    ),
  )


def _matrix(n):
  return np.stack([-np.roll(np.linspace(-1, 1, n), -i) for i in range(n)])


def bifurcation(_):
  """Fig. 3: the branch of fixed points over b, its folds, its basins."""
  with jax.enable_x64(True):

    @jax.jit
    def follow():
      branch = analysis.follow_branch(
        unit, jnp.array([-3.9]), jnp.array(-4.0), num_points=260,
        arc_step=0.04,
      )  # fmt: skip
      bs = jnp.linspace(-2.7, -2.3, 5)
      starts = jnp.linspace(-5.0, 5.0, 40)[:, None]
      return branch, analysis.bifurcation_diagram(unit, bs, starts).count

    branch, counts = follow()
    find = jax.jit(lambda x, b: analysis.saddle_node(unit, x, b))
    folds = [
      find(branch.points[i], branch.parameters[i])
      for i in np.flatnonzero(branch.folds)
    ]
  return dict(
    config=dict(map="5 sigma(x) + b", arc_step=0.04),
    results=dict(
      saddle_nodes=[
        dict(b=f.parameter, x=f.point[0], converged=f.converged) for f in folds
      ],
      branch_converged=branch.converged.all(),
      fixed_points_at={"-2.7 -2.6 -2.5 -2.4 -2.3": counts},
    ),
    curves=dict(
      b=branch.parameters, x=branch.points[:, 0], stable=branch.stable
    ),
  )


def _orbits(family, starts, b, us):
  """Orbits from several starts, with |∂x_t/∂x_0|."""

  @jax.jit
  def run(starts, us):
    one = lambda x: analysis.orbit_sensitivity(  # noqa: E731
      family, x[None], b, us=us
    )
    found = jax.vmap(one)(starts)
    return found.xs[..., 0], jnp.abs(found.in_start[..., 0, 0])

  return run(jnp.asarray(starts), us)


def maps(_):
  """Fig. 4: two starts .11 apart, on either side of the boundary; one map."""
  starts = [-0.04, 0.07]
  steps = 24
  autonomous = lambda x, b, u: unit(x, b) + u  # noqa: E731
  xs, slopes = _orbits(autonomous, starts, -2.5, jnp.zeros((steps, 1)))
  return dict(
    config=dict(b=-2.5, starts=starts, steps=steps, boundary=0.0),
    results=dict(
      start_distance=abs(starts[1] - starts[0]),
      end_distance=abs(xs[1, -1] - xs[0, -1]),
      largest_slope=slopes.max(),
    ),
    curves=dict(xs=xs, slopes=slopes),
  )


def driven_maps(_):
  """Fig. 5: each map is the constant one, then a shift by the input u_t."""
  starts, steps = [0.20, 0.35], 12
  us = np.zeros((steps, 1), np.float32)
  us[:5, 0] = [-0.3, 0.15, -0.3, 0.1, -0.05]
  driven = lambda x, b, u: unit(x, b) + u  # noqa: E731
  xs, slopes = _orbits(driven, starts, -2.5, jnp.asarray(us))
  before = np.asarray(unit(xs[:, :-1], -2.5))
  return dict(
    config=dict(b=-2.5, starts=starts, us=us[:, 0], boundary=0.0),
    results=dict(
      start_distance=abs(starts[1] - starts[0]),
      end_distance=abs(xs[1, -1] - xs[0, -1]),
      largest_slope=slopes.max(),
    ),
    curves=dict(xs=xs, after_the_constant_map=before, slopes=slopes),
  )


@jax.jit
def _ends(x_0, bs):
  """(|dx_50/db|, |dx_50/dx_0|, x_50) at each b, from one start."""
  one = lambda b: analysis.orbit_sensitivity(  # noqa: E731
    unit, x_0[None], b, num_steps=STEPS
  )
  found = jax.vmap(one)(bs)
  return (
    jnp.abs(found.in_parameter[:, -1, 0]),
    jnp.abs(found.in_start[:, -1, 0, 0]),
    found.xs[:, -1, 0],
  )


def _folds():
  """(b_1, b_2), where 5 σ(x) + b touches x: σ' there is 1 / 5."""
  s = (1 + np.array([1, -1]) * 0.2**0.5) / 2
  return np.log(s / (1 - s)) - W * s


def crossings(_):
  """What makes the gradient explode: three crossings, |dx_50/db| over b."""
  starts = {"lower": -3.0, "boundary": 0.3, "upper": 3.0}
  b1, b2 = _folds()
  boundary = 0.3 - float(W / (1 + np.exp(-0.3)))
  # The peaks are as thin as 1.25^-50; each bin of 200 points keeps its largest.
  bs = np.linspace(-2.8, -2.2, 60000)
  x_0s = np.linspace(-1, 1, 40001)
  with jax.enable_x64(True):
    slopes = {
      k: np.asarray(_ends(jnp.asarray(x_0), jnp.asarray(bs))[0])
      for k, x_0 in starts.items()
    }
    over_starts = jax.jit(jax.vmap(lambda x: _ends(x, jnp.full(1, -2.5))[1][0]))
    in_start = np.asarray(over_starts(jnp.asarray(x_0s)))

  def near(kind, b):
    return slopes[kind][np.abs(bs - b) < 0.02].max()

  return dict(
    config=dict(steps=STEPS, starts=starts, folds=[b1, b2], window=0.02),
    results={
      "bifurcation alone: x_0 = -3 at b_1": near("lower", b1),
      "bifurcation alone: x_0 = 3 at b_2": near("upper", b2),
      "attractor lost: x_0 = 3 at b_1": near("upper", b1),
      "attractor lost: x_0 = -3 at b_2": near("lower", b2),
      "basin boundary alone: x_0 = .3": near("boundary", boundary),
      "boundary_at_b": boundary,
      "slope_in_start_on_the_boundary": in_start.max(),
      "1.25^50": 1.25**STEPS,
    },
    curves=dict(
      b=bs.reshape(-1, 200).mean(1),
      slopes={k: v.reshape(-1, 200).max(1) for k, v in slopes.items()},
      x_0=x_0s[100:-100:100],
      in_start=np.lib.stride_tricks.sliding_window_view(in_start, 101)[
        50:-50:100
      ].max(1),
    ),
  )
