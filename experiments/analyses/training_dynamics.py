"""What the dynamics did while two runs trained: MSGD-C and MSGD-CR."""

import jax
import jax.numpy as jnp
import numpy as np

from analyses import networks
from steadygrad import analysis


def training_dynamics(kind):
  """Records of `dynamics_recorder` every so many updates, one seed each."""
  length, every, points = 50, 150, 40
  task, model = networks.task_model(kind, length, 50)
  recorder = analysis.dynamics_recorder(
    model, task.loss, num_sequences=2, num_starts=6, settle_steps=300
  )
  curves = {"update": np.arange(points) * every}
  for name, weight in (("msgd_c", 0.0), ("msgd_cr", 4.0)):
    init, update = networks.descent(
      task, model, weight=weight, learning_rate=0.01, max_norm=1.0,
      batch_size=20,
    )  # fmt: skip

    @jax.jit
    def run(key, init=init, update=update):
      key_init, key_data, key_watch = jax.random.split(key, 3)
      batch = task.sample(key_watch, 20)

      def point(carry, key):
        seen = recorder(carry[0], batch)
        carry, _ = jax.lax.scan(update, carry, jax.random.split(key, every))
        return carry, seen

      keys = jax.random.split(key_data, points)
      return jax.lax.scan(point, init(key_init), keys)[1]

    seen = run(jax.random.key(0))
    curves[name] = seen._asdict() | {"delta_norms": seen.delta_norms[:, ::5]}
  return dict(
    config=dict(
      cell=kind,
      task="temporal_order",
      length=length,
      hidden=50,
      learning_rate=0.01,
      max_norm=1.0,
      batch_size=20,
      omega_weight=4.0,
      recorded_every=every,
      lags_every=5,
    ),  # fmt: skip
    results={
      name: dict(
        largest_gradient_norm=jnp.max(curves[name]["gradient_norm"]),
        last_loss=curves[name]["loss"][-1],
        largest_spectral_radius=jnp.max(curves[name]["spectral_radius"]),
      )
      for name in ("msgd_c", "msgd_cr")
    },
    curves=curves,
  )
