"""What a batch is: one or many of them, and which of its axes is time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import numerics
from steadygrad.types import Array, Batch, PyTree


class Input(NamedTuple):
  """What reaches each position of one leaf of the batch.

  Attributes:
    name: of the leaf, such as batch[0].
    axis: which of its axes is time.
    signal: |dE/du_t|, by whatever path, a mean over sequences, [T].
  """

  name: str
  axis: int
  signal: np.ndarray


class Place(NamedTuple):
  """A leaf of the batch by its number, its name, and the axis that is time."""

  leaf: int
  name: str
  axis: int


def several(batch: Any) -> Iterator[PyTree]:
  """The batches; one, where it is no iterator of them.

  Raises:
    ValueError: if it is a function.
  """
  if isinstance(batch, Iterator):
    return map(_arrays, batch)
  if jax.tree_util.all_leaves([batch]) and not hasattr(batch, "shape"):
    if isinstance(batch, Iterable) and not isinstance(batch, str | bytes):
      return map(_arrays, batch)  # A loader of data, which can begin again.
    if callable(batch):
      raise ValueError(
        "batch must be a batch or an iterator of some, got the function"
        f" {batch!r}; call it"
      )
  return iter([batch])


def _arrays(batch: PyTree) -> PyTree:
  """Other libraries' arrays as NumPy's, which JAX takes."""

  def convert(x):
    foreign = hasattr(x, "__array__") and not isinstance(x, jax.Array)
    return np.asarray(x) if foreign else x

  return jax.tree.map(convert, batch)


def described(batch: PyTree) -> str:
  """Structure, shapes and types, as text."""

  def of(x):
    return f"{getattr(x, 'dtype', type(x))}{list(np.shape(x))}"

  return str(jax.tree.map(of, batch))


def places(
  batch: PyTree, lengths: Sequence[int], layers: bool, time_axis: int | None
) -> tuple[list[Place], str]:
  """Leaves in which |dE/du_t| is told, or a sentence why there are none.

  Floating leaves of at least three axes. Time is the one of the first two axes
  that is as long as a scan, or a step longer: a language model's inputs are
  short of one. Of a `Batch` it is the first axis of `us`, and where only layers
  are scanned the second one, [B, T, M].

  Args:
    batch: one of them.
    lengths: of the scans over time.
    layers: whether there is a scan over layers.
    time_axis: as `gradient_report` takes it; then two axes are enough.

  Raises:
    ValueError: unless time_axis is one of the axes of some floating leaf.
  """
  leaves = jax.tree.leaves_with_path(batch)
  least = 3 if time_axis is None else 2
  floating = [
    (i, f"batch{jax.tree_util.keystr(path)}", np.shape(leaf))
    for i, (path, leaf) in enumerate(leaves)
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  own = isinstance(batch, Batch) and time_axis is None
  floating = [
    (i, name, shape)
    for i, name, shape in floating
    if len(shape) >= least and (not own or name == "batch.us")
  ]
  if time_axis is not None:
    found = [
      Place(i, n, time_axis) for i, n, s in floating if time_axis < len(s)
    ]
    if not found or time_axis < 0:
      shapes = described(batch)
      raise ValueError(
        "time_axis must be an axis of a floating leaf of the batch, got"
        f" {time_axis} for {shapes}"
      )
    return found, ""
  if not floating:
    return [], (
      "dE/d(input at position) is not available: the batch has no floating"
      " leaf of three axes (symbols that are integers have no gradient)."
    )
  if own:
    return [Place(i, n, 0) for i, n, _ in floating], ""
  found = []
  for i, name, shape in floating:
    axis = _time(shape, lengths, layers)
    if axis is not None:
      found.append(Place(i, name, axis))
  if found:
    return found, ""
  return [], (
    "dE/d(input at position) is not available: which axis of the batch is time"
    " is not clear; say time_axis=."
  )


def _time(shape: Sequence[int], lengths: Sequence[int], layers: bool):
  """0, 1 or None."""
  for longer in (0, 1):
    fits = [a for a in (0, 1) if shape[a] - longer in lengths]
    if fits:
      return fits[0] if len(fits) == 1 else None
  return 1 if layers and not lengths else None


def by_position(gradient: Array, place: Place) -> Array:
  """|dE/du_t|, a mean over sequences, [T]."""
  rows = jnp.moveaxis(gradient, place.axis, 0)
  rows = rows[..., None] if rows.ndim == 2 else rows
  return jnp.mean(numerics.joint_norm(rows, batch_ndim=2), 1)
