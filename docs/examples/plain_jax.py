"""Omega and clip in a loop of plain JAX: new lines say `# steadygrad`."""

import jax
import jax.numpy as jnp
import optax

from steadygrad import Cell, add_omega_gradient, clip_by_global_norm, trajectory  # steadygrad

T, B, N = 30, 16, 32


def init(key):
  w = jax.random.normal(key, (N, N)) / N**0.5
  return {"rnn": {"w": w, "v": w[:1]}, "out": w[:, :1]}


def start(p, batch_size):
  return jnp.zeros((batch_size, len(p["w"])))


def step(p, h, u):
  return jnp.tanh(h @ p["w"] + u @ p["v"])


def rnn(p, us):
  body = lambda h, u: (step(p, h, u),) * 2
  return jax.lax.scan(body, start(p, us.shape[1]), us)[1]


def head(params, hs, targets):
  return jnp.mean((hs[-1] @ params["out"] - targets) ** 2)


cell = Cell(init, start, step, lambda h: h)  # steadygrad
tx = optax.chain(
  add_omega_gradient(cell, at=("rnn",)), clip_by_global_norm(1.0),  # steadygrad
  optax.adam(3e-3),
)


@jax.jit
def train_step(params, state, us, targets):
  loss, grads = jax.value_and_grad(
    lambda p: head(p, rnn(p["rnn"], us), targets)
  )(params)
  dys = jax.grad(head, 1)(params, rnn(params["rnn"], us), targets)  # steadygrad
  seen = trajectory(cell, params["rnn"], us, dys=dys)  # steadygrad
  # was: steps, state = tx.update(grads, state, params)
  steps, state = tx.update(grads, state, params, trajectory=seen)  # steadygrad
  return optax.apply_updates(params, steps), state, loss, grads


def main(num_updates=100):
  state = tx.init(params := init(jax.random.key(0)))
  for i in range(num_updates):
    us = jax.random.normal(jax.random.key(i), (T, B, 1))
    params, state, loss, grads = train_step(params, state, us, us[0])
  return loss, grads
