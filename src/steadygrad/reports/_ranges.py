"""The range that a state cannot leave, read from how its next value is made."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend import core

from steadygrad.reports import _jaxprs

Range = tuple[float, float]


def _product(x: Range, y: Range) -> Range:
  ends = [a * b for a in x for b in y]
  return min(ends), max(ends)


def _union(*parts: Range) -> Range:
  return min(x[0] for x in parts), max(x[1] for x in parts)


_COMBINED = {
  "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
  "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
  "neg": lambda x: (-x[1], -x[0]),
  "mul": _product,
  "select_n": _union,
}

_OF = {"tanh": (-1.0, 1.0), "erf": (-1.0, 1.0), "logistic": (0.0, 1.0)}
# The same numbers, in another shape or type.
_SAME = (
  "convert_element_type", "copy", "broadcast_in_dim", "reshape", "squeeze",
  "slice", "transpose", "expand_dims",
)  # fmt: skip


def ranges(eqn) -> list[Range | None]:
  """For each state of a scan the range of its values; None if none is known.

  A state has one if it is made of tanh, erf or sigmoid by products, sums and
  choices: that of an Elman network, or an LSTM's output. It also has one if its
  next value lies in it whenever the last one did, as the mean of an old state
  and a tanh does: that of a GRU, or a leaky unit. Then its first value has to
  lie in it.
  """
  consts, carry, _ = _jaxprs.sizes(eqn)
  body = _jaxprs.flattened(_jaxprs.jaxprs_of(eqn)[0])
  before = body.inputs[consts : consts + carry]
  return [_of_state(body, i, before[i]) for i in _jaxprs.states_of(eqn, body)]


def _of_state(body: _jaxprs.Program, i: int, before: Any) -> Range | None:
  """The range of the carry's leaf i, whose last value is `before`."""
  needed = _jaxprs.needed(body, [body.outputs[i]])
  steps = [s for s, need in zip(body.steps, needed, strict=True) if need]
  if not any(s.eqn.primitive.name in _OF for s in steps):
    return None  # Such as a state that is only kept.
  makers = {name: step for step in steps for name in step.writes}
  for assumed in (None, (-1.0, 1.0), (0.0, 1.0)):
    known: dict[Any, Range | None] = {before: assumed}
    for step in steps:  # In the order in which they run.
      made = _made(step, makers, known)
      known.update(dict.fromkeys(step.writes, made))
    got = _range(body.outputs[i], known)
    if got and (assumed is None or _within(got, assumed)):
      return assumed or got
  return None


def _within(inner: Range, outer: Range) -> bool:
  slack = 1e-6  # Such as .9 + .1 in float32.
  return outer[0] - slack <= inner[0] and inner[1] <= outer[1] + slack


def _range(atom: Any, known: dict) -> Range | None:
  """The range of a value of a body: a name, or a literal."""
  if not isinstance(atom, core.Literal):
    return known.get(atom)
  value = np.asarray(atom.val)
  plain = value.ndim == 0 and np.isrealobj(value)
  return (float(value), float(value)) if plain else None


def _made(step: _jaxprs.Step, makers: dict, known: dict) -> Range | None:
  """The range of what an equation makes."""
  kind = step.eqn.primitive.name
  if kind in _OF:
    return _OF[kind]
  if kind not in _COMBINED and kind not in _SAME:
    return None
  if kind == "add" and (mean := _mean(step, makers, known)) is not None:
    return mean
  reads = step.reads[kind == "select_n" :]
  parts = [_range(atom, known) for atom in reads]
  if kind in _SAME:
    return parts[0]
  return _joint(_COMBINED[kind], parts)


def _joint(combine: Callable[..., Range], parts: list) -> Range | None:
  return None if None in parts else combine(*parts)


def _mean(step: _jaxprs.Step, makers: dict, known: dict) -> Range | None:
  """The range of z a + (1 - z) b or b + z (a - b) with z in [0, 1]."""

  def factors(atom, kind):
    maker = None if isinstance(atom, core.Literal) else makers.get(atom)
    return maker.reads if maker and maker.eqn.primitive.name == kind else []

  def is_share(atom):
    got = _range(atom, known)
    return got is not None and _within(got, (0.0, 1.0))

  def union(*atoms):
    return _joint(_union, [_range(atom, known) for atom in atoms])

  for one, two in (step.reads, step.reads[::-1]):
    for z, a in _both(factors(one, "mul")):
      for rest, b in _both(factors(two, "mul")):
        left = factors(rest, "sub")
        whole = bool(left) and _range(left[0], known) == (1.0, 1.0)
        if whole and left[1] is z and is_share(z):
          return union(a, b)
      if factors(a, "sub") and is_share(z) and factors(a, "sub")[1] is two:
        return union(factors(a, "sub")[0], two)
  return None


def _both(pair: list) -> list:
  return [pair, pair[::-1]] if pair else []
