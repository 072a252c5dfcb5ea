"""A report as a picture, and as one page with the picture inside."""

import base64
import functools
import html as escape
from typing import Any

import numpy as np

from steadygrad.plots import style
from steadygrad.reports import _advice

_SMALLEST = 1e-12  # Of the ordinate.
_STYLE = """
body { font: 16px/1.5 serif; max-width: 46em; margin: 2em auto; padding: 0 1em;
  color: #111; background: #fff; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3em .6em; border-bottom: 1px solid #999; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; }
h2 { font-size: 1.1em; }
"""
_WORDS = """<h2>What the words mean</h2>
<ul>
<li>Layer: one array of what a scan carries; [0], [1] count its arrays.</li>
<li>Lag: how far back from the last step of that scan.</li>
<li>Slope: of ln |dE/dx| by lag, of the signal of the last step on its way back
through the recursion, with its standard error over sequences.</li>
<li>Keeps: the signal moves by less than a factor of 2 over the whole scan.
Vanishes: it falls by more. Explodes: it rises by more. Unread: the loss does
not read what the scan ends with. Unfed: no later step reads this array.</li>
<li>Half-life: in how many steps the signal halves.</li>
<li>Lost after: from which lag on float32 rounds the signal away.</li>
<li>Lyapunov: the growth of a small difference between two states, as ln of its
factor a step.</li></ul>
"""


def png(report: Any) -> bytes:
  """A panel for each layer and each input, and one for norms of batches."""
  draw = [
    *(functools.partial(_draw_layer, layer=x) for x in report.layers),
    *(functools.partial(_draw_input, one=x) for x in report.inputs),
  ]
  if len(report.norms) > 1:
    draw.append(functools.partial(_draw_norms, report=report))
  count = len(draw)
  figure, axes = style.new(1.6 * count + 0.3, count, squeeze=False)
  for axis, panel in zip(axes[:, 0], draw, strict=True):
    panel(axis)
  style.clean(*axes[:, 0])
  return style.png(figure, 200)


def _draw_layer(axis: Any, *, layer: Any) -> None:
  """What is left of the last step's signal, by lag."""
  lags = np.arange(layer.length)
  for curve, look, name in (
    (layer.carried, style.LINES[0], "back through the recursion"),
    (layer.signal, style.LINES[1], "by every path"),
  ):
    first = curve[np.argmax(curve > 0)] or 1.0
    shown = np.where(curve > _SMALLEST * first, curve / first, np.nan)
    axis.plot(lags, shown, label=name, **look)
  axis.set_yscale("log")
  axis.axhspan(0.5, 2, color=style.GREY, alpha=0.15, lw=0)
  axis.set_title(f"{layer.name}: {_advice.said(layer)}", fontsize=7)
  axis.set_ylabel(f"of the last {layer.over}'s", fontsize=7)
  axis.set_xlabel(
    f"lag ({layer.over}s); grey: within a factor of 2", fontsize=7
  )
  axis.locator_params(axis="x", integer=True)
  axis.legend(fontsize=6)


def _draw_input(axis: Any, *, one: Any) -> None:
  """|dE/du_t| by position."""
  shown = np.where(one.signal > 0, one.signal, np.nan)
  axis.plot(np.arange(len(one.signal)), shown, **style.LINES[0])
  if (one.signal > 0).any():
    axis.set_yscale("log")
  axis.set_title(f"norm of dE/d({one.name})", fontsize=7)
  axis.set_ylabel("mean over sequences", fontsize=7)
  axis.set_xlabel("position (steps from the first)", fontsize=7)
  axis.locator_params(axis="x", integer=True)


def _draw_norms(axis: Any, *, report: Any) -> None:
  """Norms of the gradient by batch, the threshold, and what stands out."""
  batches = np.arange(len(report.norms))
  norms = np.where(np.isfinite(report.norms), report.norms, np.nan)
  axis.plot(batches, norms, ".", ms=2, color=style.BLUE)
  far = [i for i in report.spikes if np.isfinite(report.norms[i])]
  if far:
    axis.plot(far, norms[far], "x", ms=4, color=style.RED, label="stands out")
    axis.legend(fontsize=6)
  if report.threshold is not None:
    style.level(axis, report.threshold.suggested, "threshold")
  if (norms > 0).any():
    axis.set_yscale("log")
  axis.set_title("norm of the gradient", fontsize=7)
  axis.set_xlabel("batch", fontsize=7)
  axis.locator_params(axis="x", integer=True)


def html(report: Any) -> bytes:
  """One file that needs no other."""
  picture = base64.b64encode(png(report)).decode()
  lines = [_advice.about_units(layer) for layer in report.layers]
  lines += [_advice.about_input(one) for one in report.inputs]
  if len(report.norms) > 1:
    lines.append(_advice.about_norms(report))
  lines += report.notes
  page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Gradient report</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head>
<body><h1>How far back gradients reach</h1>
<p>Loss {report.loss:.4g}; norm of the gradient {report.norms[0]:.3g}.</p>
{_table(report.layers)}{_listed("What to try", report.advice)}
{_listed("What was measured", [x for x in lines if x])}
<p><img alt="Signal by lag and by position, a panel for each layer and input"
src="data:image/png;base64,{picture}"></p>
{_WORDS if report.layers else ""}</body></html>
"""
  return page.encode()


def _table(layers: Any) -> str:
  if not layers:
    return ""
  rows = "".join(map(_row, layers))
  return f"""<table><tr><th>layer</th><th>verdict</th><th>slope</th>
<th>half-life</th><th>lost after</th><th>Lyapunov</th></tr>{rows}</table>"""


def _listed(title: str, lines: Any) -> str:
  items = "".join(f"<li>{escape.escape(x)}</li>" for x in lines)
  return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _row(layer: Any) -> str:
  over = f"{layer.over}s"
  half = "–" if layer.half_life is None else f"{layer.half_life:.1f} {over}"
  reach = "–" if layer.reach is None else f"{layer.reach} {over}"
  error = "" if np.isnan(layer.stderr) else f" ± {layer.stderr:.2g}"
  slope = f"{layer.slope:.3g}{error} a {layer.over}"
  cells = (
    "–" if np.isnan(layer.slope) else slope,
    half,
    reach,
    "–" if np.isnan(layer.exponent) else f"{layer.exponent:.3g}",
  )
  numbers = "".join(f'<td class="number">{c}</td>' for c in cells)
  verdict = layer.verdict + " (borderline)" * layer.borderline
  # A long name breaks between its parts.
  name = escape.escape(layer.name).replace("/", "/<wbr>")
  return f"<tr><td>{name}</td><td>{verdict}</td>{numbers}</tr>"
