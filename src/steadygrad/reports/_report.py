"""`gradient_report`: how far back the gradients of any JAX model reach."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steadygrad import _validate, files, numerics, records
from steadygrad.reports import _advice, _growth, _numbers, _taps
from steadygrad.reports._numbers import Layer
from steadygrad.transforms import ThresholdAdvice, choose_max_norm
from steadygrad.types import Array, Model, PyTree

MOST_NORMS = 300  # Batches that an iterator is asked for.
_LEAST_NORMS = 20  # Fewer say nothing of a threshold.


@dataclasses.dataclass(frozen=True)
class Report:
  """What `gradient_report` found.

  Attributes:
    layers: one `Layer` for each floating leaf of each scan's carry.
    loss: of the batch.
    norms: of the gradients of the batches, [n]; one for one batch.
    threshold: what `choose_max_norm` says of them; None of few norms.
    advice: sentences, each tied to a number above.
  """

  layers: tuple[Layer, ...]
  loss: float
  norms: np.ndarray
  threshold: ThresholdAdvice | None
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
      "loss": self.loss,
      "norms": self.norms,
      "max_norm": self.max_norm,
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
  batch: PyTree | Iterator[PyTree],
  *,
  loss: Callable[..., Array] | None = None,
  names: Sequence[str] | None = None,
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
    batch: what it takes, or an iterator of such batches: of the first the
      signals are taken, of up to 300 the norms of the gradient.
    loss: (outputs, batch) -> loss [], with a `Model` alone.
    names: of the scans, in the order in which they run; from the name stack
      (Flax linen has one), or scan_0 and so on, if None.

  Returns:
    `Report`. States [B, ...] are a batch of sequences, those of one axis are
    one sequence, and a carry without axes is no state.

  Raises:
    ValueError: if there is no scan of at least two steps with a state, the loss
      is no floating scalar or not finite, parameters are not finite, names are
      as many as another number of scans, or a loop cannot be tapped, by name.

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
  return _reporter(loss_fn, loss, names)(params, batch)


def _reporter(loss_fn, loss, names) -> Callable[[PyTree, Any], Report]:
  """(params, batch) -> `Report`; compiled once for all of the same shapes."""
  compiled: dict[Any, Any] = {}

  def report(params, batch) -> Report:
    fn, params, graph = _function(loss_fn, params, loss)
    batches = batch if isinstance(batch, Iterator) else iter([batch])
    first = next(batches, None)
    if first is None:
      raise ValueError("batch must be a batch or an iterator of some, got none")
    _check_finite(params)
    shapes = jax.tree.map(jnp.shape, (params, first))
    key = graph, str(shapes)
    if key not in compiled:
      # Of an NNX module only its `Param`s have a gradient that is followed.
      pick = (lambda g: g[0]) if graph is not None else (lambda g: g)
      compiled[key] = _measure(fn, params, first, names, pick)
    measure, norm, scans = compiled[key]
    value, grads, profiles = measure(params, first)
    if not math.isfinite(value):
      raise ValueError(f"loss_fn must be finite at params, got {value}")
    pairs = zip(_leaf_names(scans, names), profiles, strict=True)
    layers = tuple(_numbers.layer(name, *pair) for name, pair in pairs)
    rest = itertools.islice(batches, MOST_NORMS - 1)
    norms = np.array([grads, *(norm(params, b) for b in rest)], np.float64)
    threshold = choose_max_norm(norms) if len(norms) >= _LEAST_NORMS else None
    found = Report(layers, float(value), norms, threshold, ())
    return dataclasses.replace(found, advice=_advice.advice(found, params))

  return report


def _function(loss_fn, params, loss) -> tuple[Callable, PyTree, Any]:
  """((params, batch) -> loss, parameters as a tree, graph of an NNX module)."""
  if isinstance(loss_fn, Model):
    if not callable(loss):
      raise ValueError(f"loss must be a function with a Model, got {loss!r}")
    model, of = loss_fn, loss

    def of_model(params, batch):
      return of(model.apply(params, batch.us, batch.lengths), batch)

    return of_model, params, None
  if loss is not None:
    raise ValueError(f"loss must be left out without a Model, got {loss!r}")
  if not callable(loss_fn):
    raise ValueError(f"loss_fn must be a function or Model, got {loss_fn!r}")
  if not isinstance(params, nnx.Module):
    return loss_fn, params, None
  graph, state, rest = nnx.split(params, nnx.Param, ...)

  def of_module(states, batch):
    return loss_fn(nnx.merge(graph, *states), batch)

  return of_module, (state, rest), graph


def _check_finite(params: PyTree) -> None:
  """ValueError naming a parameter with NaN or inf."""
  for path, leaf in jax.tree.leaves_with_path(params):
    inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    if inexact and not np.isfinite(leaf).all():
      where = jax.tree_util.keystr(path)
      raise ValueError(f"params must be finite, got NaN or inf in {where}")


def _measure(
  fn, params, batch, names, pick=lambda grads: grads
) -> tuple[Callable, Callable, list]:
  """(compiled (params, batch) -> loss, norm, profiles; the norm alone; scans).

  Raises:
    ValueError: as `gradient_report`.
  """
  shape = jax.eval_shape(fn, params, batch)
  floating = hasattr(shape, "dtype") and jnp.issubdtype(
    shape.dtype, jnp.floating
  )
  if not floating or shape.shape != ():
    raise ValueError(f"loss_fn must give one floating number, got {shape}")
  made = _taps.tapped(fn, params, batch)
  scans = made.scans
  if not _leaves(scans):
    longest = max((scan.length for scan in scans), default=0)
    loops = f" and {made.loops} while_loop, which has no gradient" * bool(
      made.loops
    )
    raise ValueError(
      "loss_fn must hold a scan of at least two steps with a state, got"
      f" {len(scans)} scans, of at most {longest} steps{loops}"
    )
  if names is not None and len(names) != len(scans):
    raise ValueError(f"names must be {len(scans)}, got {len(names)}: {names}")
  kept = _leaves(scans)

  def measure(params, batch):
    made = _taps.gradients(fn, params, batch)
    exponents = [jnp.mean(x) for x in _growth.growth(fn, params, batch)]
    found = []
    for i, k in kept:
      taps = made.total[i].own[k], made.carried[i].own[k]
      pair = (_by_lag(tap, scans[i]) for tap in taps)
      found.append((*pair, exponents[i]))
    return made.loss, _norm(pick(made.params)), found

  def norm(params, batch):
    return _norm(pick(jax.grad(fn, allow_int=True)(params, batch)))

  return jax.jit(measure), jax.jit(norm), scans


def _norm(grads: PyTree) -> Array:
  leaves = [
    g for g in jax.tree.leaves(grads) if jnp.issubdtype(g.dtype, jnp.inexact)
  ]
  return numerics.joint_norm(leaves)


def _leaves(scans: Sequence[_taps.Scan]) -> list[tuple[int, int]]:
  """(scan, leaf) of states: floating, with an axis, of at least two steps."""
  return [
    (i, k)
    for i, scan in enumerate(scans)
    for k, leaf in enumerate(scan.tap.own)
    if scan.length > 1 and len(leaf.shape) > 1
  ]


def _by_lag(tap: Array, scan: _taps.Scan) -> Array:
  """Norms [T, B] from the scan's last step on."""
  rows = tap if tap.ndim > 2 else tap[:, None]
  norms = numerics.joint_norm(rows, batch_ndim=2)
  return norms if scan.reverse else norms[::-1]


def _leaf_names(scans, names) -> list[str]:
  """A name for each of `_leaves`."""
  several = {i for i, k in _leaves(scans) if k}
  found = []
  for i, k in _leaves(scans):
    scan = scans[i]
    name = names[i] if names is not None else scan.name or f"scan_{i}"
    backward = " backward" if scan.reverse else ""
    found.append(f"{name}{backward}" + (f"[{k}]" if i in several else ""))
  return found


class GradientWatch:
  """A report every so many updates of a loop of your own.

  Args:
    loss_fn: as `gradient_report` takes it.
    every: updates between two reports.
    loss: as `gradient_report` takes it.
    names: as `gradient_report` takes them.

  `watch(step, params, batch)` gives a `Report` at step 0, `every`, 2 `every`,
  and None between; `reports` has all so far, by step.

  Raises:
    ValueError: unless `every` is an integer of at least 1.
  """

  def __init__(self, loss_fn, every: int, *, loss=None, names=None):
    _validate.check_integer("every", every)
    self.every = every
    self.reports: dict[int, Report] = {}
    self._report = _reporter(loss_fn, loss, names)

  def __call__(self, step: int, params: PyTree, batch: PyTree) -> Report | None:
    if step % self.every:
      return None
    self.reports[step] = self._report(params, batch)
    return self.reports[step]
