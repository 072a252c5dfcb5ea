"""A zero added to every state of every scan of a function, whoever wrote it.

The function is traced to a jaxpr and evaluated again, equation by equation,
with each `scan` rebuilt so that its carry is given a tap, a zero at each step.
The gradient in the taps is dE/dx_t. Of a body the equations that make the
carry come first; what is read from the carry in the same step sees the tapped
one, as a readout of x_t does.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from steadygrad.reports import _jaxprs, _ranges
from steadygrad.types import Array, PyTree


class Tap(NamedTuple):
  """What is added to one scan: arrays, or their shapes.

  Attributes:
    own: one for each floating or complex leaf of the carry, [T, ...].
    inner: `Tap`s of the scans in its body, with T as their first axis.
  """

  own: list
  inner: list


class Scan(NamedTuple):
  """One scan that was found.

  Attributes:
    name: of the name stack, "" where it has none.
    length: T.
    reverse: whether it goes from the last step to the first.
    layers: whether its steps are layers, see `_jaxprs.over_layers`.
    tap: shapes of its taps.
    ranges: of the states that have taps, see `_ranges`.
    inner: the scans in its body.
  """

  name: str
  length: int
  reverse: bool
  layers: bool
  tap: Tap
  ranges: list
  inner: list


class Tapped(NamedTuple):
  """A function with taps.

  Attributes:
    scans: those at the top, in the order in which they run.
    loops: how many while_loops there are, which have no gradient in reverse.
    call: (taps of the scans, *arguments) -> (what the function returns, the
      states x_t of each scan, [T, ...]).
    last: the same arguments -> the last carry of each scan, its floating
      leaves, seen from the taps of that scan alone.
  """

  scans: list[Scan]
  loops: int
  call: Callable[..., Any]
  last: Callable[..., list]


def tapped(fn: Callable[..., Any], *args: Any) -> Tapped:
  """`fn` with taps, traced with these arguments.

  Raises:
    ValueError: naming what it is, if a loop is found that cannot be tapped.
  """
  closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
  program = _jaxprs.flattened(closed)
  structure = jax.tree.structure(shape)
  layers = _jaxprs.over_layers(program, len(jax.tree.leaves(args[0])))
  eqns = [s.eqn for s in program.steps if _jaxprs.is_scan(s.eqn)]
  scans = [
    scan_of(e)._replace(layers=x) for e, x in zip(eqns, layers, strict=True)
  ]

  def call(taps, *args):
    outs, states = run(program, jax.tree.leaves(args), taps, isolate=False)
    return jax.tree.unflatten(structure, outs), [x for _, x in states]

  def last(taps, *args):
    _, states = run(program, jax.tree.leaves(args), taps, isolate=True)
    return [x for x, _ in states]

  loops = sum(step.eqn.primitive.name == "while" for step in program.steps)
  return Tapped(scans, loops, call, last)


def zeros(scans: Sequence[Scan]) -> list[Tap]:
  """Taps of zeros."""
  shapes = [scan.tap for scan in scans]
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def scan_of(eqn) -> Scan:
  """What `tapped` tells of a scan."""
  length = int(eqn.params["length"])
  body = _jaxprs.flattened(_jaxprs.jaxprs_of(eqn)[0])
  avals = [v.aval for v in eqn.outvars]
  own = [
    jax.ShapeDtypeStruct((length, *avals[i].shape), avals[i].dtype)
    for i in _jaxprs.states_of(eqn, body)
  ]
  inner = [scan_of(s.eqn) for s in body.steps if _jaxprs.is_scan(s.eqn)]
  longer = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((length, *s.shape), s.dtype),
    [scan.tap for scan in inner],
  )
  info = getattr(eqn, "source_info", None)
  name = str(getattr(info, "name_stack", "") or "")
  name = "" if name.endswith(")") else name  # Such as vmap() alone.
  reverse = bool(eqn.params["reverse"])
  tap, bounds = Tap(own, longer), _ranges.ranges(eqn)
  return Scan(name, length, reverse, False, tap, bounds, inner)


def run(
  program: _jaxprs.Program,
  args: Sequence,
  taps: Sequence[Tap],
  *,
  isolate: bool,
) -> tuple[list, list]:
  """(outputs, (x_T, [x_1 .. x_T]) of the states of each scan at the top).

  Args:
    program: what is run.
    args: its inputs.
    taps: of its scans.
    isolate: whether a scan sees its inputs as constants; then x_T is all that
      is told of its states.
  """
  env = program.constants | dict(zip(program.inputs, args, strict=True))
  states, left = [], iter(taps)
  for step in program.steps:
    values = [_jaxprs.value_of(env, a) for a in step.reads]
    if not _jaxprs.is_scan(step.eqn):
      outs = _jaxprs.bind(step.eqn, values)
    else:
      if isolate:
        values = jax.lax.stop_gradient(values)
      outs, seen = _tapped_scan(step.eqn, values, next(left), not isolate)
      states.append(seen)
    env.update(zip(step.writes, outs, strict=True))
  return [_jaxprs.value_of(env, a) for a in program.outputs], states


def _tapped_scan(
  eqn, values: Sequence, tap: Tap, keep: bool = False
) -> tuple[list, tuple]:
  """(outputs, (x_T, [x_1 .. x_T]) of its states) of a scan with its taps.

  Without `keep` no x_t is kept but the last.
  """
  consts, carry, _ = _jaxprs.sizes(eqn)
  program = _jaxprs.flattened(_jaxprs.jaxprs_of(eqn)[0])
  given, first = values[:consts], values[consts : consts + carry]
  taps_at, sums = _jaxprs.states_of(eqn, program), _jaxprs.sums(eqn, program)

  def body(x_tm1, inputs):
    rows, own, inner = inputs
    args = [*given, *x_tm1, *rows]
    added = dict(zip(taps_at, own, strict=True))
    x_t, ys = _tapped_body(program, args, carry, added, inner, sums)
    # What is only looked at shall cost nothing on the way back.
    seen = [jax.lax.stop_gradient(x_t[i]) for i in taps_at if keep]
    return x_t, (ys, seen)

  inputs = list(values[consts + carry :]), tap.own, tap.inner
  x_T, (ys, states) = jax.lax.scan(
    body,
    [jnp.asarray(x) for x in first],
    inputs,
    length=eqn.params["length"],
    reverse=eqn.params["reverse"],
    unroll=eqn.params.get("unroll", 1),
  )
  return [*x_T, *ys], ([x_T[i] for i in taps_at], states)


def _tapped_body(
  program: _jaxprs.Program,
  args: Sequence,
  carry: int,
  added: dict[int, Array],
  inner: Sequence[Tap],
  sums: set[int],
) -> tuple[list, list]:
  """(carry, outputs) of one step: {index: tap} is added to the carry."""
  env = program.constants | dict(zip(program.inputs, args, strict=True))
  scans = [id(s) for s in program.steps if _jaxprs.is_scan(s.eqn)]
  taps = dict(zip(scans, inner, strict=True))
  carried, outputs = program.outputs[:carry], program.outputs[carry:]
  states = [atom for i, atom in enumerate(carried) if i not in sums]
  first = _jaxprs.needed(program, states)

  def evaluate(steps):
    for step in steps:
      values = [_jaxprs.value_of(env, a) for a in step.reads]
      if _jaxprs.is_scan(step.eqn):
        outs, _ = _tapped_scan(step.eqn, values, taps[id(step)])
      else:
        outs = _jaxprs.bind(step.eqn, values)
      env.update(zip(step.writes, outs, strict=True))

  evaluate([s for s, early in zip(program.steps, first, strict=True) if early])
  x_t: list[Any] = [
    None if i in sums else _jaxprs.value_of(env, atom)
    for i, atom in enumerate(carried)
  ]
  known = {*program.inputs, *program.constants}
  for i, tap in added.items():
    x_t[i] = x_t[i] + tap
    if not isinstance(carried[i], core.Literal) and carried[i] not in known:
      env[carried[i]] = x_t[i]  # What is read from x_t sees the tap.
  evaluate(
    [s for s, early in zip(program.steps, first, strict=True) if not early]
  )
  for i in sums:
    x_t[i] = _jaxprs.value_of(env, carried[i])
  return x_t, [_jaxprs.value_of(env, atom) for atom in outputs]


class Gradients(NamedTuple):
  """One pass forward and back, and one back through the scans alone.

  Attributes:
    scans: those at the top.
    total: dE/dx_t of each, by whatever path.
    carried: what dE/dx_T becomes further back, dE/dx_T ∂x_T/∂x_t, through the
      scan alone.
    states: x_t of each.
    loss: E.
    params: dE/dparams.
    inputs: dE/d(leaf) of the leaves of the batch that were asked for.
  """

  scans: list[Scan]
  total: list[Tap]
  carried: list[Tap]
  states: list[list[Array]]
  loss: Array
  params: PyTree
  inputs: list[Array]


def gradients(
  fn: Callable[..., Array],
  params: PyTree,
  *rest: PyTree,
  at: Sequence[int] = (),
) -> Gradients:
  """`Gradients` of fn(params, *rest), a loss.

  Args:
    fn: the loss.
    params: its first argument.
    *rest: its others.
    at: leaves of the others whose gradients are wanted, by number.
  """
  made = tapped(fn, params, *rest)
  taps = zeros(made.scans)
  leaves, structure = jax.tree.flatten(rest)

  def of(taps, params, chosen):
    filled = list(leaves)
    for i, leaf in zip(at, chosen, strict=True):
      filled[i] = leaf
    return made.call(taps, params, *jax.tree.unflatten(structure, filled))

  (loss, states), (total, grads, inputs) = jax.value_and_grad(
    of, argnums=(0, 1, 2), has_aux=True, allow_int=True
  )(taps, params, [leaves[i] for i in at])
  ends = [
    [_row(leaf, 0 if scan.reverse else -1) for leaf in tap.own]
    for scan, tap in zip(made.scans, total, strict=True)
  ]
  _, vjp = jax.vjp(lambda t: made.last(t, params, *rest), taps)
  (carried,) = vjp(ends)
  return Gradients(made.scans, total, carried, states, loss, grads, inputs)


def _row(leaf: Array, index: int) -> Array:
  """A row of [T, ...]; zeros where T is 0."""
  return leaf[index] if len(leaf) else jnp.zeros(leaf.shape[1:], leaf.dtype)
