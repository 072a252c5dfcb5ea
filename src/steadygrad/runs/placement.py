"""The one place where seeds become many."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from steadygrad.types import Array, PyTree

AXIS, BATCH = "seeds", "batch"


class Seats(NamedTuple):
  """Where things of which each has a seat are, over some devices.

  Attributes:
    order: which thing is in each seat, [D K]; device d has the seats d K to
      (d + 1) K. Free seats repeat the first thing.
    counts: taken seats of each device, the first of its own, int32 [D].
    of_item: the seat of each thing, [n].
  """

  order: np.ndarray
  counts: np.ndarray
  of_item: np.ndarray


def seats(count: int, num_devices: int, slots: int | None = None) -> Seats:
  """Thing i on device i mod D, so that all have as many.

  Args:
    count: n.
    num_devices: D.
    slots: K, seats on each device; as few as do if None.
  """
  slots = -(-count // num_devices) if slots is None else slots
  things = np.arange(count)
  of_item = things % num_devices * slots + things // num_devices
  order = np.zeros(num_devices * slots, np.int64)
  order[of_item] = things
  counts = np.bincount(things % num_devices, minlength=num_devices)
  return Seats(order, counts.astype(np.int32), of_item)


def map_seeds(
  fn: Callable,
  # JAX assigns this class to a name, which pyright takes for a variable.
  devices: Sequence[jax.Device],  # pyright: ignore[reportInvalidTypeForm]
  *,
  shared: int = 0,
) -> tuple[Callable, NamedSharding]:
  """`fn` of one seed as a function of many, over all devices.

  On accelerators the seeds of a device run under `vmap`. On a CPU each device
  is a core, where one network at a time keeps its weights in cache and a small
  batched product would be slower: there they run one after the other, and only
  the first `counts[d]` of device d's at all. The loop's trip count is traced,
  so that the program for a seed, and its bits, are the same however many there
  are.

  Args:
    fn: pure function of one seed's arguments, any trees of arrays.
    devices: the devices to spread over; their number divides the seeds'.
    shared: how many of the first arguments, data for instance, are the same for
      all seeds: they have no seed axis and are whole on every device.

  Returns:
    A function (counts int32 [devices], *shared, *arguments with a leading seed
    axis) -> results with a leading seed axis, not jitted; results of seeds that
    were not run are zero on a CPU, arbitrary elsewhere. And the sharding of its
    arguments, but for the shared ones.
  """
  mesh = Mesh(np.asarray(devices), (AXIS,))
  one_by_one = devices[0].platform == "cpu"

  def on_device(counts: Array, common, *arguments):
    one = functools.partial(fn, *common)
    if not one_by_one:
      return jax.vmap(one)(*arguments)

    def take(i):
      return jax.tree.map(lambda x: x[i], arguments)

    shapes = jax.eval_shape(lambda: one(*take(0)))
    num_seeds = len(jax.tree.leaves(arguments)[0])
    results = jax.tree.map(
      lambda s: jnp.zeros((num_seeds, *s.shape), s.dtype), shapes
    )

    def body(i, results):
      result = one(*take(i))
      return jax.tree.map(lambda r, x: r.at[i].set(x), results, result)

    return jax.lax.fori_loop(0, counts[0], body, results)

  def mapped(counts: Array, *arguments):
    each = arguments[shared:]
    over_devices = jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=(P(AXIS), P(), *[P(AXIS)] * len(each)),
      out_specs=P(AXIS),
      check_vma=False,
    )
    return over_devices(counts, arguments[:shared], *each)

  return mapped, NamedSharding(mesh, P(AXIS))


def map_batch(
  fn: Callable,
  # JAX assigns this class to a name, which pyright takes for a variable.
  devices: Sequence[jax.Device],  # pyright: ignore[reportInvalidTypeForm]
  *,
  shared: int = 0,
) -> tuple[Callable, NamedSharding]:
  """`map_seeds` of one seed, whose batch is spread over all devices.

  Arguments and results are whole on every device; `fn` says with `over_batch`
  what is spread, and the compiler makes sums over the batch of the devices'.

  Args:
    fn: pure function of one seed's arguments, any trees of arrays.
    devices: the devices to spread over.
    shared: as for `map_seeds`.

  Returns:
    As of `map_seeds`; there is one seed.
  """
  mesh = Mesh(np.asarray(devices), (BATCH,))

  def mapped(counts: Array, *arguments):
    del counts
    each = jax.tree.map(lambda x: x[0], arguments[shared:])
    results = fn(*arguments[:shared], *each)
    return jax.tree.map(lambda x: x[None], results)

  return mapped, NamedSharding(mesh, P())


def over_batch(mesh: Mesh, tree: PyTree, axis: int) -> PyTree:
  """Inside a function of `map_batch`: arrays spread along their batch axis."""
  place = NamedSharding(mesh, P(*[None] * axis, BATCH))

  def spread(x):
    wide = getattr(x, "ndim", 0) > axis
    return jax.lax.with_sharding_constraint(x, place) if wide else x

  return jax.tree.map(spread, tree)


def own_devices() -> list:
  """The devices of this process."""
  here = jax.process_index()
  return [d for d in jax.devices() if d.process_index == here]


def mesh_devices() -> list:
  """The devices of the program that moves this process's runs.

  Its own; or those of all processes, if it has one only. A program for one
  device is compiled otherwise than one for several, to other last bits, and the
  seeds of several processes are to have the bits that one process would give
  them. There is nothing in the program for which devices wait for each other.
  """
  own = own_devices()
  return jax.devices() if len(own) == 1 else own


def over_all(tree: PyTree, sharding: NamedSharding) -> PyTree:
  """This process's part of arrays, as arrays over the devices of all."""
  if sharding.is_fully_addressable:
    return tree
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
    tree,
  )


def own_part(tree: PyTree) -> PyTree:
  """This process's part of arrays over the devices of all, in NumPy."""

  def part(x):
    return x if x.is_fully_addressable else x.addressable_data(0)

  return jax.device_get(jax.tree.map(part, tree))
