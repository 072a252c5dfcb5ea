"""Which of several processes has which run of a directory that they share.

  claims/<run>/<owner>/   a run that somebody has
  processes/<process>     a process that has runs; its time is its heartbeat

A claim is a directory in a directory. It is made elsewhere and renamed to its
place, which fails where there is one. It is taken over by renaming the inner
directory from the old owner's name to the new one's, which succeeds for one of
several. All that is written of a run is written in the inner directory first
and then renamed to its place: whoever has lost a run has no such directory any
more, and so writes nothing, at whatever moment it was stopped. That takes no
lock, and no clock but the file system's own.

A process is dead if its heartbeat is older than its lease; or, on the machine
of whoever asks, once the system has let go of the lock on its file. One that
was only frozen goes on with the runs that nobody took meanwhile.
"""

import contextlib
import errno
import functools
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import threading
import time
import uuid
from typing import NamedTuple

from steadygrad import files

try:
  import fcntl
except ModuleNotFoundError:  # On Windows the heartbeat alone tells.
  fcntl = None

CLAIMS, PROCESSES = "claims", "processes"
LEASE = 60.0  # Seconds without a heartbeat after which a process is dead.
BEATS = 6  # In a lease.
_SEEN_SECONDS = 1.0  # Who was alive is not asked again for so long.
_TRIES = 4  # At a claim that others take and release meanwhile.


class Lost(Exception):
  """Another process has taken the run over, and nothing was written."""


class Claim(NamedTuple):
  """A run that this process has, as long as nobody takes it over.

  Attributes:
    path: the inner directory.
  """

  path: pathlib.Path

  def held(self) -> bool:
    """Whether it still has it."""
    return self.path.is_dir()

  def write(self, path: pathlib.Path, data: bytes) -> None:
    """`files.write_whole`, for the owner alone.

    Raises:
      Lost: if another process has taken the run over.
      OSError: if it cannot be written.
    """
    with self._owned():
      files.write_whole(path, data, through=self.path)

  def set_aside(self, path: pathlib.Path) -> pathlib.Path:
    """`files.set_aside`, for the owner alone; raises as `write` does."""
    with self._owned():
      kept = self.path / path.name
      os.replace(path, kept)
      return files.set_aside(kept, path)

  @contextlib.contextmanager
  def _owned(self):
    try:
      yield
    except FileNotFoundError as e:
      if self.held():
        raise
      raise Lost(f"another process has taken {self.path.parent.name}") from e


class Claims:
  """The claims of a process; its methods may be called by several threads."""

  def __init__(
    self,
    home: str | pathlib.Path,
    *,
    lease: float = LEASE,
    beats: bool = True,
  ):
    """Nothing is written before the first run is taken.

    Args:
      home: the directory of runs.
      lease: seconds without a heartbeat after which the others may take this
        process's runs over.
      beats: whether a thread renews the heartbeat.
    """
    home = pathlib.Path(home)
    self._claims, self._processes = home / CLAIMS, home / PROCESSES
    node = re.sub(r"[^\w-]", "_", platform.node())[:40]
    self.process = f"{node}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    self._lease, self._beats = lease, beats
    self._numbers = itertools.count()
    self._spare: pathlib.Path | None = None
    self._handle: int | None = None
    self._lock, self._over = threading.RLock(), threading.Event()
    self._seen: dict[str, float] = {}
    self._mine: set[Claim] = set()

  def take(self, name: str) -> Claim | None:
    """The claim on a run; None if a process that is alive has it."""
    with self._lock:
      self._appear()
      self.beat()  # It may have been stopped since the last one.
      place = self._claims / name
      for _ in range(_TRIES):
        spare = self._prepared()
        own = Claim(place / spare.name)
        if _renamed(spare.parent, place, own.path):
          return self._note(own)
        if not spare.exists():  # Taken for dead, and swept away.
          self._spare = None
          continue
        try:
          (owner,) = os.listdir(place)
        except FileNotFoundError:  # Released; or there are no claims at all.
          self._claims.mkdir(exist_ok=True)
          continue
        except ValueError:  # Between the two steps of a release.
          with contextlib.suppress(OSError):
            os.rmdir(place)
          continue
        if self._alive(owner.partition(".")[0]):
          return None
        if _renamed(place / owner, own.path, own.path):
          # Of its owner, which cannot rename it to its place any more.
          _empty(own.path)
          return self._note(own)
      return None

  def _note(self, claim: Claim) -> Claim:
    self._spare = None
    self._mine.add(claim)
    return claim

  def release(self, claim: Claim) -> None:
    """Lets another process have the run; nothing, where one has taken it."""
    with self._lock:
      self._mine.discard(claim)
    _empty(claim.path)
    with contextlib.suppress(OSError):
      os.rmdir(claim.path)
      os.rmdir(claim.path.parent)

  def beat(self) -> float:
    """Renews the heartbeat; the file system's time."""
    path = self._processes / self.process
    try:
      os.utime(path)
      return os.stat(path).st_mtime
    except FileNotFoundError:  # Another process took this one for dead.
      self._appear(again=True)
      return os.stat(path).st_mtime

  def close(self) -> None:
    """Releases all runs; the process is no more."""
    with self._lock:
      for claim in list(self._mine):
        self.release(claim)
      self._over.set()
      if self._handle is None:
        return
      with contextlib.suppress(OSError):  # The disk may be away.
        self._clear_up()
        self._disappear(self.process)
      os.close(self._handle)
      self._handle = None
      for place in (self._claims, self._processes):
        with contextlib.suppress(OSError):  # Others have theirs in it.
          os.rmdir(place)

  def _appear(self, *, again: bool = False) -> None:
    """Says that this process is there, and sees to it that others know."""
    if self._handle is not None and not again:
      return
    path = self._processes / self.process
    about = {"machine": machine(), "lease": self._lease}
    handle = _born(path, json.dumps(about).encode())
    if self._handle is not None:
      os.close(self._handle)
    elif self._beats:
      threading.Thread(target=self._keep_beating, daemon=True).start()
    self._handle = handle
    self._clear_up()

  def _clear_up(self) -> None:
    """Removes what dead processes have left of themselves."""
    for other in os.listdir(self._processes):
      if "." not in other and not self._alive(other):
        self._disappear(other)

  def _keep_beating(self) -> None:
    while not self._over.wait(self._lease / BEATS):
      with contextlib.suppress(OSError), self._lock:
        if not self._over.is_set():
          self.beat()

  def _disappear(self, process: str) -> None:
    (self._processes / process).unlink(missing_ok=True)
    shutil.rmtree(self._processes / f"{process}.spare", ignore_errors=True)

  def _prepared(self) -> pathlib.Path:
    """The inner directory of a claim that is on no run yet."""
    if self._spare is None:
      place = self._processes / f"{self.process}.spare"
      spare = place / f"{self.process}.{next(self._numbers)}"
      shutil.rmtree(place, ignore_errors=True)
      spare.mkdir(parents=True)
      self._spare = spare
    return self._spare

  def _alive(self, process: str) -> bool:
    """Whether the owner of a claim is a process that is alive."""
    if process == self.process:
      return True
    if time.monotonic() - self._seen.get(process, -1e9) < _SEEN_SECONDS:
      return True
    # This process's own time first: if it is stopped between the two, others
    # look younger than they are, and no older.
    now, path = self.beat(), self._processes / process
    try:
      beaten = path.stat().st_mtime
      about = json.loads(path.read_bytes())
    except FileNotFoundError:
      return False
    except ValueError:  # Of a machine that has lost its power.
      about = {}
    if now - beaten > about.get("lease", LEASE):
      return False
    if about.get("machine") == machine() and _let_go(path):
      return False
    self._seen[process] = time.monotonic()
    return True


@functools.cache
def machine() -> str:
  """A name of this machine until it is started again."""
  try:
    found = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
  except OSError:  # Of other systems.
    found = str(uuid.getnode())
  return f"{platform.node()} {found}"


def _let_go(path: pathlib.Path) -> bool:
  """Whether no process of this machine holds the lock on a file."""
  if fcntl is None:
    return False
  try:
    handle = os.open(path, os.O_RDWR)
  except OSError:
    return False
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    return False
  finally:
    os.close(handle)
  return True


def _born(path: pathlib.Path, data: bytes) -> int:
  """Makes a file that is locked from its first moment; its handle."""
  unborn = path.with_name(f"{path.name}.new")
  for last in (False, False, True):
    path.parent.mkdir(exist_ok=True)
    try:
      handle = os.open(unborn, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o644)
      break
    except FileNotFoundError:  # The last of others has just removed it.
      if last:
        raise
  os.write(handle, data)
  if fcntl is not None:
    with contextlib.suppress(OSError):  # There are disks without locks.
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  os.replace(unborn, path)
  return handle


def _renamed(old: pathlib.Path, new: pathlib.Path, own: pathlib.Path) -> bool:
  """Renames a directory; whether it then is there as this process's own."""
  try:
    os.rename(old, new)
  except OSError as e:
    if e.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
      raise
    # A network file system may have done it and lost the answer.
    return e.errno == errno.ENOENT and own.is_dir()
  return True


def _empty(directory: pathlib.Path) -> None:
  """Removes the files of a directory."""
  with contextlib.suppress(FileNotFoundError):
    for name in os.listdir(directory):
      (directory / name).unlink(missing_ok=True)
