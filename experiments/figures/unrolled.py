"""Fig. 2: the unrolled network, total gradient in blue, its parts in red."""

from steadygrad import records
from steadygrad.plots import style

BAR, STATE, ERROR = -1.75, 0.0, 1.35  # Heights of the rows.


def _arrow(axis, start, end, width, color):
  """An arrow in data units, so that its width can carry a number."""
  (x, y), (x_end, y_end) = start, end
  patch = style.plt.matplotlib.patches.FancyArrow(
    x, y, x_end - x, y_end - y, width=width, head_width=width + 0.11,
    head_length=0.13, length_includes_head=True, color=color, lw=0,
  )  # fmt: skip
  axis.add_patch(patch)


def _node(axis, x, y, text, radius=0.27):
  circle = style.plt.Circle((x, y), radius, fc="white", ec="black", lw=0.7)
  axis.add_patch(circle)
  axis.text(x, y, text, ha="center", va="center", fontsize=7, zorder=4)


def _width(norm, norms):
  """Of an arrow that stands for a norm."""
  return 0.02 + 0.2 * norm / norms.max()


def _step(axis, k, norms):
  """x_k, its error and its contribution, with the arrows from x_{k-1}."""
  _node(axis, k, STATE, f"$x_{k}$")
  if k == 0:
    return
  # Forward pass in grey; error signals in blue, on the way back.
  _arrow(axis, (k - 0.72, 0.09), (k - 0.27, 0.09), 0.02, "0.6")
  _node(axis, k, ERROR, rf"$\mathcal{{E}}_{k}$")
  _arrow(axis, (k - 0.09, 0.27), (k - 0.09, ERROR - 0.27), 0.02, "0.6")
  width = _width(norms[k - 1], norms)
  _arrow(axis, (k, -0.29), (k, BAR + 0.16), width, style.RED)
  axis.text(
    k + 0.15, -0.95, f"{norms[k - 1]:#.2g}", fontsize=6, va="center",
    color="black",
  )  # fmt: skip
  if k > 1:
    _arrow(axis, (k - 0.27, -0.09), (k - 0.73, -0.09), 0.045, style.BLUE)


def _error_signal(axis, steps):
  """The arrow from the last error, and the names of what goes back."""
  top = (steps + 0.09, ERROR - 0.27)
  _arrow(axis, top, (steps + 0.09, 0.27), 0.045, style.BLUE)
  axis.text(
    steps + 0.2, 0.68,
    rf"$\frac{{\partial \mathcal{{E}}_{steps}}}{{\partial x_{steps}}}$",
    color=style.BLUE, fontsize=8, va="center",
  )  # fmt: skip
  for k in (2, steps):
    axis.text(
      k - 0.5, -0.47,
      rf"$\frac{{\partial x_{k}}}{{\partial x_{k - 1}}}$",
      color=style.BLUE, fontsize=7, ha="center", va="center",
    )  # fmt: skip


def _parameters(axis, steps, total, width):
  """The bar of θ, which all contributions reach, and their sum."""
  axis.add_patch(
    style.plt.Rectangle(
      (0.6, BAR - 0.16), steps - 0.2, 0.3, fc="white", ec="black", lw=0.7
    )
  )
  axis.text((steps + 1) / 2, BAR - 0.01, r"$\theta$", ha="center", va="center")
  _arrow(axis, (0.6, BAR), (-0.4, BAR), width, style.BLUE)
  axis.text(
    -0.3, BAR + 0.42,
    rf"$\left\|\frac{{d\mathcal{{E}}_{steps}}}{{d\theta}}\right\|={total:.2g}$",
    color=style.BLUE, fontsize=7, ha="center", va="center",
  )  # fmt: skip


def draw(record: dict, path) -> None:
  """Widths are proportional to norms; the numbers are the norms."""
  norms = records.numbers(record["curves"]["norms"])
  total = record["results"]["total_norm"]
  steps = len(norms)
  figure, axis = style.new(1.95)
  axis.set_aspect("equal")
  axis.axis("off")
  for k in range(steps + 1):
    _step(axis, k, norms)
  _error_signal(axis, steps)
  _parameters(axis, steps, total, _width(total, norms))
  axis.set_xlim(-0.95, steps + 0.6)
  axis.set_ylim(BAR - 0.25, ERROR + 0.35)
  style.save(figure, path)
