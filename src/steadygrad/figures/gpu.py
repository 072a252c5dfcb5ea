"""Draws updates a second on a GPU, size by size, of every implementation."""

import pathlib

from steadygrad.figures.labels import METHODS
from steadygrad.figures.update_cost import STYLES
from steadygrad.plots import style
from steadygrad.plots.style import plt

_STYLES = {name: look[:2] for name, look in STYLES.items()} | {
  "steadygrad_tf32": ("grey", "o"),
  "xla_loop": ("tab:green", "v"),
  "naive_float32": ("tab:brown", "s"),
}


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture.

  Args:
    record: of `benchmark.py --of=gpu`.
    path: of the PNG.
  """
  rows = [
    row
    for row in record["sections"]["updates"]
    if "run_updates_per_second" in row
  ]
  sizes = list(dict.fromkeys(map(_size, rows)))
  figure, axis = plt.subplots(figsize=(7.2, 0.26 * len(sizes) + 1.3))
  for name, (colour, marker) in _STYLES.items():
    own = [row for row in rows if row["implementation"] == name]
    if own:
      axis.plot(
        [row["run_updates_per_second"] for row in own],
        [sizes.index(_size(row)) for row in own],
        marker,
        color=colour,
        ms=5,
        label=name,
      )
  axis.set_yticks(range(len(sizes)), list(map(_label, sizes)), fontsize=7)
  axis.invert_yaxis()
  axis.set_xscale("log")
  axis.set_xlabel("updates a second, of all seeds together", fontsize=8)
  axis.tick_params(labelsize=7)
  axis.grid(axis="x", lw=0.4, alpha=0.5)
  axis.spines[["top", "right"]].set_visible(False)
  axis.legend(fontsize=7, frameon=False, loc="lower left")
  origin = record["provenance"]
  figure.suptitle(
    f"{origin['device_kind']}, commit {origin['commit'][:7]}", fontsize=8
  )
  figure.tight_layout()
  style.save(figure, path, 140)


def _size(row: dict) -> tuple:
  return row["algorithm"], row["length"], row["units"], row["seeds"]


def _label(size: tuple) -> str:
  algorithm, length, units, seeds = size
  return f"{METHODS[algorithm]}, T {length}, N {units}, S {seeds}"
