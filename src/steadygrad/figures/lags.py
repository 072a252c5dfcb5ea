"""Error signals in the inputs by lag, before and after training: by network."""

import pathlib
import textwrap

import numpy as np

from steadygrad import records
from steadygrad.figures import groups, tables
from steadygrad.figures.labels import label
from steadygrad.plots import style

COLUMNS = 3
_METHOD = ("optimizer", "algorithm")
_FIELDS = ("model", "positions", "forget_bias", *_METHOD)
_WIDE = 26  # Letters of a line above a panel.
_SMALLEST = 1e-12  # Of the ordinate; what is smaller lies at its foot.
_LOOKS = {"start": style.LINES[1], "end": style.LINES[0]}
_NAMES = {"start": "before training", "end": "after it"}


def draw(record: dict, path: str | pathlib.Path) -> None:
  """Writes the picture of a record of kind "lags": a panel a network.

  A line is the median over seeds, of |dE/du_t| over that of the last step.
  """
  told = record["config"]
  everyone = list(record["runs"].values())
  settings = groups.by(everyone, _FIELDS)
  rows = -(-len(settings) // COLUMNS)
  # Told where they differ.
  found = {tuple(run["config"][f] for f in _METHOD) for run in everyone}
  methods = ("optimizer",) * (len(found) > 1)
  figure, axes = style.new(
    1.15 * rows + 0.55, rows, COLUMNS, sharex=True, sharey=True, squeeze=False
  )
  flat = axes.ravel()
  for axis, runs in zip(flat, settings.values(), strict=False):
    for when, look in _LOOKS.items():
      curve = profile(runs, when)
      axis.plot(np.arange(len(curve)), curve, **look)
    axis.set_title(_title(runs, ("model", *methods)), fontsize=5.5)
  for axis in flat[len(settings) :]:
    axis.axis("off")
  flat[0].set_yscale("log")
  flat[0].set_ylim(_SMALLEST, 1e4)
  flat[0].set_yticks([1e-10, 1e-5, 1])
  for axis in axes[-1]:
    axis.set_xlabel("lag (steps)", fontsize=6)
  figure.supylabel(
    r"$|\partial E/\partial u_{T-\mathrm{lag}}| \;/\;"
    r" |\partial E/\partial u_T|$",
    fontsize=7,
  )
  handles = [
    flat[0].plot([], [], **look, label=_NAMES[when])[0]
    for when, look in _LOOKS.items()
  ]
  length = told["max_length"] or told["length"]
  figure.suptitle(
    f"{told['task'].replace('_', ' ')}, {length} steps, {told['size']}"
    " sequences, median over seeds",
    fontsize=6,
  )
  figure.legend(handles=handles, loc="outside lower center", ncols=2)
  style.clean(*flat)
  style.save(figure, path)


def table(record: dict) -> str:
  """What reaches the first step, and the exponents: medians over seeds.

  A row for each network: |dE/du_1| over |dE/du_T|, and the largest Lyapunov
  exponent a step, before training and after it; of a transformer, the growth of
  ln |dE/dx| a layer.
  """
  everyone = list(record["runs"].values())
  header = ["network", "optimiser", "solved"]
  for what in ("signal at the first step", "Lyapunov exponent"):
    header += [f"{what}, before", "after"]
  rows = []
  for runs in groups.by(everyone, _FIELDS).values():
    config = runs[0]["config"]
    words = [label(config, ("model",)), label(config, ("optimizer",))]
    words.append(f"{sum(run['solved'] for run in runs)} of {len(runs)}")
    words += [_short(profile(runs, when)[-1]) for when in _LOOKS]
    for when in _LOOKS:
      found = records.numbers([run["exponent"][when] for run in runs])
      middle = np.median(found)
      layer = " a layer" * (config["model"] == "transformer")
      words.append("–" if np.isnan(middle) else f"{middle:.3f}{layer}")
    rows.append(words)
  return tables.markdown(header, rows)


def _short(ratio: float) -> str:
  """A ratio to two digits; what is under the picture's foot is told so."""
  return f"under {_SMALLEST:.0e}" if ratio <= _SMALLEST else f"{ratio:.1e}"


def _title(runs: list[dict], fields: tuple[str, ...]) -> str:
  """The network in at most two lines, and how many seeds solved."""
  name = textwrap.fill(label(runs[0]["config"], fields), _WIDE)
  solved = sum(run["solved"] for run in runs)
  return f"{name}\n{solved} of {len(runs)} solved"


def profile(runs: list[dict], when: str) -> np.ndarray:
  """Median over runs of the signal by lag, over that of the last step, [T]."""
  found = np.array([records.numbers(run["signals"][when]) for run in runs])
  with np.errstate(divide="ignore", invalid="ignore"):
    ratios = found / found[:, :1]
  return np.maximum(np.nanmedian(ratios, 0), _SMALLEST)
