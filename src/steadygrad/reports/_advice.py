"""Sentences about a report: each has the number that it comes from."""

from typing import Any

import jax
import numpy as np

from steadygrad.types import PyTree

# Flax's names of the bias of the gate that keeps the old state.
_GATES = {"hf": "LSTM", "iz": "GRU"}
_SMALL_BIAS = 0.5


def text(report: Any) -> str:
  """The report for a terminal."""
  width = max(len(layer.name) for layer in report.layers)
  lines = [f"loss {report.loss:.4g}, gradient norm {report.norms[0]:.3g}"]
  for layer in report.layers:
    lines.append(f"{layer.name:{width}s}  {_profile(layer)}{said(layer)}")
  if report.threshold is not None:
    told = report.threshold
    lines.append(
      f"norms of {len(report.norms)} batches: threshold {told.suggested:.3g}"
      f" ({told.low:.3g} to {told.high:.3g}), a {told.role}"
    )
  return "\n".join([*lines, *report.advice])


def _profile(layer: Any) -> str:
  """What reaches the first step, and the factor of a step."""
  if layer.verdict == "unread":
    return "the loss does not read its last step: "
  if layer.verdict == "unfed":
    return "no later step reads it: "
  first = layer.carried[np.argmax(layer.carried > 0)]
  ratio = layer.carried[-1] / first
  factor = np.exp(layer.slope)
  return (
    f"lag {layer.length - 1}: {ratio:8.1e} of the last step,"
    f" x {factor:.3g} a step, "
  )


def said(layer: Any) -> str:
  """The verdict in words, with its half-life or margin."""
  words = layer.verdict.upper()
  if layer.half_life is not None:
    words += f", half-life {layer.half_life:.1f} steps"
  if layer.verdict == "explodes":
    words += f", doubles {layer.margin:.1f} times"
  return words + " (borderline)" * layer.borderline


def advice(report: Any, params: PyTree) -> tuple[str, ...]:
  """What to try; nothing where nothing is known."""
  found = []
  lost = [x for x in report.layers if x.verdict == "vanishes"]
  if lost:
    worst = min(lost, key=lambda x: x.half_life)
    lost = ""
    if worst.reach is not None:
      lost = f"; float32 rounds away what lies more than {worst.reach} back"
    found.append(
      f"{worst.name} halves its signal in {worst.half_life:.1f} steps{lost}."
    )
    found += _about_gates(params) or [
      "Try a leaky unit whose 1 / alpha is the memory, a start near the"
      " identity, or Omega (add_omega_gradient with at=)."
    ]
  grown = [x for x in report.layers if x.verdict == "explodes"]
  if grown:
    worst = max(grown, key=lambda x: x.margin)
    found.append(
      f"{worst.name} doubles its signal {worst.margin:.1f} times over the"
      " sequence; clip the norm (clip_by_global_norm)."
    )
  return tuple(found)


def _about_gates(params: PyTree) -> list[str]:
  """Of a gate that starts by forgetting half of its state at each step."""
  found = {}
  for path, leaf in jax.tree.leaves_with_path(params):
    names = [str(getattr(k, "key", getattr(k, "name", k))) for k in path]
    gate = next((_GATES[n] for n in names if n in _GATES), None)
    if gate and "bias" in names and np.ndim(leaf) == 1:
      bias = float(np.mean(np.asarray(leaf)))
      found[gate] = min(bias, found.get(gate, bias))
  return [
    f"The bias of the {gate}'s gate that keeps the old state is {bias:.2g} in"
    " the mean; start it at 1, or at chrono for a memory of T steps."
    for gate, bias in found.items()
    if bias < _SMALL_BIAS
  ]
