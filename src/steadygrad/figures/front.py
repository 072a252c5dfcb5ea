"""The README's picture and table: what Omega and clipping do together."""

import numpy as np

from steadygrad import records
from steadygrad.figures import groups, tables
from steadygrad.figures.labels import label
from steadygrad.plots import style

_NAMES = {
  "msgd_cr": "clipping and $\\Omega$",
  "msgd_c": "clipping alone",
  "msgd": "neither",
}
# Solid for both, dashed for clipping alone, dotted for neither.
_LINES = dict(zip(_NAMES, style.LINES, strict=True))
_STARTS = ("basic_tanh", "smart_tanh")
_HEADER = ["task", "length (steps)", "solved with clipping and Ω"]
_HEADER += ["with clipping alone", "the paper, with both"]


def draw(found: tuple[list[dict], dict], path) -> None:
  """Writes the picture.

  Args:
    found: runs of Fig. 7, of which those from tanh starts are drawn, and the
      record of `analyse.py --analysis=training_dynamics`.
    path: of the PNG.

  Raises:
    ValueError: if the runs differ in more than start, method and length.
  """
  runs, watched = found
  figure, axes = style.new(2.35, 1, 2)
  figure.set_size_inches(2 * style.COLUMN, 2.35)
  _success(axes[0], [r for r in runs if r["config"]["init"] in _STARTS])
  _signals(axes[1], watched)
  style.clean(*axes)
  handles, names = axes[0].get_legend_handles_labels()
  figure.legend(handles, names, loc="outside lower center", ncol=3)
  style.save(figure, path)


def _success(axis, runs: list[dict]) -> None:
  groups.check_same(runs, ("init", "algorithm", "length"))
  points: dict[tuple, list] = {}
  for run in runs:
    key = run["config"]["algorithm"], run["config"]["length"]
    points.setdefault(key, []).append(run)
  for number, (method, line) in enumerate(_LINES.items()):
    found = [
      (length, *groups.solved(members), len(members))
      for (algorithm, length), members in sorted(points.items())
      if algorithm == method
    ]
    shares = np.array([[n / m, low, high] for _, n, low, high, m in found]).T
    axis.errorbar(
      # A little aside, so that none hides another.
      [length + 4 * (number - 1) for length, *_ in found],
      shares[0], yerr=[shares[0] - shares[1], shares[2] - shares[0]],
      label=_NAMES[method], elinewidth=0.7, capsize=2, ms=4,
      marker="os^"[number], **line,
    )  # fmt: skip
  axis.set_xticks(sorted({length for _, length in points}))
  axis.set_ylim(-0.05, 1.05)
  axis.yaxis.set_major_formatter("{x:.0%}")
  axis.set_xlabel("length of the sequences (steps)")
  axis.set_ylabel("networks that solve it")
  seeds = groups.span([len(members) for members in points.values()], "d")
  axis.set_title(f"Temporal order, {seeds} networks a point")


def _signals(axis, record: dict) -> None:
  curves, config = record["curves"], record["config"]
  for method in ("msgd_cr", "msgd_c"):
    norms = records.numbers(curves[method]["delta_norms"])[-1]
    lags = np.arange(len(norms)) * config["lags_every"]
    axis.plot(
      lags, norms, ms=4, marker="os^"[list(_NAMES).index(method)],
      **_LINES[method],
    )  # fmt: skip
  axis.set_yscale("log")
  axis.set_xlabel("steps back from the answer, $k$")
  axis.set_ylabel(r"$|dE/dx_{T-k}|$")
  updates = curves["update"][-1]
  axis.set_title(f"Error signal after {updates} updates, one network each")


def table(runs: list[dict]) -> str:
  """A row for each of the paper's tasks, in Markdown.

  Of a task's settings the one with the longest sequences, one network for many
  lengths before one length; of several the one that solves the largest share,
  in the fewest updates. Beside it the same setting without Omega.
  """
  found = groups.by(runs, groups.SETTINGS)
  settings = [dict(zip(groups.SETTINGS, key, strict=True)) for key in found]
  pairs = list(zip(settings, found.values(), strict=True))
  rows = []
  for task, paper in tables.PAPER.items():
    own = [
      (config, members)
      for config, members in pairs
      if config["task"] == task
      and config["algorithm"] == "msgd_cr"
      and config["solved_below"] is None
    ]
    config, members = max(own, key=_preference)
    without = [m for c, m in pairs if _is_without_omega(c, config)]
    rows.append(
      [
        task.replace("_", " "),
        label(config, ("length",)),
        _share(members),
        _share(without[0]) if without else "not run",
        paper,
      ]
    )
  return tables.markdown(_HEADER, rows)


def _preference(pair: tuple[dict, list[dict]]):
  config, members = pair
  number, *_ = groups.solved(members)
  updates = groups.updates_to_solve(members) or [np.inf]
  return (
    config["max_length"] or config["length"],
    config["max_length"] is not None,
    number / len(members),
    -np.median(updates),
  )


def _is_without_omega(config: dict, other: dict) -> bool:
  same = other | {"algorithm": "msgd_c", "omega_weight": config["omega_weight"]}
  return config == same


def _share(runs: list[dict]) -> str:
  number, low, high = groups.solved(runs)
  return f"{number} of {len(runs)} ({low:.0%} to {high:.0%})"
