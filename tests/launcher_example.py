"""A launcher of a second: what `steadygrad.runs.launch` does, and no JAX."""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import errno
import sys
import time

from absl import flags

from steadygrad import files
from steadygrad.runs import commands, signals

_DO = flags.DEFINE_string("do", "end", "What it does.")
_PATH = commands.path_flag("run_dir", None, "A path.")
_PATHS = commands.paths_flag("sweeps", [], "Paths.")
flags.DEFINE_float("learning_rate", 0.01, "A number.")
flags.DEFINE_integer("first_seed", 0, "An integer.", lower_bound=0)
flags.DEFINE_integer("seeds", 4, "An integer.")
flags.DEFINE_enum("figure", "a", ["a", "b"], "A choice.")
flags.DEFINE_bool("progress", True, "Yes or no.")
RAISED = {
  "full": OSError(errno.ENOSPC, "No space left on device", "/there"),
  "quota": OSError(errno.EDQUOT, "Disk quota exceeded", "/there"),
  "read_only": OSError(errno.EROFS, "Read-only file system", "/there"),
  "forbidden": PermissionError(errno.EACCES, "Permission denied", "/there"),
  "directory": IsADirectoryError(errno.EISDIR, "Is a directory", "/there"),
  "in_use": files.InUse("run_dir /there is in use by another process"),
  "mistake": ValueError("length must be at least 10, got 9"),
  "memory": MemoryError("Unable to allocate 37 GiB"),
  "device": RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more"),
  "bug": RuntimeError("a bug"),
  "stopped": signals.Stopped("stopped at update 3"),
}


def loop(seconds: float) -> None:
  """Stops after so many seconds, if it was told to in the meantime."""
  with signals.stopping(lambda: ("in a while", "update 3")) as received:
    print("begun", file=sys.stderr, flush=True)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
      time.sleep(0.01)
      if received and _DO.value == "obedient":
        raise signals.Stopped(f"stopped by {received[0]} at update 3")


def main() -> dict:
  if _DO.value in RAISED:
    raise RAISED[_DO.value]
  if _DO.value in ("obedient", "deaf"):
    loop(60)
  if _DO.value == "sleeps":
    print("begun", file=sys.stderr, flush=True)
    time.sleep(60)
  print("told", file=sys.stderr)
  return {"run_dir": _PATH.value, "sweeps": _PATHS.value}


if __name__ == "__main__":
  launch.main(main, several="sweep.py")
