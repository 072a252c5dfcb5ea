"""Activations σ by name, with the derivative written in terms of σ(x).

That σ′(x) is a function of σ(x) alone for all four lets the backward pass keep
one array where it would need two.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad.types import Array


class Activation(NamedTuple):
  """σ, σ′ and the bound γ ≥ |σ′| of section 2.1.

  Attributes:
    name: the name in `ACTIVATIONS`.
    phi: x -> σ(x).
    prime_of_phi: σ(x) -> σ′(x).
    gamma: sup |σ′|: 1 for tanh, 1/4 for sigmoid.
  """

  name: str
  phi: Callable[[Array], Array]
  prime_of_phi: Callable[[Array], Array]
  gamma: float

  def phi_prime(self, x: Array) -> Array:
    """σ′(x); 0 at 0 for relu, as in JAX and PyTorch."""
    return self.prime_of_phi(self.phi(x))


ACTIVATIONS = {
  a.name: a
  for a in (
    Activation("tanh", jnp.tanh, lambda h: 1 - h * h, 1.0),
    Activation("sigmoid", jax.nn.sigmoid, lambda h: h * (1 - h), 0.25),
    Activation("relu", jax.nn.relu, lambda h: (h > 0).astype(h.dtype), 1.0),
    Activation("linear", lambda x: x, jnp.ones_like, 1.0),
  )
}


def activation(name: str) -> Activation:
  """The activation of that name; ValueError names the ones there are."""
  if name not in tuple(ACTIVATIONS):  # Which need not be hashable.
    raise ValueError(
      f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}"
    )
  return ACTIVATIONS[name]
