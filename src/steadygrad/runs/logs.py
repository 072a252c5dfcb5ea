"""What is measured while runs go on, as a file of comma-separated values."""

import contextlib
import csv
import io
import os
import pathlib
import tempfile
import threading

from steadygrad.runs.queue import Check, OnCheck

COLUMNS = ("run", "step", "name", "value")
_CLOCKS = ("update", "epoch")


def csv_log(path: str | pathlib.Path) -> OnCheck:
  """Writes what is measured, for `on_check`, as it comes.

  A line is one number: the run, the update or pass, the number's name, its
  value. `pandas.read_csv(path).pivot_table(index=["run", "step"],
  columns="name", values="value")` makes a table of it. A run that was killed
  repeats what it had not saved: such lines stand twice, with equal values.

  Args:
    path: of the file; lines are added to one that is there.
  """
  path, lock = pathlib.Path(path), threading.Lock()

  def on_check(info: Check) -> None:
    step = next(info[clock] for clock in _CLOCKS if clock in info)
    values = {k: v for k, v in info.items() if k not in ("run", *_CLOCKS)}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for name, value in sorted(values.items()):
      writer.writerow((info["run"], step, name, value))
    # In one piece each, for other processes may add lines as well.
    with lock:
      if not path.exists():
        _begin(path)
      with open(path, "ab", buffering=0) as file:
        file.write(text.getvalue().encode())

  return on_check


def _begin(path: pathlib.Path) -> None:
  """Makes the file with its first line, where no other process has."""
  with tempfile.TemporaryDirectory(dir=path.parent, prefix=".log") as place:
    first = pathlib.Path(place, path.name)
    first.write_bytes(f"{','.join(COLUMNS)}\r\n".encode())
    with contextlib.suppress(FileExistsError):
      os.link(first, path)
