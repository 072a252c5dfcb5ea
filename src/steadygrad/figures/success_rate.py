"""Fig. 7: share of solved seeds against length, a panel for each start."""

from steadygrad.figures import groups
from steadygrad.figures.labels import INITS, METHODS
from steadygrad.plots import style


def draw(runs: list[dict], path) -> None:
  """Writes the picture; runs that have not ended are not in it.

  Raises:
    ValueError: if the runs differ in more than is drawn, see `by_start`.
  """
  starts = groups.by_start(runs)
  figure, axes = style.new(2.3, 1, len(starts), sharey=True, squeeze=False)
  lengths = sorted({n for points in starts.values() for _, n in points})
  for axis, (init, points) in zip(axes[0], starts.items(), strict=True):
    for number, method in enumerate(METHODS):
      found = [
        (length, *groups.solved(members), len(members))
        for (algorithm, length), members in points.items()
        if algorithm == method
      ]
      if found:
        _line(axis, number, METHODS[method], found)
    axis.set_title(INITS[init])
    axis.set_xticks(lengths)
    axis.tick_params(axis="x", labelsize=6)
    margin = 0.12 * max(lengths[-1] - lengths[0], 90)
    axis.set_xlim(lengths[0] - margin, lengths[-1] + margin)
    axis.set_xlabel("length (steps)")
    axis.set_ylim(-0.06, 1.06)
  axes[0, 0].set_ylabel("solved")
  axes[0, 0].yaxis.set_major_formatter("{x:.0%}")
  style.clean(*axes[0])
  seeds = f"{groups.sizes(starts)} seeds a point, 95 % intervals (Wilson)"
  figure.suptitle(groups.told(runs, seeds), fontsize=6)
  shown = {
    label: handle
    for axis in axes[0]
    for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
  }
  figure.legend(
    shown.values(), shown.keys(), loc="outside lower center", ncol=3
  )
  style.save(figure, path)


def _line(axis, number: int, name: str, found: list[tuple]) -> None:
  """A method's points, a little aside so that none hides another."""
  aside = 5 * (number - 1)
  lengths = [length + aside for length, *_ in found]
  rates = [number_solved / n for _, number_solved, _, _, n in found]
  lows = [r - low for r, (_, _, low, _, _) in zip(rates, found, strict=True)]
  highs = [high - r for r, (_, _, _, high, _) in zip(rates, found, strict=True)]
  axis.errorbar(
    lengths, rates, yerr=[lows, highs], label=name, elinewidth=0.6, capsize=1.5,
    ms=3, marker="os^"[number], **style.LINES[number],
  )  # fmt: skip
