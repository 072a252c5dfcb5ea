"""The paper's three algorithms as named chains."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import optax

from steadygrad import numerics, trees
from steadygrad.transforms import _common, clipping, omega
from steadygrad.types import Array, Cell

WEIGHT_DECAY = 1e-4  # Optax's own of AdamW.


def msgd(
  learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
  """MSGD: plain minibatch SGD. The first link only measures the norm.

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.transforms import msgd
    >>> tx = msgd(learning_rate=0.5)
    >>> grads = {"w": jnp.array([3.0, 4.0])}
    >>> updates, state = tx.update(grads, tx.init(grads))
    >>> print(updates["w"])
    [-1.5 -2. ]
  """
  return msgd_c(learning_rate, jnp.inf)


def msgd_c(
  learning_rate: optax.ScalarOrSchedule, max_norm: float | Array
) -> optax.GradientTransformationExtraArgs:
  """MSGD-C: SGD with Algorithm 1. Links "clip", "sgd".

  Example:
    >>> import jax.numpy as jnp
    >>> from steadygrad.transforms import msgd_c
    >>> tx = msgd_c(learning_rate=0.5, max_norm=1.0)
    >>> grads = {"w": jnp.array([3.0, 4.0])}
    >>> updates, state = tx.update(grads, tx.init(grads))
    >>> print(updates["w"])
    [-0.3 -0.4]
  """
  _common.check_rate("learning_rate", learning_rate)
  return optax.named_chain(
    ("clip", clipping.clip_by_global_norm(max_norm)),
    ("sgd", sgd(learning_rate)),
  )


def msgd_cr(
  cell: Cell,
  learning_rate: optax.ScalarOrSchedule,
  max_norm: float | Array,
  weight: omega.Weight,
  *,
  ratio: str = "squared",
  reduction: str = "mean",
  min_squared_norm: float | Array = omega.MIN_SQUARED_NORM,
  merged: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """MSGD-CR: Ω, then one joint clip, then SGD. Links "omega", "clip", "sgd".

  Args:
    cell: the model's cell.
    learning_rate: number or schedule.
    max_norm: threshold of Algorithm 1; inf for Ω without clipping.
    weight: α of Ω; number or schedule.
    ratio: this and the rest as in `add_omega_gradient`.
    reduction: as there.
    min_squared_norm: as there.
    merged: as there.

  Example:
    >>> import jax
    >>> from steadygrad import adjoints, cells, models, tasks
    >>> from steadygrad.transforms import msgd_cr, telemetry
    >>> task = tasks.temporal_order(length=10)
    >>> cell = cells.elman(task.input_size, hidden_size=8)
    >>> model = models.recurrent(cell, models.linear_readout(8, 4))
    >>> tx = msgd_cr(cell, learning_rate=0.01, max_norm=1.0, weight=4.0)
    >>> params = model.init(jax.random.key(0))
    >>> batch = task.sample(jax.random.key(1), 5)
    >>> loss, grads, trajectory = adjoints(model, task.loss)(params, batch)
    >>> updates, state = tx.update(
    ...   grads, tx.init(params), params, trajectory=trajectory
    ... )
    >>> sorted(telemetry(state))
    ['clipped', 'finite', 'gradient_norm', 'omega', 'omega_valid_fraction']
  """
  _common.check_rate("learning_rate", learning_rate)
  add_omega = omega.add_omega_gradient(
    cell,
    weight,
    ratio=ratio,
    reduction=reduction,
    min_squared_norm=min_squared_norm,
    merged=merged,
  )
  return optax.named_chain(
    ("omega", add_omega),
    ("clip", clipping.clip_by_global_norm(max_norm)),
    ("sgd", sgd(learning_rate)),
  )


def sgd(
  learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
  """`optax.sgd` for the updates that have a derivative; the others stay.

  Optax would make floating-point zeros of integer ones, which round integer
  parameters above 2^24 when they are added. The state is that of `optax.sgd`.

  Args:
    learning_rate: number or schedule.
  """
  return _with_derivative(optax.sgd(learning_rate))


def adam(
  learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformationExtraArgs:
  """`optax.adam` for the updates that have a derivative; the others stay.

  Also where JAX promotes dtypes strictly, which refuses the powers of an
  integer that Optax's takes. The moments are of float32 at least: its 1e-8 is
  zero in float16, and zero gradients would become NaN.

  Args:
    learning_rate: number or schedule.
  """
  return _with_derivative(_in_float32(optax.adam(learning_rate)))


def adamw(
  learning_rate: optax.ScalarOrSchedule,
  weight_decay: float | Array = WEIGHT_DECAY,
  *,
  spared: Collection[str] = (),
) -> optax.GradientTransformationExtraArgs:
  """`optax.adamw` for the updates that have a derivative, as `adam`.

    θ <- θ - η (adam(g) + λ θ)

  Args:
    learning_rate: η, a number or schedule.
    weight_decay: λ.
    spared: names of parameters that do not decay, those below them too, as the
      eigenvalues of `lru`, which zero would not make small but turn.

  Raises:
    ValueError: on a concrete number that is negative or not finite, or a text
      for `spared`; at update without parameters.
  """
  _common.check_rate("learning_rate", learning_rate)
  _common.check_rate("weight_decay", weight_decay)
  _common.check_names("spared", spared)

  def decays(params):
    _, numbers = trees.numbered(params)
    named = {i: path for path, i in trees.named_leaves(numbers)}
    return jax.tree.map(lambda i: not {*named[i]} & {*spared}, numbers)

  return _with_derivative(
    _in_float32(
      optax.adamw(learning_rate, weight_decay=weight_decay, mask=decays)
    )
  )


def _in_float32(
  tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """`tx` on updates and parameters of float32 at least, strict mode or not."""
  tx = optax.with_extra_args_support(tx)

  def wide(tree):
    return jax.tree.map(lambda x: x.astype(numerics.accumulator_dtype(x)), tree)

  def update(updates, state, params=None, **extra_args):
    params = None if params is None else wide(params)
    with jax.numpy_dtype_promotion("standard"):
      moved, state = tx.update(wide(updates), state, params, **extra_args)
    return jax.tree.map(lambda u, m: m.astype(u.dtype), updates, moved), state

  return optax.GradientTransformationExtraArgs(
    lambda params: tx.init(wide(params)), update
  )


def _with_derivative(
  tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """`tx` for the leaves that have a derivative; the others stay."""
  tx = optax.with_extra_args_support(tx)

  def only(tree):
    return jax.tree.map(
      lambda x: x if trees.is_inexact(x) else optax.MaskedNode(), tree
    )

  def update(updates, state, params=None, **extra_args):
    params = None if params is None else only(params)
    moved, state = tx.update(only(updates), state, params, **extra_args)
    return jax.tree.map(
      lambda u, m: m if trees.is_inexact(u) else u, updates, moved
    ), state

  return optax.GradientTransformationExtraArgs(
    lambda params: tx.init(only(params)), update
  )


def readout_apart(
  tx: optax.GradientTransformation,
  learning_rate: optax.ScalarOrSchedule,
  max_norm: float | Array,
) -> optax.GradientTransformationExtraArgs:
  """`tx` for the cell, MSGD-C with a rate of its own for the readout.

  Algorithm 1 keeps the joint gradient's direction. Where the cell's part is
  large and turns with every update, as where a bias acts over hundreds of
  steps, the readout's is scaled down with it, although its own norm is small
  and its direction steady: on memorisation of 20 bits over 200 blanks it is one
  part in a thousand of the norm. Not in the paper, which clips once.

  Args:
    tx: one of the chains above, or any other; of parameters {"cell": ...,
      "readout": ...}, as `models.recurrent` has, it is given the cell's.
    learning_rate: of the readout; number or schedule.
    max_norm: threshold on the norm of the readout's gradient.

  Returns:
    An Optax transformation, whose `telemetry` has the readout's numbers with
    "_2" behind their names.
  """
  _common.check_transformation("tx", tx)

  def labels(params):
    # By name, so that any mapping serves, a dict or a State of Flax NNX.
    _, numbers = trees.numbered(params)
    parts = {i: "".join(path[:1]) for path, i in trees.named_leaves(numbers)}
    return jax.tree.map(parts.__getitem__, numbers)

  return optax.partition(
    {"cell": tx, "readout": msgd_c(learning_rate, max_norm)}, labels
  )
