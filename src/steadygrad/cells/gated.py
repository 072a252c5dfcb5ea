"""LSTM and GRU of Flax, with the gate's bias that decides what they remember.

Flax starts all biases at zero, where a gate forgets half of the state at every
step. What is sent back over T steps is then about 2^-T, and for a GRU at T =
200 exactly zero in float32.

  a number   the bias of the forget gate (LSTM) or of the gate that keeps the
             old state (GRU) starts there; 1 is customary
  "chrono"   it starts at log U(1, T - 1), for memories of up to T steps, and an
             LSTM's input gate at minus that (arXiv 1804.11188)
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad.types import Array, Cell, PyTree


def lstm(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float | str = 1.0,
  memory: int | None = None,
) -> Cell:
  """Flax's `OptimizedLSTMCell`.

  Args:
    input_size: M.
    hidden_size: N.
    forget_bias: see the module docstring.
    memory: T, for "chrono" alone.

  Raises:
    ValueError: on a size under 1, another bias, or "chrono" without a memory of
      at least 3 steps.

  Example:
    >>> import jax
    >>> from steadygrad.cells import lstm
    >>> cell = lstm(3, 8, forget_bias="chrono", memory=50)
    >>> params = cell.init(jax.random.key(0))
    >>> [x.shape for x in cell.initial_state(params, 2)]  # Memory and output.
    [(2, 8), (2, 8)]
  """
  check_bias(hidden_size, forget_bias, memory)
  cell = _of_flax("OptimizedLSTMCell", input_size, hidden_size)

  def init(key):
    params = cell.init(key)
    bias = draw_bias(key, hidden_size, forget_bias, memory)
    changed = {"hf": bias}
    if forget_bias == "chrono":
      changed["hi"] = -bias
    return _with_biases(params, changed)

  return cell._replace(init=init)


def gru(
  input_size: int,
  hidden_size: int,
  *,
  forget_bias: float | str = 1.0,
  memory: int | None = None,
) -> Cell:
  """Flax's `GRUCell`, h_t = (1 - z_t) ∘ n_t + z_t ∘ h_{t-1}.

  Args:
    input_size: M.
    hidden_size: N.
    forget_bias: of z, see the module docstring.
    memory: T, for "chrono" alone.

  Raises:
    ValueError: as `lstm`.
  """
  check_bias(hidden_size, forget_bias, memory)
  cell = _of_flax("GRUCell", input_size, hidden_size)

  def init(key):
    bias = draw_bias(key, hidden_size, forget_bias, memory)
    return _with_biases(cell.init(key), {"iz": bias})

  return cell._replace(init=init)


def _of_flax(name: str, input_size: int, hidden_size: int) -> Cell:
  """A linen cell. Flax is imported here: other cells have no need of it."""
  from flax import linen as nn

  from steadygrad.cells._linen import linen

  made = getattr(nn, name)(features=hidden_size, param_dtype=_default())
  return linen(made, input_size)


def _default() -> jnp.dtype:
  """float32, or float64 where JAX has that on: Flax says float32 in both."""
  return jnp.zeros([]).dtype


def check_bias(
  hidden_size: int, forget_bias: float | str, memory: int | None
) -> None:
  """ValueError unless gates of so many units can start at that bias."""
  _validate.check_integer("hidden_size", hidden_size)
  if forget_bias != "chrono":
    _validate.check_number("forget_bias", forget_bias, least=None)
    return
  if memory is None:
    raise ValueError('memory must be given for forget_bias="chrono", got None')
  _validate.check_integer("memory", memory, 3)


def draw_bias(key: Array, size: int, forget_bias, memory) -> Array:
  """Where the bias of a gate that keeps the old state starts, [N]."""
  if forget_bias != "chrono":
    return jnp.full(size, forget_bias, _default())
  drawn = jax.random.uniform(
    jax.random.fold_in(key, 1), (size,), minval=1.0, maxval=memory - 1.0
  )
  return jnp.log(drawn)


def _with_biases(params: Mapping, changed: dict[str, Array]) -> PyTree:
  """Parameters with other biases; {gate: [N]}."""
  return dict(params) | {
    gate: dict(params[gate]) | {"bias": bias} for gate, bias in changed.items()
  }
