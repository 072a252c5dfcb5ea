"""What u_t w_in + b is, of numbers and of symbols, and its gradient."""

import jax
import jax.numpy as jnp

from steadygrad.numerics import add, matmul, sum_outer
from steadygrad.symbols import Symbols
from steadygrad.types import Array, Inputs, PyTree

# Up to so many symbols a CPU sums their rows faster as a product with one-hot
# numbers than one after the other; 100 symbols take four times as long so.
_FEW = 16


def drive(params: PyTree, us: Inputs, precision: str | None = None) -> Array:
  """u w_in + b, [..., N], of one step or of all at once.

  Args:
    params: "w_in" [M, N], and "b" [N] if there is one.
    us: [..., M].
    precision: of `matmul`.

  Raises:
    ValueError: on complex inputs, or symbols that are not M.
  """
  w_in = params["w_in"]
  if not isinstance(us, Symbols):
    product = matmul(_real(us, w_in.dtype), w_in, precision)
    return add(product, params["b"]) if "b" in params else product
  if us.size != len(w_in):
    raise ValueError(f"us must be of {len(w_in)} symbols, got {us.size}")
  table = add(w_in, params["b"]) if "b" in params else w_in
  return table.at[us.rows()].get(mode="promise_in_bounds")


def gradients(
  params: PyTree, us: Inputs, rights: Array, precision: str | None = None
) -> dict[str, Array]:
  """Gradients in w_in, and in b if there is one.

  Args:
    params: as for `drive`.
    us: [T, B, M].
    rights: gradient in `drive(params, us)`, [T, B, N].
    precision: of `matmul`.
  """
  if isinstance(us, Symbols):
    w_in = _sum_by_symbol(us, rights, precision)
    b = jnp.sum(w_in, 0)  # Every step has one symbol.
  else:
    w_in = sum_outer(us, rights, precision)
    b = jnp.sum(rights, (0, 1))
  return {"w_in": w_in} | ({"b": b} if "b" in params else {})


def _sum_by_symbol(us: Symbols, rows: Array, precision: str | None) -> Array:
  """Σ of the rows [..., N] at the places of each symbol: [M, N].

  Accelerators have a product: their additions by place come in an order that
  changes from run to run.
  """
  if jax.default_backend() == "cpu" and us.size > _FEW:
    zeros = jnp.zeros((us.size, rows.shape[-1]), rows.dtype)
    return zeros.at[us.rows()].add(rows, mode="promise_in_bounds")
  return sum_outer(us.one_hot(rows.dtype), rows, precision)


def _real(us: Array, dtype: jnp.dtype) -> Array:
  """Inputs in another dtype; a cast would drop imaginary parts."""
  if jnp.issubdtype(us.dtype, jnp.complexfloating):
    raise ValueError(f"us must be real, got {us.dtype}")
  return us.astype(dtype)
