"""Omega and clip for a Flax LSTM: new lines say `# steadygrad`.

`nn.RNN` reads [B, T, M] unless it is told `time_major`; a trajectory is
[T, B, ...]. In a module of one piece `self.perturb` after the `nn.RNN` gives
the same gradient `dys` without another forward pass.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from steadygrad import add_omega_gradient, cells, clip_by_global_norm, trajectory  # steadygrad

# was: from flax.training.train_state import TrainState
from steadygrad.flax import TrainState  # steadygrad

T, B, N = 30, 16, 16
rnn = nn.RNN(nn.OptimizedLSTMCell(N), time_major=True)
head = nn.Dense(1)


def read(params, us):
  return rnn.apply({"params": params["rnn"]}, us)


def head_loss(params, ys, targets):
  outputs = head.apply({"params": params["head"]}, ys[-1])
  return jnp.mean((outputs - targets) ** 2)


cell = cells.linen(nn.OptimizedLSTMCell(N), 1)  # steadygrad
tx = optax.chain(
  add_omega_gradient(cell, at=("rnn", "cell")), clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


@jax.jit
def train_step(state, us, targets):
  loss_fn = lambda p: head_loss(p, read(p, us), targets)
  loss, grads = jax.value_and_grad(loss_fn)(params := state.params)
  dys = jax.grad(head_loss, 1)(params, read(params, us), targets)  # steadygrad
  seen = trajectory(cell, params["rnn"]["cell"], us, dys=dys)  # steadygrad
  # was: state = state.apply_gradients(grads=grads)
  state = state.apply_gradients(grads=grads, trajectory=seen)  # steadygrad
  return state, loss, grads


def main(num_updates=100):
  key, us = jax.random.key(0), jnp.zeros((T, B, 1))
  parts = {"rnn": (rnn, us), "head": (head, jnp.zeros((B, N)))}
  params = {k: m.init(key, x)["params"] for k, (m, x) in parts.items()}
  state = TrainState.create(apply_fn=read, params=params, tx=tx)
  for i in range(num_updates):
    us = jax.random.normal(jax.random.key(i), (T, B, 1))
    state, loss, grads = train_step(state, us, us[0])
  return loss, grads
