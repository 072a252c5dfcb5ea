"""SIGINT and SIGTERM: answered at once, and the state saved.

Python runs its signal handlers in the main thread, between two instructions of
Python. A main thread that waits for a device or for the compiler runs none for
as long as that takes. So here a thread of its own reads the signals' numbers
from a socket, which the handlers of the C library fill, and answers.
"""

import _thread
import contextlib
import math
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from tqdm import tqdm

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUS = 130  # Of a process that was told to stop.
# What comes so soon again is the same signal: timeout(1) and others send one to
# a process and to its group.
SAME_SECONDS = 0.25
# How long the main thread has to remove its temporary files, once it is told.
GRACE_SECONDS = 0.5


class Stopped(Exception):
  """The process was told to stop, and has saved its state."""


def begin() -> None:
  """From here on a stop signal ends the process: a sentence, status 130.

  A loop that can stop by itself says so with `stopping`. Call it once, in the
  main thread, before the imports that take seconds.
  """
  global _watch
  if _watch is None:
    _watch = _Watch().__enter__()


def end() -> None:
  """From here on stop signals change nothing: the process is about to end.

  Python would put back the handlers that kill it, while it clears up. Where a
  signal ends the process, it ends here: threads that wait for a device do not
  survive it that Python clears up.
  """
  if _watch is None:
    return
  for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  if _watch.ending:
    with contextlib.suppress(OSError, ValueError):
      sys.stdout.flush()
    os._exit(STATUS)


@contextlib.contextmanager
def stopping(tell: Callable[[], tuple[str, str]]) -> Iterator[list[str]]:
  """The first stop signal asks a loop to stop, the second ends the process.

  Without `begin` signals are answered for as long as the context is open. In
  any thread but the main one, which cannot set handlers, without `begin` they
  are not.

  Args:
    tell: called at the first signal, in another thread: (when the loop will
      stop, from where a process that is ended now would go on), for instance
      ("at the end of this chunk, in about 5 s", "update 300").

  Yields:
    A list to which the first signal's name is appended.
  """
  received: list[str] = []
  with contextlib.ExitStack() as stack:
    watch = _watch
    if watch is None:
      if threading.current_thread() is not threading.main_thread():
        yield received
        return
      watch = stack.enter_context(_Watch())
    watch.loop = received, tell
    try:
      yield received
    finally:
      watch.loop = None


class _Watch:
  """Handlers for the stop signals, and the thread that answers them."""

  def __init__(self):
    self.loop: tuple[list[str], Callable[[], tuple[str, str]]] | None = None
    self.ending = False
    self._last: tuple[int, float] = 0, -math.inf

  def __enter__(self):
    reader, self._writer = socket.socketpair()
    self._writer.setblocking(False)
    self._old = {s: signal.signal(s, self._handle) for s in SIGNALS}
    self._old_fd = signal.set_wakeup_fd(
      self._writer.fileno(), warn_on_full_buffer=False
    )
    threading.Thread(target=self._answer, args=(reader,), daemon=True).start()
    return self

  def __exit__(self, *_):
    signal.set_wakeup_fd(self._old_fd)
    for number, handler in self._old.items():
      signal.signal(number, handler)
    self._writer.close()  # The thread reads the end, and is over.

  def _handle(self, *_) -> None:
    """In the main thread, which removes its temporary files on the way out."""
    if self.ending:
      raise SystemExit(STATUS)

  def _answer(self, reader: socket.socket) -> None:
    with reader:
      while number := reader.recv(1):
        if number[0] in SIGNALS:
          self._take(number[0])

  def _take(self, number: int) -> None:
    now, (last, at) = time.monotonic(), self._last
    self._last = number, now
    if number == last and now - at < SAME_SECONDS:
      return
    name, loop = signal.Signals(number).name, self.loop
    if loop is None:
      say(f"stopped by {name}; the same command goes on from what is saved")
      self._end(number)
    received, tell = loop
    when, since = tell()
    if received:
      say(f"{name}: stopped now; the same command goes on from {since}")
      self._end(number)
    received.append(name)
    say(
      f"{name}: stopping {when}; once more stops now, and loses the work since"
      f" {since}"
    )

  def _end(self, number: int) -> NoReturn:
    self.ending = True
    # The exit may begin in a callback of the garbage collector, which can only
    # report it; the process ends all the same.
    sys.unraisablehook = lambda _: None
    main = threading.main_thread()
    if hasattr(signal, "pthread_kill"):  # Wakes it from a wait, too.
      signal.pthread_kill(main.ident or 0, number)
    else:
      _thread.interrupt_main(signal.Signals(number))
    time.sleep(GRACE_SECONDS)
    os._exit(STATUS)


_watch: _Watch | None = None


def say(text: object) -> None:
  """A line on standard error, after the program's name; not into a bar."""
  with contextlib.suppress(OSError, ValueError):  # Nobody reads it any more.
    tqdm.write(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.stderr.flush()
