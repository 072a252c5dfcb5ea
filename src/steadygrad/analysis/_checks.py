"""Checks of arguments that analyses share.

Each raises a ValueError that names the argument, what it was and what is
allowed, before anything is compiled. Shapes and dtypes are always looked at,
values only where they are concrete.
"""

import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad._validate import is_concrete
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
  array = _as_array(x)
  kind = getattr(array, "dtype", None)
  real = kind is not None and jnp.issubdtype(kind, jnp.floating)
  if not real or (jnp.finfo(kind).bits < 32 and not half):
    wanted = "real floating-point" if half else "float32 or float64"
    told = _told(x) if kind is None else kind
    raise ValueError(f"{name} must be a {wanted} array {axes}, got {told}")
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
  if not _is_real(x):
    raise ValueError(f"{name} must be a number, got {_told(x)}")
  check_finite(name, x)
  return jnp.asarray(x, dtype)


def real_numbers(name: str, x) -> np.ndarray:
  """Concrete numbers, integers too, as NumPy's array; ValueError else."""
  array = _as_array(x)
  if array is None or not all(map(_is_real, np.ravel(array))):
    raise ValueError(f"{name} must be real numbers, got {_told(x)}")
  check_finite(name, array)
  return np.asarray(array)


def real_square(name: str, w) -> Array:
  """w as an array of real numbers [N, N]; ValueError if it is not one."""
  check_square(name, w)
  return real_array(name, w, "[N, N]")


def check_square(name: str, w: Array, ndim: int | None = 2) -> None:
  """ValueError unless w is [..., N, N], with `ndim` axes where given."""
  shape = getattr(_as_array(w), "shape", None)
  fits = shape is not None and (ndim is None or len(shape) == ndim)
  if not fits or len(shape) < 2 or shape[-1] != shape[-2]:
    told = _told(w) if shape is None else f"shape {shape}"
    raise ValueError(f"{name} must be square [..., N, N], got {told}")


def check_count(name: str, value, least: int = 1) -> None:
  """ValueError unless a static count is an integer of at least `least`."""
  if not is_concrete(value):
    return
  try:
    number = operator.index(value)
  except TypeError:
    number = least - 1
  if isinstance(value, bool) or number < least:
    raise ValueError(
      f"{name} must be an integer {_at_least(least)}, got {_told(value)}"
    )


def check_number(
  name: str, value, *, above: float | None = None, least: float | None = None
) -> None:
  """ValueError unless value is a real number, not NaN, within the bounds.

  Args:
    name: of the argument.
    value: Python's number or an array []. Traced ones pass.
    above: it must be larger.
    least: it must not be smaller.
  """
  if not is_concrete(value):
    return
  number = float(value) if _is_real(value) else float("nan")
  low = float("-inf") if least is None else least
  if number >= low and (above is None or number > above):
    return
  bounds = "" if above is None else f" above {above}"
  bounds += "" if least is None else f" {_at_least(least)}"
  raise ValueError(f"{name} must be a number{bounds}, got {_told(value)}")


def check_leading(name: str, tree: PyTree, sizes: tuple[int, ...]) -> None:
  """ValueError unless the first axes of every leaf have these sizes."""
  shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
  if any(s[: len(sizes)] != tuple(sizes) for s in shapes):
    raise ValueError(
      f"{name} must begin with axes of sizes {sizes}, got shapes {shapes}"
    )


def check_same_shapes(name: str, tree: PyTree, like: PyTree) -> None:
  """ValueError unless tree has the structure and the shapes of `like`."""
  given, wanted = (jax.tree.map(np.shape, t) for t in (tree, like))
  if given != wanted:
    raise ValueError(f"{name} must be shaped {wanted}, got {given}")


def common_length(name: str, tree: PyTree) -> int:
  """Length of the first axis of every leaf; ValueError if there is no such."""
  shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
  lengths = {s[0] if s else None for s in shapes}
  if len(lengths) != 1 or None in lengths:
    raise ValueError(f"{name} must share a first axis, got shapes {shapes}")
  return lengths.pop()


def check_keeps(name: str, f: Callable, x: Array, *args) -> None:
  """ValueError unless f(x, *args) is one array of x's shape and dtype."""
  got = jax.eval_shape(f, x, *args)
  is_array = isinstance(got, jax.ShapeDtypeStruct)
  if not is_array or (got.shape, got.dtype) != (x.shape, x.dtype):
    told = f"{got.dtype} {got.shape}" if is_array else _told(got)
    raise ValueError(
      f"{name} must map {x.dtype} {x.shape} to itself, got {told}"
    )


def _as_array(x):
  """An array as it is, lists of numbers as one; None for anything else."""
  if hasattr(x, "dtype"):
    return x
  try:
    array = np.asarray(x)
  except (TypeError, ValueError):
    return None
  return array if array.dtype.kind in "fiucb" else None


def _is_real(x) -> bool:
  """Whether x is a real number, Python's or an array []; a bool is none."""
  array = _as_array(x)
  if array is None or array.ndim:
    return False
  return any(
    jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)
  )


def _at_least(least) -> str:
  return f"of at least {least}" if least else "that is not negative"


def _told(value) -> str:
  """A value for a message, cut where it is long."""
  text = repr(value)
  return text if len(text) <= 80 else text[:77] + "..."
