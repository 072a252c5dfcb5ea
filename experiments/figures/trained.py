"""Error signals by lag of a network, before training and after."""

import numpy as np

from steadygrad import records
from steadygrad.figures.labels import METHODS
from steadygrad.plots import style


def draw(record: dict, path) -> None:
  """A line is a seed; norms are those of the last step's error signal."""
  config = record["config"]
  figure, axis = style.new(2.2)
  for (name, curve), look in zip(
    record["curves"].items(), (style.LINES[1], style.LINES[0]), strict=True
  ):
    for seed, norms in enumerate(records.numbers(curve)):
      lags, positive = np.arange(len(norms)), norms > 0
      label = None if seed else f"{name} training"
      axis.plot(lags[positive], norms[positive], **look, label=label)
  axis.set_yscale("log")
  axis.set_xlabel("lag $T - t$ (steps)")
  axis.set_ylabel(r"$\|\partial E/\partial x_t\|$")
  task = config["task"].replace("_", " ")
  axis.set_title(f"{task}, {METHODS[config['algorithm']]}", fontsize=8)
  axis.legend()
  style.clean(axis)
  style.save(figure, path)
