"""`gradient_report`: how far back the gradients of any JAX model reach."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from steadygrad import files, records
from steadygrad.reports import _advice, _batches, _measure, _numbers
from steadygrad.reports._batches import Input
from steadygrad.reports._numbers import Layer
from steadygrad.transforms import ThresholdAdvice, choose_max_norm
from steadygrad.types import Array, Model, PyTree

MOST_NORMS = 300  # Batches that an iterator is asked for.


@dataclasses.dataclass(frozen=True)
class Report:
  """What `gradient_report` found.

  Attributes:
    layers: one `Layer` for each floating leaf of each scan's carry.
    inputs: one `Input` for each floating leaf of the batch with a time axis.
    loss: of the batch.
    norms: of the gradients of the batches, [n]; one for one batch.
    spikes: which of the norms stand out: those that are not finite, or more
      than 7 standard deviations above the mean of those before them.
    threshold: what `choose_max_norm` says of the norms that do not stand out;
      None of fewer than 20. Its role is "guard" or "step size".
    notes: sentences about what is not told, and why.
    advice: sentences, each tied to a number above.
  """

  layers: tuple[Layer, ...]
  inputs: tuple[Input, ...]
  loss: float
  norms: np.ndarray
  spikes: tuple[int, ...]
  threshold: ThresholdAdvice | None
  notes: tuple[str, ...]
  advice: tuple[str, ...]

  @property
  def max_norm(self) -> float | None:
    """A threshold for `clip_by_global_norm`; None where norms are too few."""
    return None if self.threshold is None else float(self.threshold.suggested)

  def __str__(self) -> str:
    return _advice.text(self)

  def to_json(self) -> dict[str, Any]:
    """The report as plain Python, for `json.dumps`."""
    told = {
      "layers": [layer._asdict() for layer in self.layers],
      "inputs": [one._asdict() for one in self.inputs],
      "loss": self.loss,
      "norms": self.norms,
      "spikes": self.spikes,
      "max_norm": self.max_norm,
      "role": None if self.threshold is None else self.threshold.role,
      "notes": self.notes,
      "advice": self.advice,
    }
    return records.plain(told)

  def save(self, path: str | pathlib.Path) -> None:
    """Writes a page (*.html), a picture (*.png), a record (*.json) or a text.

    A page is one file, with its picture inside.

    Raises:
      ValueError: on another suffix than these and .txt.
    """
    path = pathlib.Path(path)
    if path.suffix == ".json":
      records.write_json(path, self.to_json())
    elif path.suffix == ".txt":
      files.write_whole(path, f"{self}\n".encode())
    elif path.suffix in (".html", ".png"):
      from steadygrad.reports import _page  # Matplotlib is an extra.

      make = _page.html if path.suffix == ".html" else _page.png
      files.write_whole(path, make(self))
    else:
      raise ValueError(
        f"path must end with .html, .png, .json or .txt, got {path}"
      )


def gradient_report(
  loss_fn: Callable[..., Array] | Model,
  params: PyTree,
  batch: PyTree | Iterable[PyTree],
  *,
  loss: Callable[..., Array] | None = None,
  names: Sequence[str] | None = None,
  time_axis: int | None = None,
) -> Report:
  """How far back in time gradients reach, of any JAX model with a scan.

  Every `scan` of the loss is given zeros at each step, and the gradient in them
  is dE/dx_t. Nothing of the model changes: it may be of Flax linen or NNX, of
  Equinox, Haiku, steadygrad or plain JAX. A verdict is of what the signal of
  the last step becomes on its way back through one scan, see `Layer`; paths
  around the scan, as of attention, are in `signal` alone.

  Args:
    loss_fn: (params, batch) -> loss []; or a steadygrad `Model`.
    params: of it; or an `nnx.Module`.
    batch: what it takes, or an iterator of such batches, or a loader of data:
      of the first the signals are taken, of up to 300 the norms of the
      gradient. A list is one batch; of a list of batches give `iter(batches)`.
    loss: (outputs, batch) -> loss [], with a `Model` alone.
    names: of the scans, in the order in which they run; from the name stack
      (Flax linen has one), or scan_0 and so on, if None.
    time_axis: which axis of the batch's floating leaves is time. If None it is
      the one of the first two of [T, B, M] or [B, T, M] that is as long as a
      scan. A model without a scan gets a report of its inputs if it is given.

  Returns:
    `Report`. States [B, ...] are a batch of sequences, those of one axis are
    one sequence, and a carry without axes is no state. A scan over stacked
    parameters is one over layers, and its lag is in layers.

  Raises:
    ValueError: if there is no scan of at least two steps with a state and no
      time_axis, the loss is no floating scalar or not finite, parameters are
      not finite, names are as many as another number of scans, time_axis is no
      axis of the batch, or a loop cannot be tapped, by name.

  >>> import jax, jax.numpy as jnp
  >>> from steadygrad import gradient_report
  >>> def loss_fn(w, us):  # A linear network with W = .5 I.
  ...   step = lambda x, u: (x @ w + u, None)
  ...   return jnp.sum(jax.lax.scan(step, jnp.zeros((2, 3)), us)[0])
  >>> report = gradient_report(loss_fn, 0.5 * jnp.eye(3), jnp.ones((20, 2, 3)))
  >>> layer = report.layers[0]
  >>> layer.verdict, round(layer.half_life, 3)
  ('vanishes', 1.0)
  """
  return reporter(loss_fn, loss, names, time_axis)(params, batch)


def reporter(
  loss_fn, loss, names, time_axis
) -> Callable[[PyTree, Any], Report]:
  """(params, batch) -> `Report`; compiled once for all of the same shapes."""
  compiled: dict[Any, _measure.Measure] = {}

  def report(params, batch) -> Report:
    fn, params, graph = _measure.function(loss_fn, params, loss)
    batches = _batches.several(batch)
    first = next(batches, None)
    if first is None:
      raise ValueError("batch must be a batch or an iterator of some, got none")
    _measure.check_finite(params)
    key = graph, _batches.described((params, first))
    if key not in compiled:
      # Of an NNX module only its `Param`s have a gradient that is followed.
      pick = (lambda g: g[0]) if graph is not None else (lambda g: g)
      compiled[key] = _measure.measure(
        fn, params, first, names, time_axis, pick
      )
    measure = compiled[key]
    found = measure.found(params, first)
    if not math.isfinite(found.loss):
      raise ValueError(f"loss_fn must be finite at params, got {found.loss}")
    rest = itertools.islice(batches, MOST_NORMS - 1)
    norms = [found.norm, *(measure.norm(params, b) for b in rest)]
    return _told(measure, found, np.array(norms, np.float64), params)

  return report


def _told(
  measure: _measure.Measure,
  found: _measure.Found,
  norms: np.ndarray,
  params: PyTree,
) -> Report:
  """The report of what was measured."""
  layers = tuple(
    _numbers.layer(
      name,
      np.asarray(profile.total),
      np.asarray(profile.carried),
      float(profile.exponent),
      profile.units,
      "layer" if of_layers else "step",
    )
    for (name, of_layers), profile in zip(
      measure.leaves, found.profiles, strict=True
    )
  )
  inputs = tuple(
    Input(place.name, place.axis, np.asarray(signal))
    for place, signal in zip(measure.places, found.inputs, strict=True)
  )
  spikes = _numbers.spikes(norms)
  usual = np.delete(norms, spikes)
  enough = len(usual) >= _numbers.LEAST_NORMS
  report = Report(
    layers=layers,
    inputs=inputs,
    loss=float(found.loss),
    norms=norms,
    spikes=tuple(spikes),
    threshold=choose_max_norm(usual) if enough else None,
    notes=measure.notes,
    advice=(),
  )
  advice = _advice.advice(report, params)
  return dataclasses.replace(report, advice=advice)
