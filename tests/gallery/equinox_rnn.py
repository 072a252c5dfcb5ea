"""Equinox: a cell of one sequence, scanned and then mapped over the batch."""

import equinox as eqx
import jax
import jax.numpy as jnp


class Net(eqx.Module):
  cell: eqx.nn.GRUCell
  out: eqx.nn.Linear

  def __init__(self, key):
    first, second = jax.random.split(key)
    self.cell = eqx.nn.GRUCell(3, 5, key=first)
    self.out = eqx.nn.Linear(5, 1, key=second)

  def __call__(self, x):  # [T, M]
    step = lambda h, u: (self.cell(u, h), None)
    return self.out(jax.lax.scan(step, jnp.zeros(5), x)[0])


def make():
  params, static = eqx.partition(Net(jax.random.key(0)), eqx.is_array)
  x = jax.random.normal(jax.random.key(1), (4, 20, 3))

  def loss_fn(params, x):
    return jnp.mean(jax.vmap(eqx.combine(params, static))(x) ** 2)

  return loss_fn, params, x
