"""The Elman network in the paper's two parametrisations.

  x-form (eq. 2, the default)  x_t = σ(x_{t-1}) w_rec + u_t w_in + b
  h-form (the authors' code)   h_t = σ(h_{t-1} w_rec + u_t w_in + b)

Outputs and gradients agree when h_0 = σ(x_0), since then h_t = σ(x_t); Omega
differs, for its error signals are dE/dx_t in one and dE/dh_t in the other. Both
start from a state of zeros. For sigmoid units that is h_0 = .5 in the x-form
and h_0 = 0, which no x_0 reaches, in the h-form, as the authors start.
"""

import functools

import jax
import jax.numpy as jnp

from steadygrad import _validate, kernels, trees
from steadygrad._unroll import previous_states
from steadygrad.activations import activation as find_activation
from steadygrad.cells import _inputs
from steadygrad.initializers import Initializers, basic_tanh
from steadygrad.numerics import add, matmul, sum_outer, times
from steadygrad.segments import in_segments, num_steps
from steadygrad.types import Array, Backward, Cell, Factors, Fused


def elman(  # noqa: PLR0913 (most of them have a default that serves)
  input_size: int,
  hidden_size: int,
  *,
  form: str = "x",
  activation: str = "tanh",
  initializers: Initializers | None = None,
  use_bias: bool = True,
  dtype: jnp.dtype = jnp.float32,
  implementation: str | None = None,
  precision: str | None = None,
) -> Cell:
  """An Elman cell with the fused passes of `kernels.elman_scan`.

  Parameters are `{"w_rec": [N, N], "w_in": [M, N], "b": [N]}`.

  Args:
    input_size: M.
    hidden_size: N.
    form: "x" or "h", see the module docstring.
    activation: "tanh", "sigmoid", "relu" or "linear".
    initializers: of the weights; `basic_tanh()` if None. Biases are zero.
    use_bias: whether there is a `b`.
    dtype: of parameters and states.
    implementation: of the fused passes, see `kernels.elman_scan`.
    precision: of their products, likewise: "highest", "tf32x3", "tf32" or
      "bfloat16". If given, those of the drives and gradients have it too.

  Raises:
    ValueError: on a size under 1, an unknown form, activation,
      implementation or precision, a dtype that is not floating-point, or other
      initializers; at a step, on complex inputs.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> from steadygrad.cells import elman
    >>> cell = elman(input_size=3, hidden_size=8, activation="sigmoid")
    >>> params = cell.init(jax.random.key(0))
    >>> params["w_rec"].shape, params["w_in"].shape, params["b"].shape
    ((8, 8), (3, 8), (8,))
    >>> cell.step(params, cell.initial_state(params, 2), jnp.ones((2, 3))).shape
    (2, 8)
  """
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("hidden_size", hidden_size)
  _validate.check_one_of("use_bias", use_bias, (True, False))
  _validate.check_floating("dtype", dtype)
  scan = kernels.elman_scan(
    form, activation, implementation=implementation, precision=precision
  )
  sigma = find_activation(activation)
  weights = basic_tanh() if initializers is None else initializers
  if not isinstance(weights, Initializers):
    raise ValueError(
      "initializers must be Initializers, as `basic_tanh()` gives, got"
      f" {weights!r}"
    )

  def init(key):
    key_rec, key_in = jax.random.split(key)
    params = {
      "w_rec": weights.w_rec(key_rec, (hidden_size, hidden_size), dtype),
      "w_in": weights.w_in(key_in, (input_size, hidden_size), dtype),
    }
    return params | ({"b": jnp.zeros(hidden_size, dtype)} if use_bias else {})

  def initial_state(params, batch_size):
    return jnp.zeros((batch_size, hidden_size), params["w_rec"].dtype)

  def step(params, x_tm1, u_t):
    if form == "x":
      x_t = add(
        matmul(sigma.phi(x_tm1), params["w_rec"]), _inputs.drive(params, u_t)
      )
      return x_t.astype(x_tm1.dtype)
    pre = add(matmul(x_tm1, params["w_rec"]), _inputs.drive(params, u_t))
    return sigma.phi(pre).astype(x_tm1.dtype)

  fused = Fused(
    functools.partial(_forward, scan, precision),
    functools.partial(_backward, scan),
    functools.partial(_factors, form, sigma),
    functools.partial(_gradient, form, sigma, precision),
  )
  output = sigma.phi if form == "x" else lambda h: h
  return Cell(init, initial_state, step, output, fused, reads_symbols=True)


def faster(params: dict[str, Array], speed: float | Array) -> dict[str, Array]:
  """Parameters of a cell in the x-form whose states move `speed` times as fast.

  A step of the x-form (eq. 2) is

    x_t - x_{t-1} = [σ(x_{t-1}) (w_rec - I) + u_t w_in + b]
                    - [x_{t-1} - σ(x_{t-1})]

  and the first bracket is multiplied. No parameter is in the second bracket;
  for tanh it is of third order in x, so that a memory that creeps moves `speed`
  times as far a step, and states settle where units are closer to saturation.

  Args:
    params: of `elman`: w_rec [N, N], w_in [M, N], and b [N] if there is one.
    speed: the factor, [].

  Returns:
    Parameters of the same shapes.
  """
  identity = jnp.eye(len(params["w_rec"]), dtype=params["w_rec"].dtype)
  fast = {name: speed * value for name, value in params.items()}
  return fast | {"w_rec": identity + speed * (params["w_rec"] - identity)}


def _forward(scan, precision, params, us, x_0, lengths):
  drives = _inputs.drive(params, us, precision).astype(x_0.dtype)
  return scan.forward(params["w_rec"], drives, x_0, lengths)


def _backward(scan, params, *sequences):
  return Backward(*scan.backward(params["w_rec"], *sequences))


def _factors(form, sigma, trajectory):
  x_0, xs, deltas = trajectory.x_0, trajectory.xs, trajectory.deltas
  if form == "h":
    lefts = previous_states(x_0, xs)
    rights = times(deltas, sigma.prime_of_phi(xs))
    return Factors(lefts, rights, None)
  hs = sigma.phi(xs) if trajectory.ys is None else trajectory.ys
  h_tm1s = previous_states(sigma.phi(x_0), hs)
  return Factors(h_tm1s, deltas, sigma.prime_of_phi(h_tm1s))


def _gradient(form, sigma, precision, trajectory, slope=None):
  """The gradients in all parameters.

  With an `OmegaSlope` ∂Ω/∂w_rec is in it, as something added to `lefts`.
  """
  params, us, mask = trajectory.params, trajectory.us, trajectory.mask
  lefts, rights, _ = _factors(form, sigma, trajectory)

  def product(slices, counts):
    lefts, rights, us, of_omega = slices
    if counts is not None:
      rights = jnp.where(counts[:, None, None], rights, 0)
    if of_omega is not None:
      products, (inverse_scale, slope) = of_omega
      inverse_scale, slope = inverse_scale[..., None], slope[..., None]
      cotangents = jnp.where(slope == 0, 0, products * inverse_scale * slope)
      if form == "x":
        cotangents *= sigma.prime_of_phi(lefts)
      # Only w_rec meets `lefts`, so the other gradients stay what they are.
      lefts = lefts + cotangents
    w_rec = {"w_rec": sum_outer(lefts, rights, precision)}
    return w_rec | _inputs.gradients(params, us, rights, precision), None

  of_omega = None if slope is None else (trajectory.products, slope)
  sequences = lefts, rights, us, of_omega
  grads, _ = in_segments(product, sequences, num_steps(mask))
  # A parameter of Flax NNX is no array but a tree with one leaf.
  return trees.place(
    params,
    {
      name: jax.tree.map(lambda p, g=g: g.astype(p.dtype), params[name])
      for name, g in grads.items()
    },
  )
