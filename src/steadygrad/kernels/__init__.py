"""One function, `elman_scan`, in front of every implementation."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from steadygrad.activations import activation as find_activation
from steadygrad.kernels import _xla
from steadygrad.types import Array

__all__ = ["ElmanScan", "elman_scan"]


class ElmanScan(NamedTuple):
  """Forward and backward pass of an Elman recursion.

  Attributes:
    forward: (w_rec [N, N], drives [T, B, N], x_0 [B, N], lengths=None) -> (xs,
      hs) [T, B, N], the states and what the next layer sees of them, σ(x_t) or
      h_t.
    backward: (w_rec, x_0, xs, hs, dhs, lengths=None) -> (deltas, products [T,
      B, N], dx_0 [B, N]), where dhs [T, B, N] is the immediate gradient of the
      loss in hs.
  """

  forward: Callable[..., tuple[Array, Array]]
  backward: Callable[..., tuple[Array, Array, Array]]


def elman_scan(
  form: str, activation: str, *, implementation: str | None = None
) -> ElmanScan:
  """The pair of passes through an Elman recursion; equations in `_xla`.

  Args:
    form: "x" (state before the activation, eq. 2) or "h" (after it).
    activation: "tanh", "sigmoid", "relu" or "linear".
    implementation: "xla" or None for the best one here.

  Returns:
    `ElmanScan`. `lengths` is None, an integer [] at which the loops stop, or
    [B] beyond which a sequence's state stays as it was.
  """
  if form not in ("x", "h"):
    raise ValueError(f'form must be "x" or "h", got {form!r}')
  sigma = find_activation(activation)
  if implementation not in (None, "xla"):
    raise ValueError(f'implementation must be "xla", got {implementation!r}')
  return ElmanScan(
    functools.partial(_xla.forward, form, sigma),
    functools.partial(_xla.backward, form, sigma),
  )
