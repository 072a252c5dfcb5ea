"""A loss as compiled measures: signals by lag, norms, positions, units."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from steadygrad import numerics
from steadygrad.reports import _batches, _growth, _taps, _units
from steadygrad.types import Array, Model, PyTree


class Profile(NamedTuple):
  """What was measured of one leaf of one scan's carry.

  Attributes:
    total: |dE/dx_t| by lag, by whatever path, [T, B].
    carried: the same, of what the last step's becomes through the scan, [T, B].
    exponent: of the scan, [].
    units: of x_t.
  """

  total: Array
  carried: Array
  exponent: Array
  units: _units.Units


class Found(NamedTuple):
  """What was measured of a loss.

  Attributes:
    loss: E, [].
    norm: of the gradient in the parameters, [].
    profiles: one for each of `Measure.leaves`.
    inputs: |dE/du_t| by position of each of `Measure.places`, [T].
  """

  loss: Array
  norm: Array
  profiles: list[Profile]
  inputs: list[Array]


class Measure(NamedTuple):
  """How a loss is measured.

  Attributes:
    found: (params, batch) -> `Found`; compiled.
    norm: (params, batch) -> of the gradient, []; compiled.
    leaves: (name, whether it is one of layers) for each leaf that is a state.
    places: leaves of the batch.
    notes: sentences about what is not measured.
  """

  found: Callable[[PyTree, PyTree], Found]
  norm: Callable[[PyTree, PyTree], Array]
  leaves: list[tuple[str, bool]]
  places: list[_batches.Place]
  notes: tuple[str, ...]


def function(loss_fn, params, loss) -> tuple[Callable, PyTree, Any]:
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


def check_finite(params: PyTree) -> None:
  """ValueError naming a parameter with NaN or inf."""
  for path, leaf in jax.tree.leaves_with_path(params):
    inexact = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    if inexact and not np.isfinite(leaf).all():
      where = jax.tree_util.keystr(path)
      raise ValueError(f"params must be finite, got NaN or inf in {where}")


def measure(
  fn: Callable[[PyTree, PyTree], Array],
  params: PyTree,
  batch: PyTree,
  names: Sequence[str] | None,
  time_axis: int | None,
  pick: Callable[[PyTree], PyTree],
) -> Measure:
  """`Measure` of a loss for all arguments shaped as these.

  Args:
    fn: the loss.
    params: of it.
    batch: one of them.
    names: as `gradient_report` takes them.
    time_axis: as `gradient_report` takes it.
    pick: gradients -> those whose norm is told.

  Raises:
    ValueError: as `gradient_report`.
  """
  _check_loss(fn, params, batch)
  made = _taps.tapped(fn, params, batch)
  scans, kept = made.scans, _leaves(made.scans)
  if names is not None and len(names) != len(scans):
    raise ValueError(f"names must be {len(scans)}, got {len(names)}: {names}")
  labels = _leaf_names(scans, names)
  lengths = {scans[i].length for i, _ in kept if not scans[i].layers}
  notes = [hidden for scan in scans if (hidden := _hidden(scan))]
  if not kept and (time_axis is None or notes):
    raise ValueError(" ".join([_no_state(made), *notes]))
  layers = any(scans[i].layers for i, _ in kept)
  places, why = _batches.places(batch, [*lengths], layers, time_axis)
  if not kept:
    notes.append(
      "There is no scan with a state (as with associative_scan, attention, or a"
      " loop of Python), so that no signal by lag is told, and no verdict."
    )
  if why:
    notes.append(why)

  def found(params, batch) -> Found:
    made = _taps.gradients(fn, params, batch, at=[p.leaf for p in places])
    exponents = [jnp.mean(x) for x in _growth.growth(fn, params, batch)]
    profiles = []
    for i, k in kept:
      taps = made.total[i].own[k], made.carried[i].own[k]
      seen = _units.units(made.states[i][k], scans[i].ranges[k])
      total, carried = (_by_lag(tap, scans[i]) for tap in taps)
      profiles.append(Profile(total, carried, exponents[i], seen))
    pairs = zip(made.inputs, places, strict=True)
    inputs = [_batches.by_position(*pair) for pair in pairs]
    return Found(made.loss, _norm(pick(made.params)), profiles, inputs)

  def norm(params, batch):
    return _norm(pick(jax.grad(fn, allow_int=True)(params, batch)))

  each = [(n, scans[i].layers) for n, (i, _) in zip(labels, kept, strict=True)]
  return Measure(jax.jit(found), jax.jit(norm), each, places, tuple(notes))


def _check_loss(fn, params, batch) -> None:
  """ValueError unless it gives one floating number."""
  try:
    shape = jax.eval_shape(fn, params, batch)
  except Exception as error:
    if isinstance(batch, list):
      raise ValueError(
        "batch must be what loss_fn takes, or an iterator: a list is taken for"
        f" one batch, and loss_fn failed on it ({error}); of several batches"
        " give iter(batch)"
      ) from error
    raise
  floating = hasattr(shape, "dtype") and jnp.issubdtype(
    shape.dtype, jnp.floating
  )
  if not floating or shape.shape != ():
    raise ValueError(f"loss_fn must give one floating number, got {shape}")


def _no_state(made: _taps.Tapped) -> str:
  longest = max((scan.length for scan in made.scans), default=0)
  loops = f" and {made.loops} while_loop, which has no gradient" * bool(
    made.loops
  )
  return (
    "loss_fn must hold a scan of at least two steps with a state, got"
    f" {len(made.scans)} scans, of at most {longest} steps{loops}; with"
    " time_axis= the report is of dE/d(input at position) alone."
  )


def _hidden(scan: _taps.Scan) -> str:
  """A sentence if its body has states and it carries none; "" else."""
  if _has_state(scan) or not _recurs(scan):
    return ""
  name = scan.name or "A scan"
  return (
    f"{name} of {scan.length} steps carries no floating state and has a"
    " recursion in its body (as lax.map has, or a loop over parts of a batch),"
    " which is not reported: use jax.vmap there, or give a loss of one part."
  )


def _has_state(scan: _taps.Scan) -> bool:
  return any(len(leaf.shape) > 1 for leaf in scan.tap.own)


def _recurs(scan: _taps.Scan) -> bool:
  """Whether there is a state in it, at any depth."""
  return _has_state(scan) or any(map(_recurs, scan.inner))


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
