"""What stands around a linear recurrence: a normalisation, a gate, a skip.

  e_t = u_t w_in + b_in,   v_t = norm(e_t) ∘ scale + offset
  y_t = e_t + s_t ∘ sigmoid(s_t w_gate + b_gate)

The recurrence sees v_t alone and makes s_t of it. All functions take one step
[B, ...] or all of them [T, B, ...].
"""

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad.numerics import add, matmul, normalised, times
from steadygrad.types import Array, PyTree


def init_block(
  key_in: Array, key_gate: Array, input_size: int, hidden_size: int
) -> dict[str, Array]:
  """The block's own parameters; those of the recurrence come beside them."""
  fan_in = jax_initializers.lecun_normal()
  return {
    "w_in": fan_in(key_in, (input_size, hidden_size)),
    "b_in": jnp.zeros(hidden_size),
    "scale": jnp.ones(hidden_size),
    "offset": jnp.zeros(hidden_size),
    "w_gate": fan_in(key_gate, (hidden_size, hidden_size)),
    "b_gate": jnp.zeros(hidden_size),
  }


def enter(params: PyTree, us: Array) -> tuple[Array, Array]:
  """(e, v) of inputs [..., M]."""
  e = add(matmul(us, params["w_in"]), params["b_in"])
  return e, add(times(normalised(e), params["scale"]), params["offset"])


def leave(params: PyTree, e: Array, s: Array) -> Array:
  """y of e and s [..., N]."""
  gate = add(matmul(s, params["w_gate"]), params["b_gate"])
  return e + s * jax.nn.sigmoid(gate)
