"""`GradientWatch`: reports along training."""

from collections.abc import Callable, Iterator
from typing import Any

from steadygrad import _validate
from steadygrad.reports._report import Report, reporter
from steadygrad.types import PyTree


class GradientWatch:
  """A report every so many updates of a loop of your own.

  Args:
    loss_fn: as `gradient_report` takes it.
    every: updates between two reports.
    loss: as `gradient_report` takes it.
    names: as `gradient_report` takes them.
    time_axis: as `gradient_report` takes it.

  `watch(step, params, batch)` gives a `Report` at step 0, `every`, 2 `every`,
  and None between; `reports` has all so far, by step. For `runs.train` there is
  `on_check`; then `reports` has them by (run, step).

  Raises:
    ValueError: unless `every` is an integer of at least 1.
  """

  def __init__(
    self, loss_fn, every: int, *, loss=None, names=None, time_axis=None
  ):
    _validate.check_integer("every", every)
    self.every = every
    self.reports: dict[Any, Report] = {}
    self._report = reporter(loss_fn, loss, names, time_axis)

  def __call__(self, step: int, params: PyTree, batch: PyTree) -> Report | None:
    if step % self.every:
      return None
    self.reports[step] = self._report(params, batch)
    return self.reports[step]

  def on_check(self, batch: PyTree) -> Callable[[Any], None]:
    """A function for `on_check` of `runs.train`: reports of each run.

    One at the first check from each multiple of `every` on: `every` counts
    updates, or passes over music and text.

    Args:
      batch: of which all reports are.

    Raises:
      ValueError: if it is an iterator, which the first report would use up.
    """
    if isinstance(batch, Iterator):
      raise ValueError(
        "batch must be one batch, of which all reports are, got an iterator"
      )
    latest: dict[str, int] = {}

    def hook(check) -> None:
      run = check["run"]
      step = check["update"] if "update" in check else check["epoch"]
      due = step // self.every
      if due > latest.get(run, 0):
        latest[run] = due
        self.reports[run, step] = self._report(check.params, batch)

    return hook
