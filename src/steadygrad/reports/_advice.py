"""Sentences about a report: each has the number that it comes from."""

from typing import Any

import jax
import numpy as np

from steadygrad.types import PyTree

# Flax's names of the bias of the gate that keeps the old state.
_GATES = {"hf": "LSTM", "iz": "GRU"}
# NNX's layers that hold the biases of so many gates; the second one keeps.
_FUSED = {"dense_h": ("LSTM", 4), "dense_i": ("GRU", 3)}
_SMALL_BIAS = 1.5  # 1 is measured to be too little for 200 steps.


def text(report: Any) -> str:
  """The report for a terminal."""
  width = max((len(layer.name) for layer in report.layers), default=0)
  lines = [f"loss {report.loss:.4g}, gradient norm {report.norms[0]:.3g}"]
  for layer in report.layers:
    lines.append(f"{layer.name:{width}s}  {_profile(layer)}{said(layer)}")
  lines += [x for layer in report.layers if (x := about_units(layer))]
  lines += [about_input(one) for one in report.inputs]
  if len(report.norms) > 1:
    lines.append(about_norms(report))
  return "\n".join([*lines, *report.notes, *report.advice])


def _profile(layer: Any) -> str:
  """What reaches the first step, and the factor of a step."""
  if layer.verdict == "unread":
    return f"the loss does not read its last {layer.over}: "
  if layer.verdict == "unfed":
    return f"no later {layer.over} reads it: "
  first = layer.carried[np.argmax(layer.carried > 0)]
  ratio = layer.carried[-1] / first
  factor = np.exp(layer.slope)
  return (
    f"lag {layer.length - 1}: {ratio:8.1e} of the last {layer.over},"
    f" x {factor:.3g} a {layer.over}, "
  )


def said(layer: Any) -> str:
  """The verdict in words, with its half-life or margin."""
  words = layer.verdict.upper()
  if layer.half_life is not None:
    words += f", half-life {layer.half_life:.1f} {layer.over}s"
  if layer.verdict == "explodes":
    words += f", doubles {layer.margin:.1f} times"
  return words + " (borderline)" * layer.borderline


def about_units(layer: Any) -> str:
  """A sentence about units without use; "" where there are none."""
  parts = []
  if layer.still > 0:
    dead = f" ({_percent(layer.dead)} are always 0)" if layer.dead > 0 else ""
    parts.append(f"{_percent(layer.still)} of its units never move{dead}")
  if layer.saturated is not None and layer.saturated >= 0.01:
    share = _percent(layer.saturated)
    parts.append(f"{share} of its values are at an end of their range")
  return f"{layer.name}: {'; '.join(parts)}." if parts else ""


def _percent(share: float) -> str:
  return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def about_input(one: Any) -> str:
  """What reaches the first and the last position, and where most does."""
  most, last = int(np.argmax(one.signal)), len(one.signal) - 1
  ends = f"{one.signal[0]:.1e} at position 0, {one.signal[-1]:.1e} at {last}"
  if most not in (0, last):
    ends += f", most at {most}: {one.signal[most]:.1e}"
  return f"norm of dE/d({one.name}): {ends}"


def about_norms(report: Any) -> str:
  """Norms over batches, what stands out, and the threshold with its role."""
  norms = report.norms[np.isfinite(report.norms)]
  words = f"norms of {len(report.norms)} batches: "
  if len(norms):
    middle, high = np.quantile(norms, (0.5, 0.95))
    words += f"median {middle:.3g}, 95 % {high:.3g}, largest {norms.max():.3g}"
  if report.spikes:
    shown = ", ".join(map(str, report.spikes[:5]))
    more = ", ..." * (len(report.spikes) > 5)
    verb = "stands out" if len(report.spikes) == 1 else "stand out"
    words += f"; {len(report.spikes)} {verb} (batch {shown}{more})"
  if report.threshold is not None:
    told = report.threshold
    share = _percent(told.clipped_fraction)
    others = " of the others" if report.spikes else ""
    words += (
      f"; threshold {told.suggested:.3g} ({told.low:.3g} to {told.high:.3g}),"
      f" a {told.role}: it rescales {share}{others}"
    )
  return words


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
      f"{worst.name} halves its signal in {worst.half_life:.1f}"
      f" {worst.over}s{lost}."
    )
  if any(x.over == "step" for x in report.layers if x.verdict == "vanishes"):
    found += _about_gates(params) or [
      "Try a leaky unit whose 1 / alpha is the memory, a start near the"
      " identity, or Omega (add_omega_gradient with at=):"
      " docs/results/time_constant.md and identity_start.md."
    ]
  grown = [x for x in report.layers if x.verdict == "explodes"]
  if grown:
    worst = max(grown, key=lambda x: x.margin)
    whole = "sequence" if worst.over == "step" else "layers"
    found.append(
      f"{worst.name} doubles its signal {worst.margin:.1f} times over the"
      f" {whole}; clip the norm (clip_by_global_norm):"
      " docs/results/clipping.md."
    )
  return tuple(found)


def _about_gates(params: PyTree) -> list[str]:
  """Of a gate that starts by forgetting a quarter of its state, or more."""
  found = {}
  for gate, bias in _biases(params):
    mean = float(np.mean(np.asarray(bias)))
    found[gate] = min(mean, found.get(gate, mean))
  return [
    f"The bias of the {gate}'s gate that keeps the old state is {bias:.2g} in"
    " the mean; start it at chrono for a memory of T steps (1 is enough for 50"
    " and not for 200): docs/results/forget_bias.md."
    for gate, bias in found.items()
    if bias < _SMALL_BIAS
  ]


def _biases(params: PyTree) -> list[tuple[str, Any]]:
  """(LSTM or GRU, bias of its gate), in Flax linen and NNX."""
  leaves = {}
  for path, leaf in jax.tree.leaves_with_path(params):
    names = [str(getattr(k, "key", getattr(k, "name", k))) for k in path]
    # A state of NNX ends with .value.
    leaves[tuple(n for n in names if n != "value")] = leaf
  found = []
  for (*cell, layer, kind), leaf in (
    (path, leaf) for path, leaf in leaves.items() if len(path) > 1
  ):
    if kind != "bias" or np.ndim(leaf) != 1:
      continue
    if layer in _GATES:
      found.append((_GATES[layer], leaf))
    kernel = leaves.get((*cell, "dense_h", "kernel"))
    if layer in _FUSED and kernel is not None:
      gate, count = _FUSED[layer]
      if kernel.shape[1] == count * kernel.shape[0]:
        found.append((gate, np.split(np.asarray(leaf), count)[1]))
  return found
