"""Omega and clip for an Equinox GRU: new lines say `# steadygrad`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from steadygrad import Cell, add_omega_gradient, clip_by_global_norm, trajectory  # steadygrad

T, B, N = 30, 16, 32


class Net(eqx.Module):
  gru: eqx.nn.GRUCell
  head: eqx.nn.Linear


start = lambda gru, size: jnp.zeros((size, gru.hidden_size))
step = lambda gru, h, u: jax.vmap(gru)(u, h)


def rnn(gru, us):
  body = lambda h, u: (step(gru, h, u),) * 2
  return jax.lax.scan(body, start(gru, us.shape[1]), us)[1]


def head_loss(net, ys, targets):
  return jnp.mean((jax.vmap(net.head)(ys[-1]) - targets) ** 2)


def loss_fn(net, us, targets):
  return head_loss(net, rnn(net.gru, us), targets)


cell = Cell(None, start, step, lambda h: h)  # steadygrad
tx = optax.chain(
  add_omega_gradient(cell, at=("gru",)), clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


@eqx.filter_jit
def train_step(net, state, us, targets):
  loss, grads = eqx.filter_value_and_grad(loss_fn)(net, us, targets)
  dys = jax.grad(head_loss, 1)(net, rnn(net.gru, us), targets)  # steadygrad
  seen = trajectory(cell, net.gru, us, dys=dys)  # steadygrad
  # was: steps, state = tx.update(grads, state)
  steps, state = tx.update(grads, state, trajectory=seen)  # steadygrad
  return eqx.apply_updates(net, steps), state, loss, grads


def main(num_updates=100):
  key = jax.random.key(0)
  net = Net(eqx.nn.GRUCell(1, N, key=key), eqx.nn.Linear(N, 1, key=key))
  state = tx.init(eqx.filter(net, eqx.is_array))
  for i in range(num_updates):
    us = jax.random.normal(jax.random.key(i), (T, B, 1))
    net, state, loss, grads = train_step(net, state, us, us[0])
  return loss, grads
