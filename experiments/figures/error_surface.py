"""Fig. 6: the error surface of one unit, its wall, two descents."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def _path(axis, found, line, mark, text):
  w, b = records.numbers(found["w"]), records.numbers(found["b"])
  inside = np.isfinite(w) & np.isfinite(b)
  axis.plot(
    w[inside], b[inside], marker=mark, ms=1.3, lw=0.7, label=text, **line
  )


def _landscape(axis, ws, bs, grid):
  axis.plot_surface(
    ws, bs, grid, cmap="cividis", rstride=3, cstride=3, lw=0.1,
    edgecolor=(0, 0, 0, 0.35), antialiased=True,
  )  # fmt: skip
  axis.view_init(28, 60)
  axis.set_box_aspect((1.25, 1.25, 0.75), zoom=1.08)
  for pane in (axis.xaxis, axis.yaxis, axis.zaxis):
    pane.set_pane_color((1, 1, 1, 0))
    pane._axinfo["grid"].update(linewidth=0.3, color="0.8")
  axis.set_xlabel("$w$", labelpad=-6)
  axis.set_ylabel("$b$", labelpad=-6)
  axis.set_zlabel("error", labelpad=-6)
  axis.tick_params(pad=-3, labelsize=6)
  axis.set_xticks([4.2, 4.6, 5.0, 5.4])
  axis.set_yticks([-3, -2.6, -2.2, -1.8])
  axis.set_zticks([0, 0.1, 0.2, 0.3])


def _axes(window, shape):
  return [
    np.linspace(*window[k], n) for k, n in zip("wb", shape[::-1], strict=True)
  ]


def draw(record: dict, path) -> None:
  """(a) the surface; (b) the two paths, close up."""
  curves, config = record["curves"], record["config"]
  wide = records.numbers(curves["surface"])
  close = records.numbers(curves["close_up"])
  figure, axes = style.new(4.5, 2, 1, gridspec_kw={"height_ratios": [1.3, 1]})
  axes[0].remove()
  above, below = figure.add_subplot(2, 1, 1, projection="3d"), axes[1]
  # The grid of (a) is sheared along the wall, which would else look ragged.
  ws, beside = _axes(config["window"], wide.shape)
  ws, beside = np.meshgrid(ws, beside)
  _landscape(
    above, ws, config["wall"][0] + config["wall"][1] * ws + beside, wide
  )
  style.letter(above, "(a)")
  levels = np.linspace(0, 0.36, 13)
  window = config["close_up"]
  ws, bs = _axes(window, close.shape)
  below.contourf(ws, bs, close, levels, cmap="Greys", vmax=0.6)
  _path(below, curves["plain"], style.LINES[1], "s", "plain")
  text = f"clipped at {config['max_norm']:g}"
  _path(below, curves["clipped"], style.LINES[0], "o", text)
  below.plot(config["start"]["w"], config["start"]["b"], "k*", ms=6)
  below.set_xlim(*window["w"])
  below.set_ylim(*window["b"])
  below.set_xlabel("recurrent weight $w$")
  below.set_ylabel("bias $b$")
  below.legend(loc="upper left", borderaxespad=0.3)
  style.letter(below, "(b)")
  style.save(figure, path, dots=220)
