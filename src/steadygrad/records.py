"""Results with their provenance: small JSON files that figures are drawn from.

A record is a dict with at least `kind`, `config` (everything that decides the
outcome), `results`, `curves` and `provenance` (when, where, how fast). All but
the last are a function of configuration, versions, device kind and number of
cores. JSON has no inf and NaN: they are written as "inf", "-inf" and "nan". A
file has the sha256 of what it holds, so that no number of a record can change
without notice; files of before have none.
"""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import subprocess
from typing import Any

import jax
import numpy as np

from steadygrad import files, schema

SIGNIFICANT_DIGITS = 6
_DIGEST = "sha256"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "steadygrad")


def plain(value: Any) -> Any:
  """Arrays, tuples, NumPy scalars and non-finite numbers as JSON can hold them.

  float32 numbers keep six significant digits.
  """
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(v) for v in value]
  if isinstance(value, (np.ndarray, jax.Array)):
    return (
      [plain(v) for v in np.asarray(value)]
      if value.ndim
      else plain(np.asarray(value)[()])
    )
  if isinstance(value, np.bool_):
    return bool(value)
  if isinstance(value, np.integer):
    return int(value)
  if isinstance(value, np.floating) and value.dtype == np.float32:
    value = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else str(float(value))
  return value


def numbers(values: Any) -> np.ndarray:
  """A curve of a record as float64, with "inf" and "nan" read back."""
  return np.asarray(values, dtype=object).astype(np.float64)


def provenance(command: str, devices) -> dict[str, Any]:
  """Versions, machine, commit and command of what is running now."""
  now = datetime.datetime.now(datetime.UTC)
  return {
    "command": command,
    "commit": _commit(),
    "date": now.isoformat(timespec="seconds"),
    "python": platform.python_version(),
    **machine(devices),
    "cores": os.cpu_count(),
  }


def machine(devices) -> dict[str, Any]:
  """What bits depend on besides a configuration: versions, kind, number."""
  versions = {}
  for name in PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = "not installed"
  return {
    "versions": versions,
    "device_kind": devices[0].device_kind,
    "device_platform": devices[0].platform,
    "devices": len(devices),
  }


def _commit() -> str:
  """Commit of the source, "-dirty" if it differs; "unknown" without git."""
  root = pathlib.Path(__file__).parent
  try:
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(
      [*git, "--abbrev=12", "--exclude=*"],
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return "unknown"
  return done.stdout.strip() or "unknown"


def write_json(path: str | pathlib.Path, value: Any) -> None:
  """Writes a file, whole or not at all; see `json_bytes`."""
  files.write_whole(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
  """What a file of JSON holds.

  Args:
    value: anything that `plain` makes JSON of. A dict gets a last entry
      "sha256", which `read_json` verifies and takes away.
  """
  value = plain(value)
  if isinstance(value, dict):
    value = {k: v for k, v in value.items() if k != _DIGEST}
    value |= {_DIGEST: _digest(value)}
  return f"{_format(value)}\n".encode()


def _digest(value: dict) -> str:
  """sha256 of a value, however its file is laid out."""
  return hashlib.sha256(_dump(value, sort_keys=True).encode()).hexdigest()


def _dump(value: Any, **options) -> str:
  return json.dumps(value, allow_nan=False, **options)


def _format(value: Any, indent: str = "") -> str:
  """JSON with a line for each entry of a dict, so that diffs can be read."""
  if not isinstance(value, dict) or not value:
    return _dump(value)
  deeper = indent + " "
  items = [
    f"{deeper}{_dump(k)}: {_format(v, deeper)}" for k, v in value.items()
  ]
  return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def read_json(path: str | pathlib.Path, like: Any = dict) -> Any:
  """Reads a file of `write_json`.

  Args:
    path: the file.
    like: what it must hold, see `schema`.

  Raises:
    ValueError: naming the file, if it is not JSON, holds something else, or is
      not as it was written.
    OSError: if it cannot be read, FileNotFoundError if it is not there.
  """
  text = files.read_whole(path)
  try:
    value = json.loads(text.decode(), parse_constant=_refuse)
    same = not isinstance(value, dict) or _verified(value)
  except (ValueError, RecursionError) as e:
    raise ValueError(f"{path} is not a whole JSON file: {e}") from e
  if not same:
    raise ValueError(
      f"{path} is damaged: its sha256 does not match what it holds"
    )
  schema.check(value, like, path)
  return value


def _refuse(word: str):
  raise ValueError(f"JSON has no {word}")


def _verified(value: dict) -> bool:
  """Takes the digest away; whether it is right. True where there is none."""
  if _DIGEST not in value:
    # A digest under another name: a bit of the name itself was flipped.
    texts = [v for v in value.values() if isinstance(v, str)]
    return not any(re.fullmatch("[0-9a-f]{64}", text) for text in texts)
  digest = value.pop(_DIGEST)
  return digest == _digest(value)
