"""Configurations on a command line: a flag for each of their fields.

The one module below `runs` that knows absl.
"""

import importlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from steadygrad import options
from steadygrad.tasks import TASKS, register_task
from steadygrad.training.config import (
  Algorithm,
  Config,
  CorpusConfig,
  Network,
  Seeds,
  TaskConfig,
  fitting,
)

flags.disclaim_key_flags()  # A flag is of the module that calls `define_flags`.

_DEFINE = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_bool,
  str: flags.DEFINE_string,
}
_KINDS = (TaskConfig, CorpusConfig)
_ONE_SEED = ("seeds", "first_seed")
# Headings of --help, and whose fields stand under each.
GROUPS = {
  "Network": Network,
  "Algorithm": Algorithm,
  "Seeds": Seeds,
  "Runs on a task": TaskConfig,
  "Runs on music and text": CorpusConfig,
}


def fields() -> dict[str, Any]:
  """The fields of all configurations, by name."""
  return dict(options.fields(CorpusConfig)) | dict(options.fields(TaskConfig))


def define_flags(
  flag_values: flags.FlagValues = flags.FLAGS, *, several: bool = False
) -> None:
  """One absl flag for each field of a configuration; None if not given.

  Their modules, for absl, are the `GROUPS`.

  Args:
    flag_values: where they are defined.
    several: whether a flag takes several values, with commas.
  """
  for name, field in fields().items():
    text, choices = field.metadata["help"], field.metadata["choices"]
    if choices:
      text = f"{text} One of: {', '.join(choices)}."
    if several and name not in _ONE_SEED:
      text = f"{text} One value, or several with commas."
    text = f"{text} {_defaults(name)}"
    define = flags.DEFINE_string
    if not several:
      define = _DEFINE[field.metadata["kind"]]
    group = next(
      g for g, part in GROUPS.items() if name in options.fields(part)
    )
    define(name, None, text, flag_values=flag_values, module_name=group)


def _defaults(name: str) -> str:
  """Such as "Default 50, with --data 300"."""
  found = [options.fields(k).get(name) for k in _KINDS]
  task, data = [f and f.default for f in found]
  if found[1] is None:
    return "" if task is None else f"Default {task}."
  if found[0] is None:
    return "With --data." if data is None else f"With --data; default {data}."
  if task is None:  # The help says it.
    return "" if data is None else f"With --data {data}."
  other = f", with --data {data}" if task != data else ""
  return f"Default {task}{other}."


def from_flags(
  values: flags.FlagValues,
  defaults: Callable[[str, str], dict[str, Any]],
  base: dict[str, Any] | None = None,
) -> Config:
  """The configuration on the command line.

  Args:
    values: the flags of `define_flags`.
    defaults: (data, algorithm) -> values of a `CorpusConfig` that no flag
      gives.
    base: of a configuration in a file; flags go before its values.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  given = _given(values)
  kind = kind_of({**(base or {}), **given})
  check_fields(given, kind)
  if kind is TaskConfig:
    if "task" in given:
      given["task"] = task_of(given["task"])
    return TaskConfig(**(base or {}) | given)
  if base is not None:
    return CorpusConfig(**base | given)
  chosen = CorpusConfig(**given)  # Names and values are checked first.
  preset = fitting(defaults(chosen.data, chosen.algorithm), given)
  return CorpusConfig(**preset | given)


def lists_from_flags(values: flags.FlagValues) -> dict[str, list]:
  """{field: values} of the flags that were given, each with several.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  given = _given(values)
  kind = kind_of(given)
  check_fields(given, kind)
  found = {
    name: [parse(options.fields(kind)[name], word) for word in text.split(",")]
    for name, text in given.items()
  }
  if "task" in found:
    found["task"] = [task_of(word) for word in found["task"]]
  return found


def _given(values: flags.FlagValues) -> dict[str, Any]:
  """The flags of fields that are on the command line."""
  return {n: values[n].value for n in fields() if values[n].value is not None}


def kind_of(given: dict[str, Any]) -> type:
  """The kind of configuration that has these fields.

  Raises:
    ValueError: if there are a task and a data set.
  """
  if given.get("data") is None:
    return TaskConfig
  if given.get("task") is not None:
    raise ValueError(
      f"task must not be given with data, got {given['task']} and"
      f" {given['data']}"
    )
  return CorpusConfig


def check_fields(given: dict[str, Any], kind: type) -> None:
  """ValueError for a field that this kind of configuration has not."""
  for name, value in given.items():
    if name not in options.fields(kind):
      other = "without" if kind is CorpusConfig else "with"
      raise ValueError(f"{name} is for runs {other} --data, got {value}")


def task_of(word: str) -> str:
  """The name of a task; "module:function" registers that function first.

  Raises:
    ValueError: if there is no such function, or its name is another task's.
  """
  module, colon, function = word.partition(":")
  if not colon:
    return word
  try:
    factory = getattr(_module(module), function)
    if TASKS.get(function) is not factory:
      register_task(function, factory)
  except (ImportError, AttributeError, ValueError) as e:
    raise ValueError(
      f"task must be a name or module:function that can be imported, got"
      f" {word}: {e}"
    ) from e
  return function


def _module(name: str) -> types.ModuleType:
  """A module that can be imported, or lies where the command is given.

  One of the second kind that imports its neighbours wants PYTHONPATH=. for it.
  """
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError:
    path = pathlib.Path(f"{name.replace('.', '/')}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
      raise
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module


def parse(field: Any, word: str) -> Any:
  """A field's value from one word of a command line.

  Raises:
    ValueError: naming the field, if it is of another kind.
  """
  kind, word = field.metadata["kind"], word.strip()
  if field.default is None and word.lower() == "none":
    return None
  try:
    if kind is bool:
      return {"true": True, "false": False}[word.lower()]
    return kind(word)
  except (ValueError, KeyError):
    raise ValueError(
      f"{field.name} must be {options.KINDS[kind]}, got {word!r}"
    ) from None


def integers(name: str, words: Sequence[int | str], low: int = 1) -> list[int]:
  """The integers of a flag that takes a list of them.

  Raises:
    ValueError: if there is none, or a word is not one of low to 2^31 - 1.
  """
  if not words:
    raise ValueError(f"{name} must be at least one integer, got none")
  try:
    found = [int(word) for word in words]
  except ValueError:
    raise ValueError(
      f"{name} must be integers, got {','.join(map(str, words))}"
    ) from None
  for number in found:
    if not low <= number <= options.INT32:
      raise ValueError(
        f"{name} must be at least {low} and at most {options.INT32}, got"
        f" {number}"
      )
  return found
