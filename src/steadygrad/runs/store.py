"""One run, one file: its arrays, what is to be known of them, and its name.

The format is safetensors, which NumPy, JAX and torch read without pickle. Its
metadata has one entry, "run", the JSON of

  sha256   of the whole file, with 64 zeros where the digest stands
  name     of the run whose arrays these are
  meta     anything that JSON holds

so that no bit of a file can change without notice, and no file can pass for
that of another run. Files .npz of before are read as well.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np
import safetensors.numpy

from steadygrad import files, records
from steadygrad.runs.claims import Claim

try:
  import fcntl
except ModuleNotFoundError:  # On Windows a lock is of one process.
  fcntl = None

LOCK = ".lock"
_BLANK = "0" * 64


class Stored(NamedTuple):
  """What a file holds.

  Attributes:
    arrays: {name: array}.
    meta: as it was written.
    name: of the run; None in a file .npz, which has none.
  """

  arrays: dict[str, np.ndarray]
  meta: Any
  name: str | None


def write_arrays(
  path: str | pathlib.Path,
  arrays: dict[str, Any],
  meta: Any = None,
  *,
  name: str,
  claim: Claim | None = None,
) -> None:
  """Writes a file of arrays, whole or not at all.

  Args:
    path: *.safetensors.
    arrays: {name: array} of booleans, integers and floats.
    meta: anything that JSON holds.
    name: of the run.
    claim: on the run, where several processes may have it.

  Raises:
    Lost: if another process has taken the run over.
    ValueError: naming an array that the format cannot hold.
    OSError: if it cannot be written; then the old file is as it was.
  """
  arrays = {key: np.asarray(x, order="C") for key, x in arrays.items()}
  for key, x in arrays.items():
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
      raise ValueError(
        f"arrays must be booleans, integers or floats of at most 64 bits, got"
        f" {x.dtype} at {key}"
      )
  # The digest first, so that no name or number before it looks like it.
  run = {"sha256": _BLANK, "name": name, "meta": records.plain(meta)}
  text = json.dumps(run, allow_nan=False)
  data = safetensors.numpy.save(arrays, {"run": text})
  digest = hashlib.sha256(data).hexdigest()
  data = data.replace(_BLANK.encode(), digest.encode(), 1)
  (claim.write if claim else files.write_whole)(pathlib.Path(path), data)


def read_arrays(path: str | pathlib.Path, name: str | None = None) -> Stored:
  """Reads a file of `write_arrays`, or an .npz of before.

  Args:
    path: the file.
    name: of the run that it must be of, if given.

  Raises:
    ValueError: naming the file, if it is not as it was written or is of another
      run.
    OSError: if it cannot be read, FileNotFoundError if it is not there.
  """
  path = pathlib.Path(path)
  data = files.read_whole(path)
  read = _read_npz if path.suffix == ".npz" else _read_safetensors
  try:
    stored = read(data)
  except Exception as e:  # Each of the parsers raises its own.
    raise ValueError(f"{path} is damaged: {type(e).__name__}: {e}") from e
  if name is not None and stored.name not in (None, name):
    raise ValueError(f"{path} holds the run {stored.name}, not {name}")
  return stored


def _read_safetensors(data: bytes) -> Stored:
  size = int.from_bytes(data[:8], "little")
  header = json.loads(data[8 : 8 + size])
  run = json.loads(header["__metadata__"]["run"])
  place = data.index(run["sha256"].encode())
  found = hashlib.sha256(data[:place] + _BLANK.encode())
  found.update(memoryview(data)[place + len(_BLANK) :])
  if found.hexdigest() != run["sha256"]:
    raise ValueError("its sha256 does not match")
  return Stored(safetensors.numpy.load(data), run["meta"], run["name"])


def _read_npz(data: bytes) -> Stored:
  # The checksums of a zip do not cover its directory, where a flipped bit can
  # hide an array; their number stands in its last 22 bytes.
  with np.load(io.BytesIO(data), allow_pickle=False) as archive:
    arrays = {key: archive[key] for key in archive.files}
  if len(arrays) != int.from_bytes(data[-12:-10], "little"):
    raise ValueError(f"only {len(arrays)} of its arrays are found")
  return Stored(arrays, json.loads(str(arrays.pop("meta"))), None)


class _Shared:
  """A lock that others may share, but none that `lock` gives to one alone."""

  def __init__(self, path: pathlib.Path):
    assert fcntl is not None
    self.lock = self
    self._handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
      fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as e:
      self.release()
      raise filelock.Timeout(str(path)) from e
    except BaseException:
      self.release()
      raise

  def release(self) -> None:
    handle, self._handle = self._handle, -1
    if handle >= 0:
      os.close(handle)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.release()

  def __del__(self):
    with contextlib.suppress(AttributeError):
      self.release()


def lock(
  directory: str | pathlib.Path, what: str, *, shared: bool = False
) -> "filelock.AcquireReturnProxy | _Shared":
  """Makes a directory and holds it against other processes.

  Args:
    directory: where the file .lock is.
    what: name of the flag that has given it, for what is said.
    shared: whether other processes may share it.

  Returns:
    What holds the lock: until the end of a `with` statement, `.lock.release()`,
    the last reference to it, or the end of the process, killed or not.

  Raises:
    files.InUse: a ValueError naming flag and directory, if another process
      holds it.
    ValueError: likewise, if it cannot be written or locked.
  """
  path = files.expand(directory) / LOCK
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    if shared and fcntl is not None:
      return _Shared(path)
    return filelock.FileLock(path, thread_local=False).acquire(timeout=0)
  except filelock.Timeout as e:
    raise files.InUse(
      f"{what} {directory} is in use by another process; name another"
    ) from e
  except (OSError, NotImplementedError) as e:
    raise ValueError(
      f"{what} must be a directory that can be written and locked, got"
      f" {directory}: {e}"
    ) from e


def flatten(tree, name: str = "state") -> dict[str, np.ndarray]:
  """{name + path of the leaf: array}."""
  return {k: np.asarray(x) for k, x in leaves(tree, name).items()}


def leaves(tree, name: str = "state") -> dict[str, Any]:
  """{name + path of the leaf: leaf}, which may be abstract."""
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return {f"{name}{jax.tree_util.keystr(p)}": x for p, x in paths}


def unflatten(template, arrays: dict, name: str = "state"):
  """The tree that `flatten` took apart.

  Raises:
    ValueError: where an array is missing or not as in the template.
  """

  def pick(path, old):
    path = f"{name}{jax.tree_util.keystr(path)}"
    if path not in arrays:
      raise ValueError(f"the file holds no {path}")
    new = arrays[path]
    if new.shape != old.shape or new.dtype != old.dtype:
      raise ValueError(
        f"the file holds {new.dtype}{new.shape} at {path}, expected"
        f" {old.dtype}{old.shape}"
      )
    return new

  return jax.tree_util.tree_map_with_path(pick, template)
