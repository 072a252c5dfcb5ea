"""Checks of arguments, with one form of message: name, what is allowed, value.

Values are looked at only where they are concrete: what a traced one does is
documented where it is used. Nothing here compiles or runs a program.
"""

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad.types import Batch, PyTree


def is_concrete(*trees: PyTree) -> bool:
  """Whether no leaf is traced, so that values may be looked at."""
  leaves = jax.tree.leaves(trees)
  return not any(isinstance(x, jax.core.Tracer) for x in leaves)


def check_integer(name: str, value, least: int = 1) -> None:
  """ValueError unless a static count is an integer of at least `least`."""
  try:
    fits = not isinstance(value, bool | np.bool_)
    fits = fits and operator.index(value) >= least
  except (TypeError, jax.errors.ConcretizationTypeError):
    fits = False
  if not fits:
    raise ValueError(
      f"{name} must be an integer of at least {least}, got {value!r}"
    )


def check_number(
  name: str,
  value,
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
  if isinstance(value, jax.core.Tracer):
    return
  if not _is_real(value) or not _in_range(value, least, above, below, finite):
    allowed = "a finite number" if finite else "a number"
    if above is not None:
      allowed += f" above {above:g}"
    elif least is not None:
      allowed += f" of at least {least:g}" if least else " that is not negative"
    if below is not None:
      allowed += f" and below {below:g}"
    raise ValueError(f"{name} must be {allowed}, got {value!r}")


def _is_real(value) -> bool:
  """Whether a value is a real number, Python's, NumPy's or JAX's."""
  if isinstance(value, bool | np.bool_ | str | bytes | type(None)):
    return False
  if np.ndim(value) != 0:
    return False
  dtype = np.asarray(value).dtype
  return any(jnp.issubdtype(dtype, k) for k in (jnp.floating, jnp.integer))


def _in_range(value, least, above, below, finite) -> bool:
  number = float(value)
  return (
    not np.isnan(number)
    and not (finite and np.isinf(number))
    and (least is None or number >= least)
    and (above is None or number > above)
    and (below is None or number < below)
  )


def check_one_of(name: str, value, allowed: Sequence) -> None:
  """ValueError unless a value is among the allowed ones."""
  if not any(isinstance(value, type(x)) and value == x for x in allowed):
    names = " or ".join(repr(x).replace("'", '"') for x in allowed)
    raise ValueError(f"{name} must be {names}, got {value!r}")


def check_floating(name: str, dtype) -> None:
  """ValueError unless it names a real floating-point dtype."""
  try:
    fits = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
  except TypeError:
    fits = False
  if not fits or dtype is None:
    raise ValueError(f"{name} must be floating-point, got {dtype!r}")


def check_batch(batch) -> None:
  """ValueError unless it is a `Batch`."""
  if not isinstance(batch, Batch):
    raise ValueError(
      "batch must be a steadygrad.types.Batch(us, targets, lengths), got"
      f" {type(batch)}"
    )


def check_params(params) -> None:
  """ValueError unless a model's parameters have their two parts."""
  try:
    params["cell"], params["readout"]
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
