"""Draws the benchmark's rows: time of an update against T, N and S."""

import pathlib

from steadygrad.figures.labels import METHODS
from steadygrad.plots import style
from steadygrad.plots.style import plt

_AXES = (
  ("length", "T (steps)"),
  ("units", "N (units)"),
  ("seeds", "S (seeds)"),
)
STYLES = {
  "steadygrad": ("black", "o", "-"),
  "naive_jax": ("tab:orange", "s", "--"),
  "flax_rnn": ("tab:blue", "^", "-."),
  "torch_rnn": ("tab:red", "D", ":"),
}


def draw(rows: list[dict], path: str | pathlib.Path) -> None:
  """Writes the picture.

  Args:
    rows: of `benchmarks.update`.
    path: of the PNG.
  """
  algorithms = [a for a in METHODS if _of(rows, a)]
  figure, axes = plt.subplots(
    len(algorithms),
    len(_AXES),
    figsize=(7.2, 2.1 * len(algorithms) + 0.5),
    sharey="row",
    squeeze=False,
  )
  for line, algorithm in zip(axes, algorithms, strict=True):
    for axis, (name, label) in zip(line, _AXES, strict=True):
      _panel(axis, _of(rows, algorithm), name)
      axis.set_xlabel(label, fontsize=8)
    line[0].set_ylabel(
      f"{METHODS[algorithm]}\nms per update of all seeds", fontsize=8
    )
  axes[0, 0].legend(fontsize=7, frameon=False)
  platform = rows[0]["platform"]
  figure.suptitle(
    f"One update, sampling and optimiser included ({platform}); one size varied"
    " at a time; bars: slowest and fastest round",
    fontsize=8,
  )
  figure.tight_layout()
  style.save(figure, path, 140)


def _of(rows: list[dict], algorithm: str) -> list[dict]:
  return [r for r in rows if r["algorithm"] == algorithm]


def _panel(axis, rows: list[dict], name: str) -> None:
  """Time against one size, the others where most rows have them."""
  others = [n for n, _ in _AXES if n != name]
  sizes = [tuple(r[o] for o in others) for r in rows]
  centre = max(set(sizes), key=sizes.count)
  at_centre = [r for r, s in zip(rows, sizes, strict=True) if s == centre]
  for implementation, (colour, marker, dashes) in STYLES.items():
    chosen = sorted(
      (r for r in at_centre if r["implementation"] == implementation),
      key=lambda r: r[name],
    )
    if not chosen:
      continue
    times = [1e3 * r["seeds"] / r["run_updates_per_second"] for r in chosen]
    low = [
      t - 1e3 * min(r["rounds"]) for t, r in zip(times, chosen, strict=True)
    ]
    high = [
      1e3 * max(r["rounds"]) - t for t, r in zip(times, chosen, strict=True)
    ]
    axis.errorbar(
      [r[name] for r in chosen],
      times,
      yerr=[[max(x, 0) for x in low], [max(x, 0) for x in high]],
      color=colour,
      marker=marker,
      ls=dashes,
      ms=3,
      lw=1,
      elinewidth=0.7,
      label=implementation,
    )
  axis.set_xscale("log")
  axis.set_yscale("log")
  measured = sorted({r[name] for r in at_centre})
  axis.set_xticks(measured, [f"{x:g}" for x in measured])
  axis.minorticks_off()
  axis.tick_params(labelsize=7)
  axis.spines[["top", "right"]].set_visible(False)
  text = ", ".join(
    f"{o[0].upper() if o != 'length' else 'T'} {v}".replace("U ", "N ")
    for o, v in zip(others, centre, strict=True)
  )
  axis.set_title(text, fontsize=7)
