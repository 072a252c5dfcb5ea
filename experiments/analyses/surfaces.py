"""Fig. 6 and its curvature, and the same slice around a trained network."""

import jax
import jax.numpy as jnp
import numpy as np

from analyses import networks
from steadygrad import analysis

# The wall is where x_0 = .5 is the unstable point: b = .5 - σ(.5) w. The wide
# view is of w and the distance in b from it; the other where two paths meet it.
WALL = (0.5, -1 / (1 + np.exp(-0.5)))
WINDOW = dict(w=(4.2, 5.4), b=(-0.4, 0.6))
CLOSE_UP = dict(w=(4.4, 4.8), b=(-2.55, -2.2))


def _loss(params):
  return analysis.single_unit_loss(params["w"], params["b"])


def _point(w, b):
  # An array of a stated dtype: a bare number is weakly typed, and its norm
  # would be formed in float32.
  w, b = np.float64(w), np.float64(b)
  return {"w": jnp.array(w), "b": jnp.array(b)}


def _view(window, origin, slope, resolution=121):
  """The loss over w and the distance in b from the line origin + slope w."""
  axes = [jnp.linspace(*window[k], resolution) for k in "wb"]
  along, across = _point(1.0, slope), _point(0.0, 1.0)
  return analysis.surface(_loss, _point(0.0, origin), (along, across), axes)


def _path(descent):
  w, b = descent.params["w"], descent.params["b"]
  return dict(
    w=w, b=b, losses=descent.losses, gradient_norms=descent.gradient_norms
  )


def _longest_step(descent):
  w, b = descent.params["w"], descent.params["b"]
  return np.hypot(np.diff(w), np.diff(b)).max()


def error_surface(_):
  """Fig. 6: the wall, and descent from one start with and without clipping."""
  steps, rate, max_norm = 150, 0.05, 0.3
  start = dict(w=4.6, b=-2.5)
  with jax.enable_x64(True):

    @jax.jit
    def run():
      wide, close = _view(WINDOW, *WALL), _view(CLOSE_UP, 0.0, 0.0)
      options = dict(learning_rate=rate, num_steps=steps)
      plain = analysis.descend(_loss, _point(**start), **options)
      clipped = analysis.descend(
        _loss, _point(**start), max_norm=max_norm, **options
      )
      return wide, close, plain, clipped

    wide, close, plain, clipped = jax.tree.map(np.asarray, run())
  descents = dict(plain=plain, clipped=clipped)
  return dict(
    config=dict(
      start=start,
      learning_rate=rate,
      max_norm=max_norm,
      steps=steps,
      unrolled_steps=50,
      x_0=0.5,
      target=0.7,
      window=WINDOW,
      wall=WALL,
      close_up=CLOSE_UP,
    ),  # fmt: skip
    results=dict(
      largest_gradient_norm={
        k: d.gradient_norms.max() for k, d in descents.items()
      },
      longest_step={k: _longest_step(d) for k, d in descents.items()},
      last_loss={k: d.losses[-1] for k, d in descents.items()},
    ),
    curves=dict(
      surface=np.round(wide, 4),
      close_up=np.round(close, 4),
      **{k: _path(d) for k, d in descents.items()},
    ),
  )


def curvature(_):
  """Gradient norm and curvature along it on a cut through the wall."""
  w = 5.0
  with jax.enable_x64(True):
    bs = jnp.linspace(-2.63, -2.59, 2001)
    found = jax.jit(
      jax.vmap(
        lambda b: analysis.curvature_along_gradient(
          _loss, {"w": jnp.full_like(b, w), "b": b}
        )
      )
    )(bs)
    t = jnp.arange(1, 51)
    linear = jax.jit(
      jax.vmap(
        lambda w: jnp.stack(
          [
            jnp.stack(analysis.linear_sensitivities(w, 0.5, k))
            for k in t.tolist()
          ]
        )
      )
    )(jnp.array([0.9, 1.1]))
  top = int(np.argmax(found.gradient_norm))
  correlation = np.corrcoef(
    np.log(found.gradient_norm), np.log(np.abs(found.curvature))
  )[0, 1]
  return dict(
    config=dict(w=w, unrolled_steps=50, linear_w=[0.9, 1.1], linear_x_0=0.5),
    results=dict(
      largest_gradient_norm=found.gradient_norm[top],
      largest_curvature=np.abs(found.curvature).max(),
      at_b=bs[top],
      correlation_of_logarithms=correlation,
    ),
    curves=dict(
      b=bs[::5],
      loss=found.loss[::5],
      gradient_norm=found.gradient_norm[::5],
      curvature=found.curvature[::5],
      linear_first=linear[..., 0],
      linear_second=linear[..., 1],
    ),
  )


def slice_around(kind):
  """The loss around a network trained a little, along its gradient."""
  # A gated cell costs several times as much to train and to evaluate.
  length = 30
  updates, resolution = (1500, 61) if kind == "elman" else (1000, 35)
  task, model = networks.task_model(kind, length, 30)
  weight = 4.0 if kind == "elman" else 0.0
  rate = 0.01 if kind == "elman" else 0.3
  init, update = networks.descent(
    task, model, weight=weight, learning_rate=rate, max_norm=1.0,
    batch_size=20,
  )  # fmt: skip

  @jax.jit
  def train(key):
    keys = jax.random.split(key, updates)
    (params, _), losses = jax.lax.scan(update, init(key), keys)
    return params, losses

  params, losses = train(jax.random.key(0))
  batch = jax.jit(lambda k: task.sample(k, 40))(jax.random.key(9))

  def loss(params):
    return task.loss(model.apply(params, batch.us), batch)

  reach = 0.5
  offsets = jnp.linspace(-reach, reach, resolution)

  @jax.jit
  def look(params):
    pair = analysis.slice_directions(loss, params, jax.random.key(1))
    grid = analysis.surface(loss, params, pair, (offsets, offsets))
    return grid, analysis.curvature_along_gradient(loss, params)

  grid, bent = look(params)
  return dict(
    config=dict(
      cell=kind,
      task="temporal_order",
      length=length,
      hidden=30,
      updates=updates,
      omega_weight=weight,
      learning_rate=rate,
      reach=reach,
    ),  # fmt: skip
    results=bent._asdict() | dict(mean_loss_of_last_100=losses[-100:].mean()),
    curves=dict(reach=reach, surface=grid),
  )
