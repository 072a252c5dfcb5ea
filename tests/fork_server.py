"""Runs launchers in children of one process that has imported what they need.

A launch takes seconds, most of them for imports; a fork takes none of them. As
a process of its own each line of its input is a request, the JSON of

  argv   launcher and arguments
  cwd    where it runs
  full   name of a file that finds no room on the disk, * of all, or None

and each line of its output the answer: status, out, err, and how many programs
were compiled.
"""

import contextlib
import errno
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Server:
  """The process, from the outside."""

  def __init__(self):
    import pytest

    if not hasattr(os, "fork"):
      pytest.skip("this system has no fork")
    paths = os.pathsep.join(map(str, (ROOT / "src", ROOT / "experiments")))
    self._process = subprocess.Popen(
      [sys.executable, str(pathlib.Path(__file__))],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {"PYTHONPATH": paths},
    )

  def launch(self, script: str, *words: str, cwd, full: str | None = None):
    """(exit status, standard output, standard error, programs compiled)."""
    argv = [str(ROOT / "experiments" / script), *words]
    request = {"argv": argv, "cwd": str(cwd), "full": full}
    self._process.stdin.write(f"{json.dumps(request)}\n")
    self._process.stdin.flush()
    return tuple(json.loads(self._process.stdout.readline()))

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def _preload() -> None:
  """Imports all that launchers import but the launchers, which define flags."""
  import analyses  # noqa: F401
  import matplotlib.pyplot  # noqa: F401

  import steadygrad.evaluations.lengths  # noqa: F401
  import steadygrad.evaluations.samples  # noqa: F401
  import steadygrad.figures.tables  # noqa: F401
  import steadygrad.runs.running  # noqa: F401


def _child(request: dict, where: str) -> int:
  """Exit status of a launcher, in a process of its own."""
  import jax

  from steadygrad import files

  compiled = os.open(f"{where}/compiled", os.O_CREAT | os.O_WRONLY)

  def count(event, *_, **__):
    if "backend_compile" in event:
      os.write(compiled, b".")

  jax.monitoring.register_event_duration_secs_listener(count)
  write_whole = files.write_whole

  def full(path, data, **through):
    if request["full"] in ("*", pathlib.Path(path).name):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    write_whole(path, data, **through)

  files.write_whole = full
  os.chdir(request["cwd"])
  sys.argv = request["argv"]
  for number, name in ((1, "out"), (2, "err")):
    opened = os.open(f"{where}/{name}", os.O_CREAT | os.O_WRONLY)
    os.dup2(opened, number)
  try:
    runpy.run_path(sys.argv[0], run_name="__main__")
  except SystemExit as e:
    if isinstance(e.code, str):  # As Python does.
      print(e.code, file=sys.stderr)
    return int(e.code is not None) if not isinstance(e.code, int) else e.code
  except BaseException:
    traceback.print_exc()
    return 1
  return 0


def _serve() -> None:
  _preload()
  warnings.simplefilter("ignore")  # JAX does not like forks; none runs yet.
  for line in sys.stdin:
    request = json.loads(line)
    with tempfile.TemporaryDirectory() as where:
      if not (child := os.fork()):
        status = 1
        with contextlib.suppress(BaseException):
          status = _child(request, where)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
      status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
      told = [
        pathlib.Path(where, name).read_text()
        for name in ("out", "err", "compiled")
      ]
    print(json.dumps([status, *told[:2], len(told[2])]), flush=True)


if __name__ == "__main__":
  _serve()
