"""Cells whose state changes by a share of what an Elman network would make it.

With a_t = σ(x_{t-1} w_rec + u_t w_in + b) and a rate α

  leaky     x_t = (1 - α) x_{t-1} + α a_t
  residual  x_t = x_{t-1} + α a_t
  highway   x_t = (1 - z_t) ∘ x_{t-1} + z_t ∘ a_t,
            z_t = sigmoid(x_{t-1} w_gate + u_t w_in_gate + b_gate)

The leaky unit is the rate model of neuroscience, τ dx/dt = -x + a, in steps of
dt = α τ: its memory is about 1/α steps long at the start. In the x-form its
rate is σ(x_{t-1}) and a_t = σ(x_{t-1}) w_rec + u_t w_in + b. The Jacobian of a
residual step is I + α ∂a/∂x, so that error signals grow on their way back.

  layer_norm  x_t = σ(norm(x_{t-1} w_rec + u_t w_in) ∘ gain + b)

has one layer normalisation, of the summed inputs, and no path around it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.activations import activation as find_activation
from steadygrad.initializers import Initializers
from steadygrad.numerics import add, matmul, normalised, times
from steadygrad.types import Array, Cell, PyTree


def orthogonal() -> Initializers:
  """W_rec orthogonal, the others LeCun's N(0, 1 / fan_in)."""
  fan_in = jax_initializers.lecun_normal()
  return Initializers(jax_initializers.orthogonal(), fan_in, fan_in)


def leaky(  # noqa: PLR0913 (they describe one model)
  input_size: int,
  hidden_size: int,
  *,
  rate: float | None = None,
  tau: float | None = None,
  dt: float | None = None,
  form: str = "h",
  activation: str = "tanh",
  initializers: Initializers | None = None,
  use_bias: bool = True,
) -> Cell:
  """A leaky integrator, see the module docstring.

  Parameters are `{"w_rec": [N, N], "w_in": [M, N], "b": [N]}`.

  Args:
    input_size: M.
    hidden_size: N.
    rate: α, of 0 to 1; 0.1 if nothing gives it.
    tau: time constant τ; α is dt / τ. In place of `rate`.
    dt: of a step, in the unit of `tau`.
    form: "h" or "x".
    activation: σ, see `ACTIVATIONS`.
    initializers: of the weights; `orthogonal()` if None. Biases are zero.
    use_bias: whether there is a `b`.

  Raises:
    ValueError: on a size under 1, α outside (0, 1], both a rate and a time
      constant or one of `tau` and `dt` alone, or an unknown form or activation.

  Example:
    >>> cell = leaky(2, 8, tau=100.0, dt=20.0)  # Milliseconds: α = .2.
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params, 3), jnp.ones((3, 2))).shape
    (3, 8)
  """
  if (tau is None) != (dt is None) or (rate is not None and tau is not None):
    raise ValueError(
      f"rate must be given alone, or tau and dt, got rate={rate}, tau={tau},"
      f" dt={dt}"
    )
  if tau is not None and dt is not None:
    rate = dt / tau
  alpha = 0.1 if rate is None else rate
  _validate.check_number("rate", alpha, above=0)
  if alpha > 1:
    raise ValueError(f"rate must be at most 1, got {alpha}")
  _validate.check_one_of("form", form, ("x", "h"))
  sigma = find_activation(activation).phi

  def step(params, x, u_t):
    seen = sigma(x) if form == "x" else x
    a = _summed(params, seen, u_t)
    a = a if form == "x" else sigma(a)
    return add((1 - alpha) * x, alpha * a).astype(x.dtype)

  output = sigma if form == "x" else None
  return _cell(input_size, hidden_size, step, initializers, use_bias, output)


def residual(
  input_size: int,
  hidden_size: int,
  *,
  rate: float = 0.1,
  activation: str = "tanh",
  initializers: Initializers | None = None,
  use_bias: bool = True,
) -> Cell:
  """A residual connection in time, see the module docstring.

  Args:
    input_size: M.
    hidden_size: N.
    rate: α, greater than 0.
    activation: σ.
    initializers: as for `leaky`.
    use_bias: as for `leaky`.

  Raises:
    ValueError: as `leaky`.
  """
  _validate.check_number("rate", rate, above=0)
  sigma = find_activation(activation).phi

  def step(params, x, u_t):
    return add(x, rate * sigma(_summed(params, x, u_t))).astype(x.dtype)

  return _cell(input_size, hidden_size, step, initializers, use_bias)


def highway(
  input_size: int,
  hidden_size: int,
  *,
  gate_bias: float = -2.0,
  activation: str = "tanh",
  initializers: Initializers | None = None,
) -> Cell:
  """One gate between the old state and the new, see the module docstring.

  Parameters are those of `leaky`, and `w_gate`, `w_in_gate`, `b_gate`.

  Args:
    input_size: M.
    hidden_size: N.
    gate_bias: where `b_gate` starts; negative, so that the state is carried.
    activation: σ.
    initializers: as for `leaky`.

  Raises:
    ValueError: as `leaky`.
  """
  _validate.check_number("gate_bias", gate_bias, least=None)
  sigma = find_activation(activation).phi
  weights = orthogonal() if initializers is None else initializers
  sizes = input_size, hidden_size

  def more(key):
    keys = jax.random.split(key)
    return {
      "w_gate": weights.w_rec(keys[0], (hidden_size, hidden_size)),
      "w_in_gate": weights.w_in(keys[1], sizes),
      "b_gate": jnp.full(hidden_size, gate_bias, jnp.float32),
    }

  def step(params, x, u_t):
    gate = matmul(x, params["w_gate"]) + matmul(u_t, params["w_in_gate"])
    z = jax.nn.sigmoid(add(gate, params["b_gate"]))
    a = sigma(_summed(params, x, u_t))
    return ((1 - z) * x.astype(z.dtype) + z * a).astype(x.dtype)

  return _cell(*sizes, step, weights, True, more=more)


def layer_norm(
  input_size: int,
  hidden_size: int,
  *,
  activation: str = "tanh",
  initializers: Initializers | None = None,
) -> Cell:
  """An Elman cell with a layer normalisation of its summed inputs.

  Parameters are those of `leaky`, and `gain`, which starts at 1.

  Args:
    input_size: M.
    hidden_size: N.
    activation: σ.
    initializers: as for `leaky`.

  Raises:
    ValueError: as `leaky`.
  """
  sigma = find_activation(activation).phi

  def more(key):
    del key
    return {"gain": jnp.ones(hidden_size)}

  def step(params, x, u_t):
    summed = matmul(x, params["w_rec"]) + matmul(u_t, params["w_in"])
    a = add(times(normalised(summed), params["gain"]), params["b"])
    return sigma(a).astype(x.dtype)

  return _cell(input_size, hidden_size, step, initializers, True, more=more)


def _summed(params: PyTree, x: Array, u_t: Array) -> Array:
  """The input of σ: x w_rec + u_t w_in + b."""
  summed = matmul(x, params["w_rec"]) + matmul(u_t, params["w_in"])
  return add(summed, params["b"]) if "b" in params else summed


def _cell(
  input_size: int,
  hidden_size: int,
  step: Callable,
  initializers: Initializers | None,
  use_bias: bool,
  output: Callable | None = None,
  more: Callable[[Array], PyTree] | None = None,
) -> Cell:
  """A cell of one state [B, N] that starts at zero."""
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("hidden_size", hidden_size)
  weights = orthogonal() if initializers is None else initializers

  def init(key):
    key_rec, key_in, key_more = jax.random.split(key, 3)
    params = {
      "w_rec": weights.w_rec(key_rec, (hidden_size, hidden_size), jnp.float32),
      "w_in": weights.w_in(key_in, (input_size, hidden_size), jnp.float32),
    }
    if use_bias:
      params["b"] = jnp.zeros(hidden_size)
    return params | ({} if more is None else more(key_more))

  def initial_state(params, batch_size):
    return jnp.zeros((batch_size, hidden_size), params["w_rec"].dtype)

  return Cell(init, initial_state, step, output or (lambda x: x))
