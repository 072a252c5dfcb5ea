"""What all launchers share: how they begin, what they print, how they end.

A launcher looks so:

  from steadygrad.runs import launch

  if __name__ == "__main__":
    launch.begin()  # Answers Ctrl-C while the rest is imported.

  import ...

  def main() -> dict:
    ...

  if __name__ == "__main__":
    launch.main(main)

Its last line on standard output is what `main` returns; all else that it says
goes to standard error. Its exit status is

  0    it has done what it was told to
  1    a mistake in the command, or a file that cannot be read or written
  75   not now: another process holds the directory, or one of several that make
       a run has died
  130  it was stopped by SIGINT or SIGTERM
"""

import contextlib
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Callable

from absl import app, logging

from steadygrad import files
from steadygrad.runs import commands, hosts, signals
from steadygrad.runs.signals import Stopped, say

# JAX is imported where it is used: `begin` comes before the second it takes.

MISTAKE = 1
IN_USE = 75  # EX_TEMPFAIL of sysexits.h: later the same command may do.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Packages that not every program needs, and the extra that has each.
_EXTRAS = {"matplotlib": "plots", "scipy": "data", "mido": "music"}
_HELP = ("--help", "-help", "-h", "--h")
_started = time.perf_counter()


def begin() -> None:
  """Begins a launcher: from here on stop signals are answered at once."""
  signals.begin()


def started() -> float:
  """`time.perf_counter()` when this module was imported."""
  return _started


def main(
  function: Callable[[], dict | str | None],
  *,
  about: str | None = None,
  several: str | None = None,
) -> None:
  """Parses the flags, calls `function`, and ends the process.

  Args:
    function: returns the last line on standard output, a dict as JSON. It
      raises ValueError for a mistake of the user.
    about: what --help begins with; the docstring of what runs if None.
    several: the launcher whose flags take several values, where this one's
      take one; told to who writes --learning_rate=1,0.1.
  """
  sys.stderr = _Tolerant(sys.stderr)
  app.run(
    lambda argv: _end(function, argv),
    flags_parser=lambda argv: _parse(argv, about, several),
  )


def missing(e: ModuleNotFoundError) -> str:
  """What to say of a package that is not installed; raises `e` of others."""
  package = (e.name or "").partition(".")[0]
  if package not in _EXTRAS:
    raise e
  extra = f"steadygrad[{_EXTRAS[package]}]"
  return f"{package} is not installed; pip install '{extra}' brings it"


def _parse(
  argv: list[str], about: str | None, several: str | None
) -> list[str]:
  """Arguments that are no flags; says what is wrong with the flags."""
  logging.set_verbosity(logging.WARNING)  # JAX tells of every absent backend.
  if any(word in _HELP for word in argv[1:]):
    about = about or sys.modules["__main__"].__doc__ or ""
    _print_last(commands.help_text(about))
    sys.exit(0)
  try:
    return commands.parse(argv, several)
  except SystemExit:  # --helpfull and its like have printed.
    _print_last("")
    sys.exit(0)
  except BrokenPipeError:
    _lose_stdout()
    sys.exit(0)
  except (ValueError, OSError) as e:
    say(e)
    sys.exit(MISTAKE)


def _end(function: Callable[[], dict | str | None], argv: list[str]) -> int:
  """Exit status; one of several processes does not wait when it has failed."""
  try:
    status = _call(function, argv)
  except Exception:
    if not _one_of_several():
      raise
    traceback.print_exc()
    status = MISTAKE
  if status and _one_of_several():  # JAX would wait for all to end well.
    with contextlib.suppress(OSError, ValueError):
      sys.stdout.flush()
    os._exit(status)
  return status


def _call(function: Callable[[], dict | str | None], argv: list[str]) -> int:
  """Exit status of a launcher; says in a sentence what went wrong."""
  try:
    if argv[1:]:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)  # absl has set it to INFO.
    told = function()
    _print_last(json.dumps(told) if isinstance(told, dict) else told)
  except Stopped as e:
    say(e)
    return signals.STATUS
  except KeyboardInterrupt:  # Where `begin` was not called.
    say("stopped by SIGINT; the same command goes on from what is saved")
    return signals.STATUS
  except (files.InUse, hosts.Gone) as e:
    say(e)
    return IN_USE
  except BrokenPipeError:  # Of a program that prints while it works.
    _lose_stdout()
    return MISTAKE
  except OSError as e:
    say(_of_files(e))
    return MISTAKE
  except (ValueError, MemoryError, ModuleNotFoundError) as e:
    say(_in_words(e))
    return MISTAKE
  except RuntimeError as e:
    return _of_jax(e)
  finally:
    signals.end()
  return 0


def _of_jax(e: RuntimeError) -> int:
  """Exit status; raises what is a bug."""
  first = str(e).partition("\n")[0]
  if "RESOURCE_EXHAUSTED" in str(e):
    say(f"out of memory: {first}")
    return MISTAKE
  if not _one_of_several() or type(e).__name__ != "JaxRuntimeError":
    raise e
  say(f"{first}: {hosts.ADVICE}")
  return IN_USE


def _in_words(e: ValueError | MemoryError | ModuleNotFoundError) -> object:
  if isinstance(e, ModuleNotFoundError):
    return missing(e)
  return f"out of memory: {e}" if isinstance(e, MemoryError) else e


def _of_files(e: OSError) -> str:
  """What to tell of a file that cannot be read or written."""
  advice = ""
  if e.errno in _FULL:
    advice = ". With room for it the same command goes on from what is saved"
  elif e.errno in _FORBIDDEN:
    advice = ". Give permission to write it, or name another place"
  return f"{e}{advice}"


def _print_last(text: str | None) -> None:
  """Prints a line on standard output, where there is one and a reader of it."""
  try:
    if text:
      print(text)
    sys.stdout.flush()
  except BrokenPipeError:
    _lose_stdout()


def _lose_stdout() -> None:
  """Nobody reads standard output; Python flushes it once more at its end."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Tolerant:
  """A text stream that drops what nobody can read any more."""

  def __init__(self, stream):
    self._stream = stream

  def write(self, text: str) -> int:
    with contextlib.suppress(OSError):
      self._stream.write(text)
    return len(text)

  def flush(self) -> None:
    with contextlib.suppress(OSError):
      self._stream.flush()

  def __getattr__(self, name: str):
    return getattr(self._stream, name)


def use_jax(*, all_cores: bool = True) -> None:
  """Prepares JAX for a launcher, before it is first used.

  Args:
    all_cores: whether every core is to be a device of its own.

  Raises:
    ValueError: if this is one of several processes of `jax.distributed`.
  """
  if all_cores:
    use_all_cores()
  use_compilation_cache()
  one_process()


def _one_of_several() -> bool:
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def one_process() -> None:
  """ValueError if this is one of several processes of `jax.distributed`."""
  import jax

  if jax.distributed.is_initialized() and jax.process_count() > 1:
    raise ValueError(
      f"a launcher must be a process of its own, got one of"
      f" {jax.process_count()} of jax.distributed; train.py has --distributed"
      " for several, and several of sweep.py share a directory"
    )


def cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS and Windows.
    return len(os.sched_getaffinity(0))
  return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def use_all_cores(devices: int | None = None) -> None:
  """Makes every core a JAX device of its own; before JAX is first used.

  Args:
    devices: how many; by default what $JAX_NUM_CPU_DEVICES says, or all cores
      that this process may use.
  """
  import jax

  devices = devices or int(os.environ.get("JAX_NUM_CPU_DEVICES") or 0)
  jax.config.update("jax_num_cpu_devices", devices or cores())
  # Each core has a network of its own: a product split over cores would only
  # make them wait for each other, and its bits depend on how it was split.
  options = os.environ.get("XLA_FLAGS", "")
  os.environ["XLA_FLAGS"] = f"{options} --xla_cpu_multi_thread_eigen=false"


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache directory."""
  import jax

  # Its attributes are made when JAX is imported, so that pyright sees none.
  if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(ValueError):  # A user without a home.
      path = files.expand(root) / "steadygrad" / "xla"
      jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def counted(count: int, thing: str) -> str:
  """Such as "1 seed" and "2 seeds"."""
  return f"{count} {thing}{'s' * (count != 1)}"


def in_words(devices) -> str:
  """Such as "2 CPU cores"."""
  cpu = devices[0].platform == "cpu"
  kind = "CPU core" if cpu else f"{devices[0].device_kind} device"
  return counted(len(devices), kind)
