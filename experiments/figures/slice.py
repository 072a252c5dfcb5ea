"""The loss of a trained network along its gradient and across it."""

import numpy as np

from steadygrad import records
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  curves = record["curves"]
  grid = records.numbers(curves["surface"])
  reach = curves["reach"]
  offsets = np.linspace(-reach, reach, len(grid))
  figure, (plane, cut) = style.new(
    1.9, 1, 2, gridspec_kw={"width_ratios": [1.35, 1]}
  )
  image = plane.imshow(
    grid, origin="lower", extent=(-reach, reach) * 2, cmap="cividis",
    vmax=np.quantile(grid, 0.98), aspect="auto",
  )  # fmt: skip
  plane.contour(
    offsets, offsets, grid, 8, colors="white", linewidths=0.4, alpha=0.8
  )
  plane.plot(0, 0, "w*", ms=6, mec="black", mew=0.5)
  plane.set_xlabel("along the gradient")
  plane.set_ylabel("across it")
  figure.colorbar(image, ax=plane, aspect=18, extend="max").set_label(
    "loss (nats)", fontsize=7
  )
  style.letter(plane, "(a)")
  middle = len(grid) // 2
  cut.plot(offsets, grid[middle], label="along", **style.LINES[0])
  cut.plot(offsets, grid[:, middle], label="across", **style.LINES[1])
  cut.set_xlabel("distance")
  cut.set_ylabel("loss (nats)")
  cut.set_ylim(0, 1.3 * grid[middle].max())
  cut.legend(loc="upper right", handlelength=1.8, borderaxespad=0.1)
  style.letter(cut, "(b)")
  style.clean(cut)
  style.save(figure, path)
