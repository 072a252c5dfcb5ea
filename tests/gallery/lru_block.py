"""Plain JAX: a diagonal recursion with a norm, a gate and a way around it.

Once by `associative_scan`, which is no scan, and once by a scan.
"""

import jax
import jax.numpy as jnp

STATES = 6


def by_scan(decay, drive):  # [N], [T, B, N]
  step = lambda x, u: ((x := decay * x + u), x)
  return jax.lax.scan(step, jnp.zeros_like(drive[0]), drive)[1]


def by_associative_scan(decay, drive):
  def join(left, right):
    return left[0] * right[0], right[0] * left[1] + right[1]

  decays = jnp.broadcast_to(decay, drive.shape)
  return jax.lax.associative_scan(join, (decays, drive))[1]


def block(params, us, recursion):  # [T, B, M]
  normal = us / jnp.sqrt(jnp.mean(us**2, -1, keepdims=True) + 1e-6)
  decay = jnp.exp(-jnp.exp(params["nu"]) + 1j * params["theta"])
  drive = (normal @ params["b"]) * jnp.sqrt(1 - jnp.abs(decay) ** 2)
  states = recursion(decay, drive.astype(jnp.complex64))
  read = (states @ params["c"]).real
  return us + read * jax.nn.sigmoid(read @ params["gate"])


def make(recursion=by_scan):
  keys = jax.random.split(jax.random.key(0), 5)
  params = {
    "nu": jnp.log(-jnp.log(jnp.linspace(0.6, 0.9, STATES))),
    "theta": jnp.linspace(0, 1, STATES),
    "b": jax.random.normal(keys[0], (3, STATES)) / 2,
    "c": jax.random.normal(keys[1], (STATES, 3)).astype(jnp.complex64) / 2,
    "gate": jax.random.normal(keys[2], (3, 3)),
  }
  us = jax.random.normal(keys[3], (20, 4, 3))

  def loss_fn(params, us):
    return jnp.mean(block(params, us, recursion)[-1] ** 2)

  return loss_fn, params, us
