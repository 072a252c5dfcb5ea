"""What every public Optax link is built from, and the problem it is put to.

A public factory of `steadygrad.transforms` needs an entry in `LINKS`, any other
public function a name in `FUNCTIONS`; `contracts_test` fails until it has one.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from steadygrad import adjoints, transforms
from steadygrad.cells import elman
from steadygrad.models import linear_readout, recurrent
from steadygrad.types import Batch

CELL = elman(3, 4)

FUNCTIONS = {"choose_max_norm", "omega_gradient", "omega_terms", "telemetry"}


class Link(NamedTuple):
  """How a factory is called, and where it behaves in a way of its own.

  Attributes:
    arguments: of the factory.
    vary: value -> arguments, for a number that may be traced and vmapped.
    values: such numbers, with different results.
    outside_multi_steps: whether it must not stand inside `optax.MultiSteps`.
    nonfinite: what becomes of a gradient with inf or NaN in it: "passes",
      "zeros" or "shrinks" (all but w_rec is zero).
  """

  arguments: dict[str, Any]
  vary: Callable[[Any], dict] | None = None
  values: tuple[float, ...] = ()
  outside_multi_steps: bool = False
  nonfinite: str = "passes"


# The gradient norm of the problem is about 1: some of these bind, some do not.
NORMS = (0.0, 0.1, 100.0)

LINKS = {
  "adam": Link(
    dict(learning_rate=0.1), lambda v: dict(learning_rate=v), (0.1, 1.0)
  ),
  "adamw": Link(
    dict(learning_rate=0.1, weight_decay=0.1),
    lambda v: dict(learning_rate=0.1, weight_decay=v),
    (0.0, 0.1, 1.0),
  ),
  "add_omega_gradient": Link(
    dict(cell=CELL, weight=4.0),
    lambda v: dict(cell=CELL, weight=v),
    (0.0, 1.0, 4.0),
    outside_multi_steps=True,
  ),
  "clip_by_global_norm": Link(
    dict(max_norm=0.1), lambda v: dict(max_norm=v), NORMS
  ),
  "msgd": Link(
    dict(learning_rate=0.1), lambda v: dict(learning_rate=v), (0.1, 1.0)
  ),
  "msgd_c": Link(
    dict(learning_rate=0.1, max_norm=0.1),
    lambda v: dict(learning_rate=0.1, max_norm=v),
    NORMS,
  ),
  "msgd_cr": Link(
    dict(cell=CELL, learning_rate=0.1, max_norm=0.5, weight=4.0),
    lambda v: dict(cell=CELL, learning_rate=0.1, max_norm=100.0, weight=v),
    (0.0, 1.0, 4.0),
    outside_multi_steps=True,
  ),
  "readout_apart": Link(
    dict(tx=transforms.msgd_c(0.1, 0.1), learning_rate=1.0, max_norm=0.1),
    lambda v: dict(tx=transforms.msgd_c(0.1, v), learning_rate=1.0, max_norm=v),
    NORMS,
  ),
  "sgd": Link(
    dict(learning_rate=0.1), lambda v: dict(learning_rate=v), (0.1, 1.0)
  ),
  "shrink_if_nonfinite": Link(
    dict(rate=0.02),
    lambda v: dict(rate=0.02, max_norm=v),
    NORMS,
    nonfinite="shrinks",
  ),
  "skip_nonfinite": Link(
    dict(inner=optax.trace(0.9)),
    lambda v: dict(inner=transforms.clip_by_global_norm(v)),
    NORMS,
    nonfinite="zeros",
  ),
  "zero_nonfinite": Link({}, nonfinite="zeros"),
}


def is_factory(name: str) -> bool:
  """Whether a public name makes an Optax transformation, by its annotation."""
  value = getattr(transforms, name)
  if isinstance(value, type) or not callable(value):
    return False
  made = inspect.signature(value).return_annotation
  return isinstance(made, type) and issubclass(
    made, optax.GradientTransformation
  )


# The other rules of clipping have their contract in `clips_test`.
RULES = {rule.__name__ for rule in transforms.CLIPS.values()}
RULES -= {"clip_by_global_norm"}
FACTORIES = sorted(filter(is_factory, {*transforms.__all__} - RULES))


def build(name: str, **arguments):
  """The transformation of a public factory; fails where there is no entry."""
  if name not in LINKS:
    raise AssertionError(f"give {name} an entry in LINKS of tests/contracts.py")
  return getattr(transforms, name)(**(arguments or LINKS[name].arguments))


class Problem(NamedTuple):
  """One step of a small network: what `update` is called with."""

  grads: Any
  params: Any
  trajectory: Any


def _model(dtype):
  cell = elman(3, 4, dtype=dtype)
  return recurrent(cell, linear_readout(4, 2, dtype=dtype))


@functools.cache
def compiled_problem(dtype: str = "float32"):
  """key -> Problem, weights of order 1 so that the gradient is too."""
  model = _model(jnp.dtype(dtype))

  def loss_fn(outputs, batch):
    return jnp.mean(jnp.square(outputs - batch.targets))

  def problem(key):
    keys = jax.random.split(key, 3)
    params = jax.tree.map(lambda p: 8 * p, model.init(keys[0]))
    us = jax.random.normal(keys[1], (4, 3, 3), jnp.dtype(dtype))
    targets = jax.random.normal(keys[2], (3, 2), jnp.dtype(dtype))
    _, grads, trajectory = adjoints(model, loss_fn)(params, Batch(us, targets))
    return Problem(grads, params, trajectory)

  return jax.jit(problem)


def problem(seed: int = 0, dtype: str = "float32") -> Problem:
  return compiled_problem(dtype)(jax.random.key(seed))


def update(tx, state, problem: Problem, **extra):
  """`tx.update` as a training loop calls it: the trajectory goes to all."""
  return tx.update(
    problem.grads,
    state,
    problem.params,
    trajectory=problem.trajectory,
    **extra,
  )


def compiled(tx):
  """problem -> (updates, state) of a first update."""
  tx = optax.with_extra_args_support(tx)
  return jax.jit(lambda problem: update(tx, tx.init(problem.params), problem))


def once(tx, problem: Problem):
  return compiled(tx)(problem)


@functools.cache
def expected(name: str):
  """(updates, state) of the link on its own for the problem of seed 0."""
  return once(build(name), problem())


def special_values(dtype: str) -> dict[str, float]:
  """Numbers at the ends of a dtype."""
  info = jnp.finfo(dtype)
  return {
    "zero": 0.0,
    "smallest": float(info.tiny),
    "largest": float(info.max),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "nan": float("nan"),
  }


def abstract(tree):
  """Structure, shapes, dtypes and weak types."""
  return jax.tree.map(
    lambda x: (jnp.shape(x), jnp.result_type(x), jax.typeof(x).weak_type), tree
  )


def stack(trees):
  return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def check_outcome(name, label, value, updates):
  """Finite stays finite; what is not goes by the link's own rule."""
  rule = LINKS[name].nonfinite
  leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(updates)]
  finite = all(np.isfinite(x).all() for x in leaves)
  if np.isfinite(value) or rule != "passes":
    assert finite, f"{label} became {updates}"
  if np.isfinite(value):
    return
  if rule == "passes":
    assert not np.isfinite(updates["readout"]["w_out"][0, 0]), label
    assert np.isfinite(updates["cell"]["w_in"]).all(), label
  else:
    shrunk = np.any(updates["cell"].pop("w_rec"))
    assert shrunk == (rule == "shrinks"), label
    assert not any(np.any(x) for x in jax.tree.leaves(updates)), label
