"""What a profile of signals says: its slope, its half-life, a verdict.

A signal that the recursion multiplies by c at each step is a straight line of
slope ln c in ln |dE_T/dx_{T-lag}| against the lag. Over a sequence

  keeps      the line moves by less than a factor of 2
  vanishes   it falls by more
  explodes   it rises by more
  unread     there is none: the loss does not read what the scan ends with
  unfed      there is none one step back: the next step does not read this leaf

so that the bound on the slope is ln 2 / (T - 1).
"""

import math
from typing import NamedTuple

import numpy as np

from steadygrad.reports._units import Units

LEAST_NORMS = 20  # Fewer say nothing of a threshold, or of what stands out.
SPIKE = 7.0  # Standard deviations above the mean.
# Of float32: a part of a sum that is smaller than this is rounded away.
RESOLUTION = float(np.finfo(np.float32).eps)
_SMALLEST = 1e-35  # Norms below it have lost digits already.
_UNKNOWN = Units(*np.full(3, np.nan))


class Layer(NamedTuple):
  """One floating leaf of the carry of one scan.

  Attributes:
    name: of the scan, with the number of the leaf where it has several.
    length: T.
    signal: |dE/dx_{T-lag}|, by whatever path, a mean over sequences, [T].
    carried: what dE/dx_T becomes on its way back through the scan alone, [T].
    slope: of ln carried by lag, a mean over sequences, from the first lag on
      that has any (a leaf may be read one step later); -inf where it is zero
      again at once, inf where it overflows at once, NaN if unread.
    stderr: its standard error over sequences; NaN for one sequence.
    half_life: steps in which it halves; None unless it vanishes.
    reach: the first lag at which what is carried is under float32's resolution
      of the last step's; None if none is.
    verdict: "keeps", "vanishes", "explodes", "unread" or "unfed".
    margin: |slope| (T - 1) / ln 2: halvings or doublings over the sequence; 1
      is the bound.
    exponent: largest Lyapunov exponent of the scan over its own steps, of all
      its leaves together, a mean over sequences.
    borderline: whether the bound lies within two standard errors.
    over: "step", or "layer" of a scan over layers.
    still, dead, saturated: shares of units and values, see `_units.Units`;
      saturated is None where no range is known.
  """

  name: str
  length: int
  signal: np.ndarray
  carried: np.ndarray
  slope: float
  stderr: float
  half_life: float | None
  reach: int | None
  verdict: str
  margin: float
  exponent: float
  borderline: bool
  over: str
  still: float
  dead: float
  saturated: float | None


def slopes(norms: np.ndarray) -> np.ndarray:
  """Slope of ln norms [T, B] against the lag, by least squares, [B].

  From the first norm on that float32 holds, or the last of those that are equal
  to it (a state that is only held, beyond a length), to the last before one
  that float32 does not hold. Where that is one alone: inf if the next is not
  finite, else -inf. NaN where none is.
  """
  found = np.full(norms.shape[1], np.nan)
  for b, column in enumerate(norms.T):
    held = np.isfinite(column) & (column > _SMALLEST)
    if not held.any():
      if not np.isfinite(column).all():
        found[b] = np.inf
      continue
    first = int(np.argmax(held))
    same = np.flatnonzero(column[first:] != column[first])
    if len(same):
      first += int(same[0]) - 1
    lost = np.flatnonzero(~held[first:])
    kept = column[first : first + lost[0]] if len(lost) else column[first:]
    if len(kept) > 1:
      found[b] = np.polyfit(np.arange(len(kept)), np.log(kept), 1)[0]
    else:
      grows = len(lost) and not np.isfinite(column[first + lost[0]])
      found[b] = np.inf if grows else -np.inf
  return found


def layer(
  name: str,
  signal: np.ndarray,
  carried: np.ndarray,
  exponent: float,
  shares: Units = _UNKNOWN,
  over: str = "step",
) -> Layer:
  """What is said of one leaf.

  Args:
    name: of it.
    signal: norms by lag, [T, B].
    carried: the same, through the scan alone.
    exponent: of the scan.
    shares: of its units.
    over: what the scan goes over, see `Layer`.
  """
  signal, carried = (np.asarray(x, np.float64) for x in (signal, carried))
  length = len(carried)
  each = slopes(carried)
  each = each[~np.isnan(each)]  # Sequences whose end is read.
  slope = float(np.mean(each)) if len(each) else math.nan
  stderr = math.nan
  if len(each) > 1 and np.isfinite(each).all():
    stderr = float(np.std(each, ddof=1) / math.sqrt(len(each)))
  bound = math.log(2) / (length - 1)
  verdict = "keeps" if len(each) else "unread"
  if slope == -math.inf:
    verdict = "unfed"
  elif abs(slope) > bound:
    verdict = "vanishes" if slope < 0 else "explodes"
  mean = np.mean(np.where(np.isfinite(carried), carried, np.inf), 1)
  first = int(np.argmax(mean > 0))
  under = first + np.flatnonzero(mean[first:] < RESOLUTION * mean[first])
  return Layer(
    name=name,
    length=length,
    signal=signal.mean(1),
    carried=mean,
    slope=slope,
    stderr=stderr,
    half_life=math.log(2) / -slope if verdict == "vanishes" else None,
    reach=int(under[0]) if len(under) else None,
    verdict=verdict,
    margin=abs(slope) / bound,
    exponent=float(exponent),
    borderline=bool(abs(abs(slope) - bound) < 2 * stderr),
    over=over,
    still=float(shares.still),
    dead=float(shares.dead),
    saturated=None if np.isnan(shares.saturated) else float(shares.saturated),
  )


def spikes(norms: np.ndarray) -> list[int]:
  """Which norms [n] stand out, by number.

  Those that are not finite, and those more than 7 standard deviations above the
  mean of all before them that are no spikes, once these are 20. A standard
  deviation under a hundredth of the mean counts as that much: norms that are
  all but equal have no spikes.
  """
  found, before = [], []
  for i, norm in enumerate(norms):
    ready = len(before) >= LEAST_NORMS
    if not np.isfinite(norm) or (ready and norm > _highest(before)):
      found.append(i)
    else:
      before.append(norm)
  return found


def _highest(norms: list) -> float:
  """What a norm after these may be."""
  mean = np.mean(norms)
  return float(mean + SPIKE * max(np.std(norms, ddof=1), mean / 100))
