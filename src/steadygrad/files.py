"""Files that are there whole or not at all."""

import contextlib
import errno
import os
import pathlib
import re
import tempfile

# Of a process that was killed while it wrote; the last two are the names that
# were in use before there was this module.
_LEFTOVER = re.compile(
  r"\.(?P<file>.+\.(json|npz|safetensors))"
  r"(\.[a-z0-9_]{8}\.tmp|[a-z0-9_]{8}|\.merging)"
)
# A directory that cannot be synced, as some network file systems have them.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)

PATH = "a path that is not empty, and whose ~ is somebody's home"


class InUse(ValueError):
  """Another process holds the directory."""


def expand(path: str | os.PathLike) -> pathlib.Path:
  """The path, with a home directory in place of a leading ~ or ~user.

  Shells do that for a word of its own, but not behind the = of --flag=~/there.
  A path that has been through here can go through once more.

  Raises:
    ValueError: if the path is empty, or there is no such home.
  """
  text = os.fspath(path)
  found = os.path.expanduser(text)
  if not text or found.startswith("~"):
    raise ValueError(f"path must be {PATH}, got {text!r}")
  path = pathlib.Path(found)
  # "./~" is a file's own name, which `Path` makes "~".
  return path.absolute() if str(path).startswith("~") else path


def read_whole(path: str | pathlib.Path) -> bytes:
  """What a file holds.

  Raises:
    ValueError: if it is a directory; what is there is wrong.
    OSError: if it cannot be read, FileNotFoundError for one; what is there may
      be right.
  """
  path = pathlib.Path(path)
  if path.is_dir():  # Systems differ in what reading one raises.
    raise ValueError(f"{path} must be a file, but is a directory")
  return path.read_bytes()


def write_whole(
  path: str | pathlib.Path,
  data: bytes,
  *,
  through: pathlib.Path | None = None,
) -> None:
  """Writes a file so that a reader finds the old one or the whole new one.

  So does a machine that has lost its power: the bytes are on the disk before
  the name is, and the name before this returns.

  Args:
    path: the file.
    data: what it is to hold.
    through: directory of the same disk in which the file is written before it
      gets its name; where it is gone by then, nothing is written.

  Raises:
    OSError: if it cannot be written; then the old file is as it was.
  """
  path = pathlib.Path(path)
  place = path.parent if through is None else through
  handle, temporary = tempfile.mkstemp(".tmp", f".{path.name}.", place)
  try:
    with os.fdopen(handle, "wb") as f:
      f.write(data)
      f.flush()
      os.fsync(f.fileno())
    os.chmod(temporary, 0o644)  # mkstemp gives it to its owner alone.
    os.replace(temporary, path)
  except BaseException as e:
    if isinstance(e, OSError) and e.filename is None:
      e.filename = os.fspath(path)  # The system names no file that is open.
    with contextlib.suppress(FileNotFoundError):  # With all of `through`.
      os.unlink(temporary)
    raise
  sync_directory(path.parent)


def sync_directory(directory: pathlib.Path) -> None:
  """Brings the names in a directory to the disk, where that can be done."""
  if os.name != "posix":
    return
  try:
    handle = os.open(directory, os.O_RDONLY)
    try:
      os.fsync(handle)
    finally:
      os.close(handle)
  except OSError as e:
    if e.errno not in _CANNOT_SYNC:
      raise


def remove_leftovers(
  directory: str | pathlib.Path, file: str | None = None
) -> None:
  """Removes what writers left that were killed.

  Args:
    directory: where they wrote, and nobody writes now.
    file: name of what they wrote; of any file if None.
  """
  for path in pathlib.Path(directory).glob(".*"):
    found = _LEFTOVER.fullmatch(path.name)
    if found and file in (None, found["file"]):
      path.unlink(missing_ok=True)


def set_aside(
  path: pathlib.Path, beside: pathlib.Path | None = None
) -> pathlib.Path:
  """Renames a damaged file to *.damaged, and a number if need be; its place.

  Args:
    path: the file.
    beside: where it stood, if it has been moved since.
  """
  beside = beside or path
  place, number = beside.with_suffix(".damaged"), 0
  while os.path.lexists(place):
    number += 1
    place = beside.with_suffix(f".damaged{number}")
  os.replace(path, place)
  return place
