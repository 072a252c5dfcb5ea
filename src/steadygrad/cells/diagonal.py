"""Linear recurrences with a diagonal matrix, in a block.

A linear recurrent unit (LRU, arXiv 2303.06349) between a normalisation and a
gate, around which the input goes as well:

  e_t = u_t w_in + b_in,   v_t = norm(e_t) ∘ scale + offset
  x_t = λ ∘ x_{t-1} + γ ∘ (v_t B),   λ = exp(-exp(ν) + i exp(θ))
  s_t = gelu(Re(x_t C) + d ∘ v_t)
  y_t = e_t + s_t ∘ sigmoid(s_t w_gate + b_gate)

|λ| < 1 holds whatever is learned. An error signal shrinks by |λ| a step and is
never turned by other units, so that T steps can be made at once:
`lru_in_parallel`.
"""

import math

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.cells import _block
from steadygrad.numerics import matmul, times
from steadygrad.types import Array, Cell, PyTree

# Parameters of `lru` that weight decay would not make small: at zero |λ| is
# 1 / e, its angle one radian, and γ one.
EIGENVALUES = ("nu", "theta", "gamma")


def lru(
  input_size: int,
  hidden_size: int,
  *,
  state_size: int | None = None,
  radius: tuple[float, float] = (0.9, 0.999),
) -> Cell:
  """A block around a linear recurrent unit, see the module docstring.

  The state is `{"re": [B, S], "im": [B, S], "y": [B, N]}`; what is read, "y",
  does not feed back. B and C are pairs of real matrices.

  Args:
    input_size: M.
    hidden_size: N, width of the block.
    state_size: S, complex numbers; N if None.
    radius: |λ| starts uniformly in area between these two.

  Raises:
    ValueError: on a size under 1, or radii that are not 0 <= a < b < 1.
  """
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("hidden_size", hidden_size)
  size = hidden_size if state_size is None else state_size
  _validate.check_integer("state_size", size)
  least, most = radius
  if not 0 <= least < most < 1:
    raise ValueError(f"radius must be 0 <= a < b < 1, got {radius}")
  fan_in = jax_initializers.lecun_normal()

  def init(key):
    keys = jax.random.split(key, 8)
    area = jax.random.uniform(keys[0], (size,))
    log_radius = 0.5 * jnp.log(area * (most**2 - least**2) + least**2)
    turn = jax.random.uniform(keys[1], (size,), minval=1e-4, maxval=1.0)
    wide = 1 / math.sqrt(2)
    return _block.init_block(keys[2], keys[7], input_size, hidden_size) | {
      "nu": jnp.log(-log_radius),
      "theta": jnp.log(2 * math.pi * turn),
      "gamma": 0.5 * jnp.log1p(-jnp.exp(2 * log_radius)),
      "b_re": wide * fan_in(keys[3], (hidden_size, size)),
      "b_im": wide * fan_in(keys[4], (hidden_size, size)),
      "c_re": fan_in(keys[5], (size, hidden_size)),
      "c_im": fan_in(keys[6], (size, hidden_size)),
      "d": jnp.ones(hidden_size),
    }

  def initial_state(params, batch_size):
    zeros = jnp.zeros((batch_size, size), params["nu"].dtype)
    y = jnp.zeros((batch_size, hidden_size), params["nu"].dtype)
    return {"re": zeros, "im": zeros, "y": y}

  def step(params, x, u_t):
    e, v, (b_re, b_im) = _before(params, u_t)
    l_re, l_im = _eigenvalues(params)
    x_re, x_im = (x[name].astype(b_re.dtype) for name in ("re", "im"))
    re = times(x_re, l_re) - times(x_im, l_im) + b_re
    im = times(x_im, l_re) + times(x_re, l_im) + b_im
    x_t = {"re": re, "im": im, "y": _after(params, e, v, re, im)}
    return {name: new.astype(x[name].dtype) for name, new in x_t.items()}

  feeds = {"re": True, "im": True, "y": False}
  return Cell(init, initial_state, step, lambda x: x["y"], feeds_back=feeds)


def lru_in_parallel(params: PyTree, us: Array) -> Array:
  """Outputs of `lru` from a state of zeros, all steps at once, [T, B, N].

  `adjoints` goes step by step, see `mingru_in_parallel`.

  Args:
    params: of the cell.
    us: [T, B, M].
  """
  e, v, (b_re, b_im) = _before(params, us)
  l_re, l_im = (jnp.broadcast_to(x, b_re.shape) for x in _eigenvalues(params))

  def after(left, right):
    (a_re, a_im, x_re, x_im), (c_re, c_im, y_re, y_im) = left, right
    return (
      c_re * a_re - c_im * a_im,
      c_re * a_im + c_im * a_re,
      c_re * x_re - c_im * x_im + y_re,
      c_re * x_im + c_im * x_re + y_im,
    )

  _, _, re, im = jax.lax.associative_scan(after, (l_re, l_im, b_re, b_im))
  return _after(params, e, v, re, im)


def _eigenvalues(params: PyTree) -> tuple[Array, Array]:
  """Real and imaginary part of λ, [S] each."""
  radius = jnp.exp(-jnp.exp(params["nu"]))
  angle = jnp.exp(params["theta"])
  return radius * jnp.cos(angle), radius * jnp.sin(angle)


def _before(params: PyTree, us: Array):
  """(e, v, parts of γ ∘ (v B)) of inputs [..., M]."""
  e, v = _block.enter(params, us)
  gamma = jnp.exp(params["gamma"])
  parts = [matmul(v, params[name]) for name in ("b_re", "b_im")]
  return e, v, [times(part, gamma) for part in parts]


def _after(params: PyTree, e: Array, v: Array, re: Array, im: Array) -> Array:
  """y of states [..., S]."""
  real = matmul(re, params["c_re"]) - matmul(im, params["c_im"])
  through = real + times(v, params["d"])
  return _block.leave(params, e, jax.nn.gelu(through))
