"""Error surfaces: the wall of Fig. 6, paths over it, and slices of any loss.

Where gradients explode so does the curvature along them: the surface has a wall
(section 2.3). A plain step that hits it is thrown far; a clipped one stays.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from steadygrad import _validate
from steadygrad.analysis import _checks
from steadygrad.numerics import joint_norm
from steadygrad.transforms.clipping import clip_by_global_norm
from steadygrad.types import Array, PyTree


class Path(NamedTuple):
  """Gradient descent, K steps.

  Attributes:
    params: leaves [K + 1, ...].
    losses: [K + 1].
    gradient_norms: [K + 1], before clipping.
    finite: bool [K + 1].
  """

  params: PyTree
  losses: Array
  gradient_norms: Array
  finite: Array


class Curvature(NamedTuple):
  """The loss along its own gradient g; every field is [].

  Attributes:
    loss: [].
    gradient_norm: |g|.
    curvature: gᵀ H g / |g|², the second derivative along g; 0 where g is 0.
    finite: bool [].
  """

  loss: Array
  gradient_norm: Array
  curvature: Array
  finite: Array


def single_unit_loss(
  w: Array, b: Array, *, x_0=0.5, target=0.7, num_steps: int = 50
) -> Array:
  """Fig. 6: (σ(x_50) - 0.7)² of the unit x_t = w σ(x_{t-1}) + b, x_0 = 0.5.

  Args:
    w: recurrent weight [].
    b: bias [].
    x_0: first state.
    target: what σ(x_T) shall be.
    num_steps: T.

  Returns:
    [].
  """
  for name, value in (("w", w), ("b", b), ("x_0", x_0), ("target", target)):
    _validate.check_number(name, value, least=None, finite=False)
  _validate.check_integer("num_steps", num_steps)
  x = jnp.asarray(x_0, jnp.result_type(w, b))
  x, _ = jax.lax.scan(
    lambda x, _: (w * jax.nn.sigmoid(x) + b, None), x, None, length=num_steps
  )
  return jnp.square(jax.nn.sigmoid(x) - target)


def linear_sensitivities(w: Array, x_0: Array, t: int) -> tuple[Array, Array]:
  """First and second derivative of x_t = w^t x_0 in w, section 2.3.

    ∂x_t/∂w = t w^(t-1) x_0,   ∂²x_t/∂w² = t (t-1) w^(t-2) x_0

  Both explode together for |w| > 1.

  Args:
    w: [].
    x_0: [].
    t: number of steps, at least 0.

  Raises:
    ValueError: if t is not an integer of at least 0.
  """
  _validate.check_integer("t", t, least=0)
  # At t = 0 and 1 the power would be of a negative exponent; the factor is 0.
  first = t * w ** max(t - 1, 0) * x_0
  return first, t * (t - 1) * w ** max(t - 2, 0) * x_0


def descend(
  loss: Callable[[PyTree], Array],
  start: PyTree,
  *,
  learning_rate: float | Array,
  num_steps: int,
  max_norm: float | Array = float("inf"),
) -> Path:
  """Gradient descent with Algorithm 1's clipping; plain with max_norm = inf.

  Args:
    loss: params -> [].
    start: params.
    learning_rate: of every step.
    num_steps: K.
    max_norm: threshold on the joint norm.

  Returns:
    `Path`; entries after a loss that is not finite are not finite either, and
    say so.

  Raises:
    ValueError: if the start is not floating-point or concretely not finite, or
      an option is not as above.
  """
  _checks.check_floating("start", start)
  _checks.check_finite("start", start)
  _validate.check_integer("num_steps", num_steps, least=0)
  if not callable(learning_rate):
    _validate.check_number(
      "learning_rate", learning_rate, least=None, finite=False
    )
  tx = optax.chain(clip_by_global_norm(max_norm), optax.sgd(learning_rate))

  def step(carry, _):
    params, state = carry
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = tx.update(grads, state)
    seen = (params, value, joint_norm(grads))
    return (optax.apply_updates(params, updates), state), seen

  carry = (start, tx.init(start))
  _, (params, losses, norms) = jax.lax.scan(step, carry, length=num_steps + 1)
  return Path(params, losses, norms, jnp.isfinite(losses) & jnp.isfinite(norms))


def hessian_vector_product(
  loss: Callable[[PyTree], Array], params: PyTree, v: PyTree
) -> PyTree:
  """H v by forward over reverse, the cost of about two gradients."""
  _checks.check_floating("params", params)
  _validate.check_same_shapes("v", v, params)
  return jax.jvp(jax.grad(loss), (params,), (v,))[1]


def curvature_along_gradient(
  loss: Callable[[PyTree], Array], params: PyTree
) -> Curvature:
  """gᵀ H g / |g|² with the unit gradient, so that it does not overflow with g.

  Args:
    loss: params -> [], twice differentiable.
    params: where.

  Returns:
    `Curvature`.

  Raises:
    ValueError: if the params are not floating-point.
  """
  _checks.check_floating("params", params)
  value, grads = jax.value_and_grad(loss)(params)
  norm = joint_norm(grads)
  safe = jnp.where(norm == 0, 1, norm)
  unit = jax.tree.map(lambda g: (g / safe).astype(g.dtype), grads)
  product = hessian_vector_product(loss, params, unit)
  curvature = _dot(unit, product)
  finite = jnp.isfinite(value) & jnp.isfinite(norm) & jnp.isfinite(curvature)
  return Curvature(value, norm, curvature, finite)


def surface(
  loss: Callable[[PyTree], Array],
  center: PyTree,
  directions: tuple[PyTree, PyTree],
  offsets: tuple[Array, Array],
) -> Array:
  """loss(center + r d_0 + s d_1) over a grid; one row of s at a time.

  Args:
    loss: params -> [].
    center: params.
    directions: two trees like `center`.
    offsets: r [R] and s [S].

  Returns:
    [S, R], as an image: r along the columns. Values that are not finite stay as
    they are.

  Raises:
    ValueError: if the offsets are not two vectors, the directions not two trees
      shaped like `center`, or one of them is concretely not finite.
  """
  for name, pair in (("directions", directions), ("offsets", offsets)):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
      raise ValueError(f"{name} must be two, got {pair}")
  _checks.check_floating("center", center)
  for name, tree in (("center", center), ("directions", directions)):
    _checks.check_finite(name, tree)
  for direction in directions:
    _validate.check_same_shapes("each of directions", direction, center)
  rs, ss = (_checks.real_array("offsets", o, "[R]") for o in offsets)

  def at(r, s):
    def move(c, a, b):
      return (c + r * a + s * b).astype(c.dtype)

    return loss(jax.tree.map(move, center, *directions))

  row = jax.vmap(at, (0, None))
  return jax.lax.map(lambda s: row(rs, s), ss)


def slice_directions(
  loss: Callable[[PyTree], Array], params: PyTree, key: Array
) -> tuple[PyTree, PyTree]:
  """The unit gradient, and a random unit direction at right angles to it.

  The random one is drawn with each leaf's entries of the size of that leaf's
  root mean square, so that large and small matrices count alike.

  Args:
    loss: params -> [].
    params: where the gradient is taken.
    key: of the draw.

  Returns:
    Two trees like `params`. A zero gradient gives a zero first direction.

  Raises:
    ValueError: if the params are not floating-point.
  """
  _checks.check_floating("params", params)
  grads = jax.grad(loss)(params)
  first = _unit(grads)
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  drawn = []
  for k, leaf in zip(keys, leaves, strict=True):
    size = jnp.sqrt(jnp.mean(jnp.square(leaf)))
    # A bias of zeros would never move; it takes the mean over all instead.
    size = jnp.where(size > 0, size, joint_norm(params) / len(leaves))
    drawn.append(size * jax.random.normal(k, leaf.shape, leaf.dtype))
  second = jax.tree.unflatten(structure, drawn)
  along = _dot(first, second)
  second = jax.tree.map(lambda d, a: d - along * a, second, first)
  return first, _unit(second)


def _unit(tree: PyTree) -> PyTree:
  norm = joint_norm(tree)
  norm = jnp.where(norm == 0, 1, norm)
  return jax.tree.map(lambda x: (x / norm).astype(x.dtype), tree)


def _dot(a: PyTree, b: PyTree) -> Array:
  products = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
  return cast(Array, sum(jax.tree.leaves(products)))
