"""Updates to solve against length: every seed a dot, cut runs shown as cut."""

import numpy as np

from steadygrad.figures import groups
from steadygrad.figures.labels import INITS, METHODS
from steadygrad.plots import style


def draw(runs: list[dict], path) -> None:
  """Writes the picture.

  Raises:
    ValueError: if the runs differ in more than is drawn, see `by_start`.
  """
  starts = groups.by_start(runs)
  figure, axes = style.new(
    1.2 * len(starts) + 0.9, len(starts), 1, sharex=True, sharey=True,
    squeeze=False,
  )  # fmt: skip
  axes = axes[:, 0]
  every = {key for points in starts.values() for key in points}
  lengths = sorted({length for _, length in every})
  for axis, (init, points) in zip(axes, starts.items(), strict=True):
    for (algorithm, length), members in points.items():
      number = [*METHODS].index(algorithm)
      at = lengths.index(length) + 0.28 * (number - 1)
      _column(axis, number, at, members)
    axis.set_yscale("log")
    style.letter(axis, INITS[init])
    axis.set_ylabel("updates to solve")
  axes[-1].set_xticks(range(len(lengths)), lengths)
  axes[-1].set_xlim(-0.5, len(lengths) - 0.5)
  axes[-1].set_xlabel("length (steps)")
  style.clean(*axes)
  seeds = f"{groups.sizes(starts)} seeds a column, bar: median of the solved"
  figure.suptitle(groups.told(runs, seeds), fontsize=6)
  for number, method in enumerate(METHODS):
    if any(algorithm == method for algorithm, _ in every):
      axes[0].plot(
        [], [], "os^"[number], color=style.LINES[number]["color"], ms=3,
        label=METHODS[method],
      )  # fmt: skip
  axes[0].plot([], [], "v", color="black", mfc="none", ms=3, label="cut")
  axes[0].plot([], [], "x", color="black", ms=3, label="diverged")
  figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=5,
    handletextpad=0.3, columnspacing=0.9,
  )  # fmt: skip
  style.save(figure, path)


def _column(axis, number: int, at: float, members) -> None:
  """The seeds of one method and length, in order, side by side."""
  colour = style.LINES[number]["color"]
  marks = {
    "solved": dict(marker="os^"[number], mfc=colour),
    "cut": dict(marker="v", mfc="none"),
    "diverged": dict(marker="x"),
  }
  ordered = sorted(members, key=lambda run: run["config"]["first_seed"])
  aside = np.linspace(-0.1, 0.1, len(ordered)) if len(ordered) > 1 else [0.0]
  for run, shift in zip(ordered, aside, strict=True):
    solved = run["outcome"] == "solved"
    height = run["updates_to_solve"] if solved else run["updates"]
    axis.plot(
      at + shift, height, ls="none", ms=2.5, mec=colour, mew=0.6,
      **marks[run["outcome"]],
    )  # fmt: skip
  if found := groups.updates_to_solve(members):
    median = np.median(found)
    axis.plot([at - 0.13, at + 0.13], [median, median], color=colour, lw=1.2)
