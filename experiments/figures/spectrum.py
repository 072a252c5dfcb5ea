"""Eigenvalues of a recurrent matrix; what its two norms promise by lag."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def _eigenvalues(plane, results: dict, curves: dict) -> None:
  """Eigenvalues in the complex plane, and circles of three radii."""
  turn = np.linspace(0, 2 * np.pi, 200)
  rho, top = results["spectral_radius"], results["largest_singular_value"]
  for radius, line, text in (
    (1, dict(color="black", ls="-", lw=0.6), "1"),
    (rho, dict(color=style.BLUE, ls=":", lw=1.0), r"$\rho$"),
    (top, dict(color=style.RED, ls="--", lw=1.0), r"$\sigma_{\max}$"),
  ):
    plane.plot(radius * np.cos(turn), radius * np.sin(turn), **line)
    if radius != 1:
      plane.text(
        0.72 * radius, -0.78 * radius - 0.05, text, fontsize=7, va="top",
        color=line["color"],
      )  # fmt: skip
  plane.plot(curves["real"], curves["imaginary"], "k.", ms=2.5)
  found = results["power_iteration"]
  plane.plot(*found, "o", mfc="none", mec=style.BLUE, ms=6)
  plane.set_aspect("equal")
  plane.set_xlabel(r"Re $\lambda$")
  plane.set_ylabel(r"Im $\lambda$")
  style.letter(plane, "(a)")


def _growth(growth, results: dict, curves: dict) -> None:
  """Norms by lag: what σ_max bounds, what ρ promises, and what they are."""
  lags = np.arange(1, len(curves["log10_bound"]) + 1)
  for key, text, line in (
    ("log10_bound", r"$(\gamma\sigma_{\max})^{t-k}$", style.LINES[1]),
    ("log10_linear", "linear ($x=0$)", dict(color="black", ls="-.")),
    ("log10_driven", "tanh, driven", style.LINES[0]),
  ):
    growth.plot(lags, records.numbers(curves[key]), label=text, **line)
  growth.plot(
    lags, lags * np.log10(results["spectral_radius"]), color=style.BLUE, ls=":",
    label=r"$\rho^{\,t-k}$",
  )  # fmt: skip
  growth.axhline(0, color="black", lw=0.5)
  growth.set_ylim(-9, 26)
  growth.set_xlabel("lag $t-k$ (steps)")
  growth.set_ylabel(r"$\log_{10}\|\partial x_t/\partial x_k\|$", labelpad=2)
  style.letter(growth, "(b)")


def draw(record: dict, path) -> None:
  figure, (plane, growth) = style.new(
    2.15, 1, 2, gridspec_kw={"width_ratios": [1, 1.1]}
  )
  _eigenvalues(plane, record["results"], record["curves"])
  _growth(growth, record["results"], record["curves"])
  figure.legend(
    *growth.get_legend_handles_labels(), loc="outside lower center", ncol=4,
    handlelength=1.7, columnspacing=0.9,
  )  # fmt: skip
  style.clean(growth, plane)
  style.save(figure, path)
