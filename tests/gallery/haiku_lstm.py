"""Haiku: an LSTM unrolled over [T, B, M]."""

import haiku as hk
import jax
import jax.numpy as jnp


def forward(x):
  lstm = hk.LSTM(5)
  ys, _ = hk.dynamic_unroll(lstm, x, lstm.initial_state(x.shape[1]))
  return hk.Linear(1)(ys[-1])


def make():
  net = hk.without_apply_rng(hk.transform(forward))
  x = jax.random.normal(jax.random.key(0), (20, 4, 3))
  params = jax.jit(net.init)(jax.random.key(1), x)
  return lambda params, x: jnp.mean(net.apply(params, x) ** 2), params, x
