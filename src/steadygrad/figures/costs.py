"""Tables and a picture of what updates cost, from rows of benchmark.py."""

import pathlib

import numpy as np

from steadygrad.figures import tables
from steadygrad.plots import style

_NAMES = {"elman": "Elman", "lstm": "LSTM", "transformer": "transformer"}


def checkpointing(rows: list[list[dict]]) -> str:
  """Memory and time of an update with all states kept, and with some.

  A row for each network, length, and whether Ω reads the states. Time is a
  ratio of medians of turns taken in turn.
  """
  header = ["network", "T", "Ω", "all kept (MiB)", "some kept (MiB)"]
  header += ["memory", "time"]
  table = []
  for kept, some in _pairs(rows):
    ratio = np.median(np.array(some["seconds"]) / np.array(kept["seconds"]))
    table.append(
      [
        _NAMES[kept["model"]],
        str(kept["length"]),
        "yes" if kept["omega"] else "no",
        f"{kept['mib']:.1f}",
        f"{some['mib']:.1f}",
        f"× {some['mib'] / kept['mib']:.2f}",
        f"× {ratio:.1f}",
      ]
    )
  return tables.markdown(header, table)


def draw_checkpointing(
  rows: list[list[dict]], path: str | pathlib.Path
) -> None:
  """Memory against length, both axes logarithmic; without Ω and with it."""
  figure, axes = style.new(2.1, 1, 2, sharey=True)
  for axis, omega in zip(axes, (False, True), strict=True):
    pairs = [p for p in _pairs(rows) if p[0]["omega"] == omega]
    names = list(dict.fromkeys(kept["model"] for kept, _ in pairs))
    for name in names:
      look = style.LINES[list(_NAMES).index(name)]
      own = [p for p in pairs if p[0]["model"] == name]
      lengths = [kept["length"] for kept, _ in own]
      for index, marker in ((0, "o"), (1, "s")):
        axis.plot(
          lengths,
          [pair[index]["mib"] for pair in own],
          color=look["color"],
          ls=("-", ":")[index],
          marker=marker,
          ms=2.5,
          label=f"{_NAMES[name]}, {('all', 'some')[index]} kept",
        )
    axis.set_title("with $\\Omega$" if omega else "without $\\Omega$")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("length $T$ (steps)")
  axes[0].set_ylabel("memory of an update (MiB)")
  handles, labels = axes[0].get_legend_handles_labels()
  figure.legend(
    handles, labels, loc="outside lower center", ncols=2, fontsize=6
  )
  style.clean(*axes)
  style.save(figure, path)


def networks(rows: list[list[dict]]) -> str:
  """Parameters, time and memory of an update: a row for each network."""
  header = ["network", "T", "N", "parameters", "ms an update", "MiB"]
  table = []
  for row in (r for each in rows for r in each):
    ms = 1000 * np.array(row["seconds"])
    table.append(
      [
        row["model"],
        str(row["length"]),
        str(row["units"]),
        str(row["parameters"]),
        f"{np.median(ms):.2f} ({ms.min():.2f} to {ms.max():.2f})",
        f"{row['mib']:.2f}",
      ]
    )
  return tables.markdown(header, table)


def _pairs(rows: list[list[dict]]) -> list[tuple[dict, dict]]:
  """(all states kept, some kept) of each size."""
  flat = [row for each in rows for row in each]
  return list(zip(flat[::2], flat[1::2], strict=True))
