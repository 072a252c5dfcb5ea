"""A process that says what happened where its child dies in C++.

JAX ends a process of several in C++ when another one dies, in which Python has
no word. So one of several processes is the child of one that only
waits: it passes signals on, and the child's status. A child whose parent has
died ends as well.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from steadygrad.runs import hosts
from steadygrad.runs.signals import SIGNALS, say

STATUS = 75  # EX_TEMPFAIL: later the same command may do.
_PIPE = "STEADYGRAD_PARENT"  # Number of the pipe whose other end it holds.
_FLAG = "--distributed"
# How JAX ends a process; while threads of it still run, the second comes first.
_OF_JAX = (signal.SIGABRT, signal.SIGSEGV)


def wanted(argv: Sequence[str]) -> bool:
  """Whether a command is to run as a child, and does not yet."""
  if os.name != "posix" or _PIPE in os.environ:
    return False
  return _FLAG in argv or f"{_FLAG}=true" in argv


def run() -> int:
  """Runs the command of this process as a child; the status to end with."""
  reading, writing = os.pipe()
  child = subprocess.Popen(
    [sys.executable, *sys.orig_argv[1:]],
    pass_fds=[reading],
    env=os.environ | {_PIPE: str(reading)},
  )
  os.close(reading)
  for number in SIGNALS:
    signal.signal(number, lambda number, _: child.send_signal(number))
  status = child.wait()
  os.close(writing)
  if status >= 0:
    return status
  name = signal.Signals(-status).name
  if -status in _OF_JAX:
    say(f"ended by {name}: {hosts.ADVICE}")
  else:  # By a system that has no memory left, for one.
    say(f"ended by {name}. With the same commands the run goes on")
  return STATUS


def watch() -> None:
  """In a child: ends it when its parent has died."""
  pipe = os.environ.get(_PIPE)
  if pipe is None:
    return

  def wait():
    os.read(int(pipe), 1)
    os._exit(STATUS)

  threading.Thread(target=wait, daemon=True).start()
