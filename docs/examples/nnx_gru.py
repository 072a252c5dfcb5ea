"""Omega and clip for a GRU of Flax NNX: new lines say `# steadygrad`.

`nnx.RNN` reads [B, T, M] unless it is told `time_major`; a trajectory is
[T, B, ...].
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from steadygrad import add_omega_gradient, cells, clip_by_global_norm, trajectory  # steadygrad

T, B, N = 30, 16, 32


class Net(nnx.Module):
  def __init__(self, rngs):
    gru = nnx.GRUCell(1, N, rngs=rngs)
    self.rnn = nnx.RNN(gru, time_major=True, rngs=rngs)
    self.head = nnx.Linear(N, 1, rngs=rngs)


def head_loss(net, ys, targets):
  return jnp.mean((net.head(ys[-1]) - targets) ** 2)


def loss_fn(net, us, targets):
  return head_loss(net, net.rnn(us), targets)


net = Net(nnx.Rngs(0))
cell = cells.nnx(net.rnn.cell, 1)  # steadygrad
tx = optax.chain(
  add_omega_gradient(cell, at=("rnn", "cell")), clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)
optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)


@nnx.jit
def train_step(net, optimizer, us, targets):
  loss, grads = nnx.value_and_grad(loss_fn)(net, us, targets)
  dys = jax.grad(head_loss, 1)(net, net.rnn(us), targets)  # steadygrad
  seen = trajectory(cell, nnx.state(net.rnn.cell), us, dys=dys)  # steadygrad
  # was: optimizer.update(net, grads)
  optimizer.update(net, grads, trajectory=seen)  # steadygrad
  return loss, grads


def main(num_updates=100):
  for i in range(num_updates):
    us = jax.random.normal(jax.random.key(i), (T, B, 1))
    loss, grads = train_step(net, optimizer, us, us[0])
  return loss, grads
