"""Checks of arguments, with one form of message: name, what is allowed, value.

Values are looked at only where they are concrete: what a traced one does is
documented where it is used. Nothing here compiles or runs a program.
"""

import operator
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from steadygrad.types import Batch, PyTree


def is_concrete(*trees: PyTree) -> bool:
  """Whether no leaf is traced, so that values may be looked at."""
  leaves = jax.tree.leaves(trees)
  return not any(isinstance(x, Tracer) for x in leaves)


def as_array(x: Any) -> Any:
  """An array as it is, lists of numbers as one; None for anything else."""
  if hasattr(x, "dtype"):
    return x
  try:
    array = np.asarray(x)
  except (TypeError, ValueError):
    return None
  return array if array.dtype.kind in "fiucb" else None


def is_real(x: Any) -> bool:
  """Whether x is a real number, Python's or an array []; a bool is none."""
  array = as_array(x)
  if array is None or np.ndim(array):
    return False
  return any(
    jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)
  )


def told(value: Any) -> str:
  """A value for a message, cut where it is long."""
  text = repr(value)
  return text if len(text) <= 80 else text[:77] + "..."


def check_integer(
  name: str, value: Any, least: int = 1, *, traced: bool = False
) -> None:
  """ValueError unless a count is an integer of at least `least`.

  Args:
    name: of the argument.
    value: a static count, Python's or NumPy's.
    least: the smallest that is allowed.
    traced: whether a traced one passes too, as one that a loop compares may.
  """
  if traced and isinstance(value, Tracer):
    return
  try:
    fits = not isinstance(value, bool | np.bool_)
    fits = fits and operator.index(value) >= least
  except (TypeError, jax.errors.ConcretizationTypeError):
    fits = False
  if not fits:
    raise ValueError(
      f"{name} must be an integer of at least {least}, got {told(value)}"
    )


def check_number(
  name: str,
  value: Any,
  *,
  least: float | None = 0.0,
  above: float | None = None,
  below: float | None = None,
  finite: bool = True,
) -> None:
  """ValueError unless a value is one real number in a range; traced ones pass.

  Args:
    name: of the argument.
    value: a number or an array [].
    least: the smallest that is allowed, None for any.
    above: a bound that it must exceed.
    below: a bound that it must stay under.
    finite: whether inf is refused. NaN always is.
  """
  if isinstance(value, Tracer):
    return
  if not is_real(value) or not _in_range(value, least, above, below, finite):
    allowed = "a finite number" if finite else "a number"
    if above is not None:
      allowed += f" above {above:g}"
    elif least is not None:
      allowed += f" of at least {least:g}" if least else " that is not negative"
    if below is not None:
      allowed += f" and below {below:g}"
    raise ValueError(f"{name} must be {allowed}, got {told(value)}")


def _in_range(value, least, above, below, finite) -> bool:
  number = float(value)
  return (
    not np.isnan(number)
    and not (finite and np.isinf(number))
    and (least is None or number >= least)
    and (above is None or number > above)
    and (below is None or number < below)
  )


def check_shapes(**arrays: tuple[Any, str]) -> None:
  """ValueError unless arrays have their axes, with one size for one letter.

  By chex, which checks traced arrays as it does others, in words of our own:
  chex numbers its inputs, where a reader wants to know which argument it was.

  Args:
    **arrays: (array, axes) by the argument's name, as `w_rec=(w_rec, "N N")`. A
      letter stands for the size that it had first.
  """
  sizes: dict[str, int] = {}
  for name, (x, axes) in arrays.items():
    letters = axes.split()
    wanted = f"[{', '.join(letters)}]"
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
      raise ValueError(f"{name} must be an array {wanted}, got {told(x)}")
    try:
      chex.assert_rank(x, len(letters))
      # Not strict: `chex.disable_asserts` lets other ranks come so far.
      for letter, size in zip(letters, x.shape, strict=False):
        sizes.setdefault(letter, size)
      chex.assert_shape(x, tuple(sizes[letter] for letter in letters))
    except AssertionError as error:
      known = [f"{a} = {sizes[a]}" for a in letters if a in sizes]
      known = f" with {', '.join(dict.fromkeys(known))}" if known else ""
      raise ValueError(
        f"{name} must be {wanted}{known}, got shape {x.shape}"
      ) from error


def check_same_shapes(name: str, tree: PyTree, like: PyTree) -> None:
  """ValueError unless tree has the structure and the shapes of `like`."""
  given, wanted = (jax.tree.map(np.shape, t) for t in (tree, like))
  if given != wanted:
    raise ValueError(f"{name} must be shaped {wanted}, got {given}")


def check_one_of(name: str, value: Any, allowed: Sequence) -> None:
  """ValueError unless a value is among the allowed ones."""
  if not any(isinstance(value, type(x)) and value == x for x in allowed):
    names = " or ".join(repr(x).replace("'", '"') for x in allowed)
    raise ValueError(f"{name} must be {names}, got {value!r}")


def check_floating(name: str, dtype: Any) -> None:
  """ValueError unless it names a real floating-point dtype."""
  try:
    fits = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
  except TypeError:
    fits = False
  if not fits or dtype is None:
    raise ValueError(f"{name} must be floating-point, got {dtype!r}")


def check_batch(batch: Any) -> None:
  """ValueError unless it is a `Batch`."""
  if not isinstance(batch, Batch):
    raise ValueError(
      "batch must be a steadygrad.types.Batch(us, targets, lengths), got"
      f" {type(batch)}"
    )


def check_params(params: PyTree) -> None:
  """ValueError unless a model's parameters have their two parts."""
  try:
    _ = params["cell"], params["readout"]
  except (IndexError, KeyError, TypeError) as error:
    names = list(params) if hasattr(params, "keys") else type(params)
    raise ValueError(
      f'params must be {{"cell": ..., "readout": ...}}, got {names}'
    ) from error


def batch_major_hint(batch: Batch, shape: tuple[int, ...]) -> str:
  """What to add to a message about targets of a wrong shape; may be empty."""
  if len(np.shape(batch.us)) != 3:
    return ""
  num_steps, size = batch.us.shape[:2]
  told = f"; us are [T, B, M] with T = {num_steps}, B = {size}"
  if shape[:1] == (num_steps,) or shape[:2] == (size, num_steps):
    told += (
      f", targets have {shape[0]}: did you pass batch-major input?"
      " `Batch.from_batch_major` takes it"
    )
  return told
