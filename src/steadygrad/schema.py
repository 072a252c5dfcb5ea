"""What a file of JSON must hold, and a sentence where it holds another thing.

A schema is

  a type           dict, list, str, bool, int, or float for any number, which
                   "inf", "-inf" and "nan" are too
  {key: schema}    a dict with these keys at least; {str: schema} is of all the
                   other keys
  [schema]         a list of one or more
  (schema, ...)    one of them
  anything else    this very value
"""

import pathlib
from typing import Any, NamedTuple

_WORDS = {
  dict: "an object",
  list: "a list",
  str: "a text",
  bool: "true or false",
  int: "an integer",
  float: "a number",
  None: "null",
}
_NOT_FINITE = ("inf", "-inf", "nan")
_MISSING = object()


class _Misfit(NamedTuple):
  place: str
  schema: Any
  value: Any


def check(value: Any, schema: Any, path: str | pathlib.Path) -> None:
  """Compares what a file holds with a schema.

  Raises:
    ValueError: naming the file, the place in it and what is expected there.
  """
  if found := _misfit(value, schema, ""):
    at = f" at {found.place}" if found.place else ""
    raise ValueError(
      f"{path} must hold {_told(found.schema)}{at}, got {_short(found.value)}"
    )


def _misfit(value: Any, schema: Any, place: str) -> _Misfit | None:
  """The first thing that does not fit."""
  if isinstance(schema, tuple):
    fits = any(_misfit(value, one, place) is None for one in schema)
    return None if fits else _Misfit(place, schema, value)
  if isinstance(schema, dict) and isinstance(value, dict):
    named = [key for key in schema if key is not str]
    inner = [(key, value.get(key, _MISSING), schema[key]) for key in named]
    if str in schema:
      others = sorted(value.keys() - schema.keys())
      inner += [(key, value[key], schema[str]) for key in others]
  elif isinstance(schema, list) and isinstance(value, list) and value:
    inner = [(i, x, schema[0]) for i, x in enumerate(value)]
  else:
    return None if _is(value, schema) else _Misfit(place, schema, value)
  for key, x, one in inner:
    if found := _misfit(x, one, f"{place}.{key}".lstrip(".")):
      return found
  return None


def _is(value: Any, schema: Any) -> bool:
  if schema is float:
    return type(value) in (int, float) or value in _NOT_FINITE
  if isinstance(schema, type):
    return type(value) is schema  # True is no integer.
  return type(value) is type(schema) and value == schema


def _told(schema: Any) -> str:
  if isinstance(schema, tuple):
    return " or ".join(map(_told, schema))
  if isinstance(schema, dict):
    return _WORDS[dict]
  if isinstance(schema, list):
    return "a list of one or more"
  if schema is None or isinstance(schema, type):
    return _WORDS[schema]
  return repr(schema)


def _short(value: Any) -> str:
  if value is _MISSING:
    return "nothing"
  if isinstance(value, (dict, list)):
    return _WORDS[type(value)] if value else f"{_WORDS[type(value)]}, empty"
  return repr(value)[:80]
