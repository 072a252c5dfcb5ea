"""Checks of arguments that analyses share.

Each raises a ValueError that names the argument, what it was and what is
allowed, before anything is compiled. Shapes and dtypes are always looked at,
values only where they are concrete.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad._validate import as_array, is_concrete, is_real, told
from steadygrad.types import Array, PyTree


def check_finite(name: str, tree: PyTree) -> None:
  """ValueError if a concrete leaf holds inf or NaN; traced ones pass."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if is_concrete(leaf) and not np.isfinite(leaf).all():
      where = jax.tree_util.keystr(path)
      raise ValueError(f"{name}{where} is not finite")


def check_floating(name: str, tree: PyTree) -> None:
  """ValueError if a leaf is not real floating-point: no derivative is in it."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    kind = jnp.result_type(leaf)
    if not jnp.issubdtype(kind, jnp.floating):
      where = jax.tree_util.keystr(path)
      raise ValueError(f"{name}{where} must be floating-point, got {kind}")


def real_array(name: str, x, axes: str, *, half: bool = False) -> Array:
  """x as an array of real numbers with the named axes, none of them empty.

  Args:
    name: of the argument.
    x: an array, or lists of Python's floats.
    axes: such as "[S, N]"; "[..., N]" takes any axes before.
    half: whether half precision will do; there is no linear solver in it.

  Raises:
    ValueError: if it is not, or holds concrete inf or NaN.
  """
  array = as_array(x)
  kind = getattr(array, "dtype", None)
  real = kind is not None and jnp.issubdtype(kind, jnp.floating)
  if not real or (jnp.finfo(kind).bits < 32 and not half):
    wanted = "real floating-point" if half else "float32 or float64"
    given = told(x) if kind is None else kind
    raise ValueError(f"{name} must be a {wanted} array {axes}, got {given}")
  names = [a for a in axes.strip("[]").split(", ") if a]
  least = len(names) - ("..." in names)
  fits = array.ndim == least or (array.ndim > least and "..." in names)
  if not fits or 0 in array.shape:
    raise ValueError(
      f"{name} must be {axes} with no axis empty, got shape {array.shape}"
    )
  check_finite(name, array)
  return jnp.asarray(array)


def real_scalar(name: str, x, dtype) -> Array:
  """A finite real number, Python's or an array [], as an array of dtype.

  Raises:
    ValueError: if it is not; integers are taken, complex numbers are not.
  """
  if not is_real(x):
    raise ValueError(f"{name} must be a number, got {told(x)}")
  check_finite(name, x)
  return jnp.asarray(x, dtype)


def real_numbers(name: str, x) -> np.ndarray:
  """Concrete numbers, integers too, as NumPy's array; ValueError else."""
  array = as_array(x)
  if array is None or not all(map(is_real, np.ravel(array))):
    raise ValueError(f"{name} must be real numbers, got {told(x)}")
  check_finite(name, array)
  return np.asarray(array)


def real_square(name: str, w) -> Array:
  """w as an array of real numbers [N, N]; ValueError if it is not one."""
  check_square(name, w)
  return real_array(name, w, "[N, N]")


def check_square(name: str, w: Array, ndim: int | None = 2) -> None:
  """ValueError unless w is [..., N, N], with `ndim` axes where given."""
  array = as_array(w)
  if array is None:
    raise ValueError(f"{name} must be square [..., N, N], got {told(w)}")
  fits = array.ndim >= 2 and ndim in (None, array.ndim)
  if not fits or array.shape[-1] != array.shape[-2]:
    raise ValueError(
      f"{name} must be square [..., N, N], got shape {array.shape}"
    )


def check_leading(name: str, tree: PyTree, sizes: tuple[int, ...]) -> None:
  """ValueError unless the first axes of every leaf have these sizes."""
  shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
  if any(s[: len(sizes)] != tuple(sizes) for s in shapes):
    raise ValueError(
      f"{name} must begin with axes of sizes {sizes}, got shapes {shapes}"
    )


def common_length(name: str, tree: PyTree) -> int:
  """Length of the first axis of every leaf; ValueError if there is no such."""
  shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
  lengths = {s[0] if s else None for s in shapes}
  if len(lengths) != 1 or None in lengths:
    raise ValueError(f"{name} must share a first axis, got shapes {shapes}")
  return shapes[0][0]


def check_keeps(name: str, f: Callable, x: Array, *args) -> None:
  """ValueError unless f(x, *args) is one array of x's shape and dtype."""
  got = jax.eval_shape(f, x, *args)
  is_array = isinstance(got, jax.ShapeDtypeStruct)
  if not is_array or (got.shape, got.dtype) != (x.shape, x.dtype):
    given = f"{got.dtype} {got.shape}" if is_array else told(got)
    raise ValueError(
      f"{name} must map {x.dtype} {x.shape} to itself, got {given}"
    )
