"""Fields of a configuration: what each may hold, and the name they make.

A configuration is a frozen dataclass. Each field is an `option`, which states
its kind, its limits and its help; flags, checks and digests read them there.
"""

import dataclasses
import hashlib
import json
import math
import numbers
import operator
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

INT32 = 2**31 - 1  # Counters and sizes of compiled programs are int32.
KINDS = {
  int: "an integer",
  float: "a number",
  bool: "true or false",
  str: "a text",
}
_ACCEPTED: dict[type, Any] = {
  int: numbers.Integral,
  float: numbers.Real,
  bool: (bool, np.bool_),
  str: str,
}
# Python and NumPy count these among the integers.
_NO_NUMBERS: Any = (bool, np.timedelta64)
_FLOAT32 = np.finfo(np.float32)
_LIMITS = (
  ("low", "at least", operator.ge),
  ("above", "greater than", operator.gt),
  ("high", "at most", operator.le),
  ("under", "under", operator.lt),
)


def option(  # noqa: PLR0913, each is a word of the table that fields make
  default: Any,
  text: str,
  *,
  kind: type | None = None,
  choices: Iterable[str] | Container[str] | None = None,
  low: float | None = None,
  above: float | None = None,
  high: float | None = None,
  under: float | None = None,
  infinite: bool = False,
  later: bool = False,
  was: str | None = None,
  traced: bool = False,
  host: bool = False,
  unused_by: Sequence[str] = (),
  models: Sequence[str] = (),
) -> Any:
  """A field of a configuration.

  Args:
    default: its value if none is given. None makes the field optional.
    text: help of its flag.
    kind: int, float, bool or str; the default's type if None.
    choices: what a text may be. It is not copied: a name that is added to a
      dict after this call is a choice too.
    low: a number is >= low.
    above: a number is > above.
    high: a number is <= high; an integer is at most 2^31 - 1 if None.
    under: a number is < under.
    infinite: whether a number may be inf.
    later: whether configurations had names before there was this field. Then
      it is left out of the digest while it has its default.
    was: the name that it had before, under which digests and records of then
      have it.
    traced: whether it is an argument of the compiled program.
    host: whether the program does not depend on it at all: the host alone looks
      at it, or another program.
    unused_by: algorithms that do not look at it.
    models: models that look at it; all if empty.
  """
  kind = type(default) if kind is None else kind
  if kind not in KINDS:
    raise ValueError(f"kind must be int, float, bool or str, got {kind}")
  if kind is int and high is None:
    high = INT32
  limits = {"low": low, "above": above, "high": high, "under": under}
  about = {"help": text, "kind": kind, "choices": choices}
  about |= {"infinite": infinite, "later": later, "was": was}
  about |= {"traced": traced, "host": host, "unused_by": tuple(unused_by)}
  about |= {"models": tuple(models)}
  return dataclasses.field(default=default, metadata=about | limits)


def like(kind: type, name: str, default: Any = None, **about: Any) -> Any:
  """The field of a part of a configuration, with another default.

  Args:
    kind: the part, a dataclass.
    name: of the field.
    default: its default here; the same if None.
    **about: of the field's metadata, what is otherwise here.
  """
  field = fields(kind)[name]
  default = field.default if default is None else default
  return dataclasses.field(default=default, metadata=field.metadata | about)


def fields(config: Any) -> Mapping[str, dataclasses.Field]:
  """The fields of a configuration, or of its class, by name."""
  kind = config if isinstance(config, type) else type(config)
  return kind.__dataclass_fields__


def converted(name: str, value: Any, kind: type) -> Any:
  """A value as Python's own int, float, bool or str.

  NumPy's scalars become Python's, without rounding: np.float32(0.01) is
  0.009999999776482582, which is not 0.01. An integer is a number; 50.0 is no
  integer, True is neither, and 0 is not False. Arrays are none of these, those
  of JAX and traced ones included.

  Raises:
    ValueError: naming the value, if it is of another kind.
  """
  wrong = isinstance(value, _NO_NUMBERS) and kind in (int, float)
  if wrong or not isinstance(value, _ACCEPTED[kind]):
    array = hasattr(value, "ndim") and not isinstance(value, np.generic)
    words = KINDS[kind] + " that is no array" * array
    raise ValueError(f"{name} must be {words}, got {value!r}")
  if kind is str:
    return str.__str__(value)  # Plain, of a member of an enumeration too.
  if kind is not float:
    return kind(value)
  try:
    own = float(value) + 0.0  # -0.0 and 0.0 are one number, of one name.
  except OverflowError:
    raise _out_of_range(name, value) from None
  if math.isinf(own) and own != value:  # Of a type wider than Python's.
    raise _out_of_range(name, value)
  return own


def check_option(field: dataclasses.Field, value: Any) -> Any:
  """The value that a field holds: this one, as Python's own.

  Numbers are those of float32, in which programs compute: what it cannot tell
  from 0 or from inf is refused, as is a number that it rounds to a limit that
  is excluded.

  Raises:
    ValueError: naming the field, its value and what is allowed.
  """
  about, name = field.metadata, field.name
  if value is None and field.default is None:
    return None
  choices = about["choices"]
  if choices is not None and not (isinstance(value, str) and value in choices):
    raise ValueError(
      f"{name} must be one of {', '.join(choices)}; got {value!r}"
    )
  value = converted(name, value, about["kind"])
  if about["kind"] is str and not value:
    raise ValueError(f"{name} must not be empty, got {value!r}")
  if about["kind"] is int:
    _check_limits(name, value, about, _shown(value))
  if about["kind"] is float:
    rounded = _in_float32(name, value, about["infinite"])
    _check_limits(name, value, about, f"{value}")
    _check_limits(name, rounded, about, f"{value}, in float32 {rounded}")
  return value


def _in_float32(name: str, value: float, infinite: bool) -> float:
  """The value as float32 holds it."""
  if math.isnan(value):
    raise ValueError(f"{name} must be a number, got nan")
  if math.isinf(value):
    if not infinite:
      raise ValueError(f"{name} must be finite, got {value}")
    return value
  with np.errstate(all="ignore"):
    rounded = float(np.float32(value))
  # Processors may take what is under the smallest normal number for 0.
  if value and not _FLOAT32.tiny <= abs(rounded) <= _FLOAT32.max:
    raise _out_of_range(name, value)
  return rounded


def _out_of_range(name: str, value: Any) -> ValueError:
  return ValueError(
    f"{name} must be 0 or {_FLOAT32.tiny:.8g} to {_FLOAT32.max:.8g} in size,"
    f" the range of float32; got {_shown(value)}"
  )


def _check_limits(name: str, value: float, about, shown: str) -> None:
  for limit, words, holds in _LIMITS:
    bound = about[limit]
    if bound is not None and not holds(value, bound):
      raise ValueError(f"{name} must be {words} {bound}, got {shown}")


def _shown(value: Any) -> str:
  try:
    return str(value)
  except ValueError:  # Python does not write out more than 4300 digits.
    return "an integer of more than 4300 digits"


def check_fields(config: Any) -> None:
  """Checks every field of a new configuration and makes it Python's own.

  Raises:
    ValueError: see `check_option`.
  """
  for field in dataclasses.fields(config):
    value = check_option(field, getattr(config, field.name))
    object.__setattr__(config, field.name, value)  # The dataclass is frozen.


def replaced(config: Any, **changes: Any) -> Any:
  """`dataclasses.replace` without the checks, for values known to be allowed.

  It takes a twentieth of the time, which counts where a grid has thousands of
  seeds.
  """
  new = object.__new__(type(config))
  new.__dict__.update(config.__dict__ | changes)
  return new


def digest(config: Any) -> str:
  """Eight hexadecimal digits that name a configuration."""
  named = {
    field.metadata["was"] or field.name: value
    for field in dataclasses.fields(config)
    if (value := getattr(config, field.name)) != field.default
    or not field.metadata["later"]
  }
  text = json.dumps(named, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]
