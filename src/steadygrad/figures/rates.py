"""Share of solved seeds by learning rate: a panel for each optimiser."""

import pathlib

from steadygrad.figures import groups
from steadygrad.figures.labels import METHODS, OPTIMIZERS, label
from steadygrad.plots import style

_NAMES = {"msgd": "without clipping", "msgd_c": "clipping"}
_NAMES |= {"msgd_cr": "clipping and $\\Omega$"}
_MARKERS = dict(zip(METHODS, "os^", strict=True))


def draw(runs: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture.

  Raises:
    ValueError: if runs differ in more than optimiser, method, rate and seed.
  """
  groups.check_same(runs, ("optimizer", "algorithm", "learning_rate"))
  points = groups.by(runs, ("optimizer", "algorithm", "learning_rate"))
  optimizers = [o for o in OPTIMIZERS if any(o == k[0] for k in points)]
  figure, axes = style.new(2.0, 1, len(optimizers), sharey=True, squeeze=False)
  for axis, optimizer in zip(axes[0], optimizers, strict=True):
    for number, method in enumerate(METHODS):
      found = [
        (rate, members)
        for (o, m, rate), members in points.items()
        if (o, m) == (optimizer, method)
      ]
      if found:
        _line(axis, number - 1, method, found)
    axis.set_xscale("log")
    axis.set_ylim(-0.06, 1.06)
    axis.set_title(OPTIMIZERS[optimizer])
    axis.set_xlabel("learning rate")
  axes[0, 0].set_ylabel("solved")
  axes[0, 0].yaxis.set_major_formatter("{x:.0%}")
  handles = dict(
    zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True)
  )
  figure.legend(
    handles.values(), handles.keys(), loc="outside lower center", ncols=3
  )
  sizes = groups.span([len(m) for m in points.values()], "d")
  told = label(runs[0]["config"], ("model",))
  task = runs[0]["config"]["task"].replace("_", " ")
  length = label(runs[0]["config"], ("length",))
  figure.suptitle(
    f"{told}; {task}, {length} steps; cut at {groups.budget(runs)} updates;\n"
    f"{sizes} seeds a point, 95 % intervals (Wilson)",
    fontsize=6,
  )
  style.clean(*axes[0])
  style.save(figure, path)


def _line(axis, aside: int, method: str, found: list[tuple]) -> None:
  """A method's points, a little aside so that none hides another."""
  rates = [rate * 1.06**aside for rate, _ in found]
  shares, lows, highs = [], [], []
  for _, members in found:
    number, low, high = groups.solved(members)
    share = number / len(members)
    shares.append(share)
    lows.append(share - low)
    highs.append(high - share)
  look = style.LINES[list(METHODS).index(method)]
  axis.errorbar(
    rates,
    shares,
    yerr=[lows, highs],
    label=_NAMES[method],
    elinewidth=0.6,
    capsize=1.5,
    ms=3,
    marker=_MARKERS[method],
    **look,
  )
