"""Symbols as inputs: a number for each in place of a row of zeros and a one.

One byte a step where one-hot numbers of M symbols take 4 M, and a look-up where
they take a product.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["values"],
  meta_fields=["size"],
)
@dataclasses.dataclass(frozen=True)
class Symbols:
  """Inputs [..., M] that are one-hot, as one integer each.

  Stands where `Batch.us` may stand. A cell with `reads_symbols` looks its
  weights up; any other is given `one_hot()`.

  Attributes:
    values: integers [...] in 0..M-1, of any integer dtype. What lies outside
      counts as the nearest that does not.
    size: M.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.symbols import Symbols
    >>> us = Symbols(jnp.array([[0, 2], [1, 1]], jnp.uint8), size=3)
    >>> us.shape  # [T, B, M].
    (2, 2, 3)
    >>> us.one_hot()[:, 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
  """

  values: Array
  size: int

  @property
  def shape(self) -> tuple[int, ...]:
    """Of `one_hot()`."""
    return (*self.values.shape, self.size)

  @property
  def dtype(self) -> jnp.dtype:
    """Of `one_hot()`."""
    return jnp.dtype(jnp.float32)

  def __len__(self) -> int:
    return len(self.values)

  def rows(self) -> Array:
    """The values as rows of a table [M, ...], inside 0..M-1."""
    most = min(self.size - 1, int(jnp.iinfo(self.values.dtype).max))
    return jnp.clip(self.values, 0, most)

  def one_hot(self, dtype: Any = jnp.float32) -> Array:
    """[..., M]: 1 at the symbol, 0 elsewhere."""
    return jax.nn.one_hot(self.rows(), self.size, dtype=dtype)


class OneHot(NamedTuple):
  """A `Task.sample` of one-hot inputs, which shows the symbols behind them.

  Attributes:
    symbols: (key, batch_size) -> `Batch` whose us are `Symbols`.
  """

  symbols: Callable[[Array, int], Any]

  def __call__(self, key: Array, batch_size: int) -> Any:
    """The same batch with us [T, B, M]."""
    return dense(self.symbols(key, batch_size))


def sampler(sample: Callable[[Array, int], Any]) -> Callable:
  """What draws the batches of `sample`, as symbols where they are such."""
  return sample.symbols if isinstance(sample, OneHot) else sample


def dense(tree: Any) -> Any:
  """A tree with arrays in place of its `Symbols`."""
  is_symbols = lambda x: isinstance(x, Symbols)  # noqa: E731
  return jax.tree.map(
    lambda x: x.one_hot() if is_symbols(x) else x, tree, is_leaf=is_symbols
  )
