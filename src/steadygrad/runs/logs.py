"""What is measured while runs go on, as a file of comma-separated values."""

import csv
import pathlib
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
    with lock, open(path, "a", newline="") as file:
      writer = csv.writer(file)
      if not file.tell():
        writer.writerow(COLUMNS)
      for name, value in sorted(values.items()):
        writer.writerow((info["run"], step, name, value))

  return on_check
