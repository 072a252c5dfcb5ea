"""What the dynamics did while two runs trained: MSGD-C and MSGD-CR."""

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
  runs, settings = networks.while_training(
    task, model, recorder, lambda seen, _: seen, points=points, every=every
  )
  curves = {
    name: run._asdict() | {"delta_norms": run.delta_norms[:, ::5]}
    for name, run in runs.items()
  }
  return dict(
    config=dict(cell=kind, task="temporal_order", length=length, hidden=50)
    | settings
    | dict(recorded_every=every, lags_every=5),
    results={
      name: dict(
        largest_gradient_norm=jnp.max(run["gradient_norm"]),
        last_loss=run["loss"][-1],
        largest_spectral_radius=jnp.max(run["spectral_radius"]),
      )
      for name, run in curves.items()
    },
    curves={"update": np.arange(points) * every} | curves,
  )
