"""A readout that attends to all states up to the one that is read.

  e_ts = v · tanh(y_t w_query + y_s w_key)      (additive: arXiv 1409.0473)
  c_t = Σ_{s <= t} softmax_s(e_ts) y_s
  outputs_t = [y_t, c_t] w_out + b_out

An error at step t reaches every state before it by a path of one step, beside
the product of Jacobians through the recursion.
"""

import jax
import jax.numpy as jnp
from jax.nn import initializers as jax_initializers

from steadygrad import _validate
from steadygrad.numerics import add, matmul, promoted
from steadygrad.types import Array, Readout


def attention_readout(
  input_size: int,
  output_size: int,
  *,
  reads: str = "last",
  width: int | None = None,
) -> Readout:
  """Additive attention over past states, masked beyond a sequence's length.

  Parameters are `{"w_query": [N, A], "w_key": [N, A], "v": [A],
  "w_out": [2 N, O], "b_out": [O]}`.

  Args:
    input_size: N.
    output_size: O.
    reads: "last" for outputs [B, O] from each sequence's last state, "every"
      for [T, B, O], which takes T² B A numbers.
    width: A; N if None.

  Raises:
    ValueError: on a size under 1 or another `reads`.
  """
  _validate.check_integer("input_size", input_size)
  _validate.check_integer("output_size", output_size)
  _validate.check_one_of("reads", reads, ("last", "every"))
  size = input_size if width is None else width
  _validate.check_integer("width", size)
  fan_in = jax_initializers.lecun_normal()

  def init(key):
    keys = jax.random.split(key, 4)
    return {
      "w_query": fan_in(keys[0], (input_size, size)),
      "w_key": fan_in(keys[1], (input_size, size)),
      "v": fan_in(keys[2], (size, 1))[:, 0],
      "w_out": fan_in(keys[3], (2 * input_size, output_size)),
      "b_out": jnp.zeros(output_size),
    }

  def attend(params, y: Array, ys: Array, keys: Array, seen: Array) -> Array:
    """Outputs [B, O] of one y [B, N]; `seen` is bool [T, B]."""
    query = matmul(y, params["w_query"])
    scores = matmul(jnp.tanh(query[None] + keys), params["v"][:, None])[..., 0]
    shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=0)
    weighted = jnp.multiply(*promoted(shares[..., None], ys))
    context = jnp.sum(weighted, 0).astype(y.dtype)
    both = jnp.concatenate([y, context], -1)
    outputs = add(matmul(both, params["w_out"]), params["b_out"])
    return outputs.astype(y.dtype)

  def apply(params, ys, mask):
    keys = matmul(ys, params["w_key"])
    num_steps, batch_size = ys.shape[:2]
    # A sequence of no steps looks at its state before the first.
    steps = jnp.arange(num_steps)[:, None]
    first = jnp.broadcast_to(steps == 0, (num_steps, batch_size))
    mask = jnp.ones_like(first) if mask is None else mask | first
    if reads == "last":
      return attend(params, ys[-1], ys, keys, mask)

    def at(t, y):
      return attend(params, y, ys, keys, mask & (steps <= t))

    return jax.vmap(at)(jnp.arange(num_steps), ys)

  return Readout(init, apply, "every", masked=True)
