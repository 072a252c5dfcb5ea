"""Flax's `TrainState`, for optimisers that read a trajectory."""

import functools
from typing import Any

import optax
from flax.training import train_state

from steadygrad.types import PyTree, Trajectory


class TrainState(train_state.TrainState):
  """`flax.training.train_state.TrainState`, whose optimiser may hold Ω.

  >>> import jax, jax.numpy as jnp, optax
  >>> from steadygrad import cells, models, transforms
  >>> from steadygrad._adjoints import adjoints
  >>> from steadygrad.flax import TrainState
  >>> from steadygrad.types import Batch
  >>> cell = cells.elman(2, 4)
  >>> model = models.recurrent(cell, models.linear_readout(4, 1))
  >>> state = TrainState.create(
  ...   apply_fn=model.apply,
  ...   params=model.init(jax.random.key(0)),
  ...   tx=optax.chain(transforms.add_omega_gradient(cell), optax.sgd(0.1)),
  ... )
  >>> run = adjoints(model, lambda outputs, batch: jnp.mean(outputs**2))
  >>> batch = Batch(jnp.ones((5, 3, 2)), None)
  >>> loss, grads, trajectory = run(state.params, batch)
  >>> state = state.apply_gradients(grads=grads, trajectory=trajectory)
  >>> int(state.step)
  1
  """

  def apply_gradients(
    self,
    *,
    grads: PyTree,
    trajectory: Trajectory | None = None,
    **kwargs: Any,
  ) -> "TrainState":
    """One update; see Flax.

    Args:
      grads: a tree like `params`.
      trajectory: of `adjoints` or `trajectory`, handed to the optimiser's
        links; those that take none leave it aside. If None this is Flax's own
        method.
      **kwargs: attributes to be replaced, as there.

    Returns:
      The next state, with the same `tx`.

    Raises:
      ValueError: by `add_omega_gradient` in `tx`, if there is no trajectory.
    """
    if trajectory is None:
      return super().apply_gradients(grads=grads, **kwargs)
    tx = optax.with_extra_args_support(self.tx)
    update = functools.partial(tx.update, trajectory=trajectory)
    bound = self.replace(tx=optax.GradientTransformation(tx.init, update))
    kwargs = {"tx": self.tx} | kwargs
    return super(TrainState, bound).apply_gradients(grads=grads, **kwargs)
