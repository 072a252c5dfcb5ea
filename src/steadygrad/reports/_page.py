"""A report as a picture, and as one page with the picture inside."""

import base64
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
td.number { font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
"""


def png(report: Any) -> bytes:
  """|dE/dx| by lag: a panel for each layer."""
  count = len(report.layers)
  figure, axes = style.new(1.5 * count + 0.5, count, squeeze=False)
  for axis, layer in zip(axes[:, 0], report.layers, strict=True):
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
    axis.set_ylabel("of the last step's", fontsize=7)
  axes[-1, 0].set_xlabel("lag (steps); grey: within a factor of 2")
  axes[0, 0].legend(fontsize=6)
  style.clean(*axes[:, 0])
  return style.png(figure, 200)


def html(report: Any) -> bytes:
  """One file that needs no other."""
  picture = base64.b64encode(png(report)).decode()
  rows = "".join(_row(layer) for layer in report.layers)
  advice = "".join(f"<li>{escape.escape(x)}</li>" for x in report.advice)
  norms = ""
  if report.threshold is not None:
    told = report.threshold
    norms = (
      f"<p>Norms of {len(report.norms)} batches: threshold"
      f" {told.suggested:.3g} ({told.low:.3g} to {told.high:.3g}), a"
      f" {escape.escape(told.role)}.</p>"
    )
  page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Gradient report</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head>
<body><h1>How far back gradients reach</h1>
<p>Loss {report.loss:.4g}; norm of the gradient {report.norms[0]:.3g}.</p>
<table><tr><th>layer</th><th>verdict</th><th>slope a step</th>
<th>half-life</th><th>lost after</th><th>Lyapunov</th></tr>{rows}</table>
<p><img alt="Signal by lag, a panel for each layer"
src="data:image/png;base64,{picture}"></p>{norms}
<ul>{advice}</ul>
<p>The slope is of ln |dE/dx| by lag, of the signal of the last step on its way
back through the recursion, with its standard error over sequences. A signal
keeps if it moves by less than a factor of 2 over the sequence.</p>
</body></html>
"""
  return page.encode()


def _row(layer: Any) -> str:
  half = "" if layer.half_life is None else f"{layer.half_life:.1f} steps"
  reach = "" if layer.reach is None else f"{layer.reach} steps"
  error = "" if np.isnan(layer.stderr) else f" ± {layer.stderr:.2g}"
  name = escape.escape(layer.name)
  slope = "" if np.isnan(layer.slope) else f"{layer.slope:.4g}{error}"
  cells = (slope, half, reach, f"{layer.exponent:.3g}")
  numbers = "".join(f'<td class="number">{c}</td>' for c in cells)
  verdict = layer.verdict + " (borderline)" * layer.borderline
  return f"<tr><td>{name}</td><td>{verdict}</td>{numbers}</tr>"
