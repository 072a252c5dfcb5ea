"""A zero added to every state of every scan of a function, whoever wrote it.

The function is traced to a jaxpr and evaluated again, equation by equation,
with each `scan` rebuilt so that its carry is given a tap, a zero at each step.
The gradient in the taps is dE/dx_t. Of a body the equations that make the
carry come first; what is read from the carry in the same step sees the tapped
one, as a readout of x_t does. This file alone reads jaxprs; of a scan it looks
at shapes, not at how a version of JAX stores its parameters.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from steadygrad.types import Array, PyTree

_CALLS = ("jit", "pjit", "closed_call", "core_call")
_AGAIN = ("remat", "remat2", "checkpoint")  # Values are the same without them.
_SAME = ("convert_element_type", "copy")  # Another type, the same numbers.
_NO_STATES = {
  "while": "a while_loop, which has no gradient; use scan or fori_loop with a"
  " fixed number of steps",
  "cond": "a cond with a scan in a branch; take the scan out of it",
}


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
    tap: shapes of its taps.
    inner: the scans in its body.
  """

  name: str
  length: int
  reverse: bool
  tap: Tap
  inner: list


class Tapped(NamedTuple):
  """A function with taps.

  Attributes:
    scans: those at the top, in the order in which they run.
    loops: how many while_loops there are, which have no gradient in reverse.
    call: (taps of the scans, *arguments) -> what the function returns.
    last: the same arguments -> the last carry of each scan, its floating
      leaves, seen from the taps of that scan alone.
  """

  scans: list[Scan]
  loops: int
  call: Callable[..., Any]
  last: Callable[..., list]


class _Step(NamedTuple):
  """An equation, and the names of what it reads and writes."""

  eqn: Any
  reads: list
  writes: list


class Program(NamedTuple):
  """A jaxpr without calls."""

  steps: list[_Step]
  inputs: list
  outputs: list
  constants: dict


def tapped(fn: Callable[..., Any], *args: Any) -> Tapped:
  """`fn` with taps, traced with these arguments.

  Raises:
    ValueError: naming what it is, if a loop is found that cannot be tapped.
  """
  closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
  program = flattened(closed)
  structure = jax.tree.structure(shape)
  scans = [scan_of(s.eqn) for s in program.steps if is_scan(s.eqn)]

  def call(taps, *args):
    outs, _ = run(program, jax.tree.leaves(args), taps, isolate=False)
    return jax.tree.unflatten(structure, outs)

  def last(taps, *args):
    return run(program, jax.tree.leaves(args), taps, isolate=True)[1]

  loops = sum(step.eqn.primitive.name == "while" for step in program.steps)
  return Tapped(scans, loops, call, last)


def zeros(scans: Sequence[Scan]) -> list[Tap]:
  """Taps of zeros."""
  shapes = [scan.tap for scan in scans]
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def is_scan(eqn) -> bool:
  return eqn.primitive.name == "scan"


def opened(jaxpr) -> tuple[Any, Sequence]:
  """(jaxpr, its constants), of a closed or an open one."""
  inner = getattr(jaxpr, "jaxpr", jaxpr)
  return inner, getattr(jaxpr, "consts", ())


def jaxprs_of(eqn) -> list:
  """The jaxprs among an equation's parameters."""
  found = []
  for value in eqn.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
        found.append(part)
  return found


def _has_scan(eqn) -> bool:
  return is_scan(eqn) or any(
    _has_scan(inner) for j in jaxprs_of(eqn) for inner in opened(j)[0].eqns
  )


def flattened(jaxpr) -> Program:
  """The jaxpr as one list of equations, calls written out."""
  steps, constants, scopes = [], {}, iter(range(10**9))

  def enter(jaxpr, given):
    """Names of the outputs; `given` are those of the inputs, or None."""
    inner, consts = opened(jaxpr)
    scope = next(scopes)
    names = {}
    for var, value in zip(inner.constvars, consts, strict=True):
      names[var] = (scope, var)
      constants[scope, var] = value
    for var, name in zip(inner.invars, given or inner.invars, strict=True):
      names[var] = name if given else (scope, var)

    def read(atom):
      return atom if isinstance(atom, core.Literal) else names[atom]

    for eqn in inner.eqns:
      reads, kind = [read(a) for a in eqn.invars], eqn.primitive.name
      if kind in _CALLS or (kind in _AGAIN and _has_scan(eqn)):
        (called,) = jaxprs_of(eqn)
        outs = enter(called, reads)
        names.update(zip(eqn.outvars, outs, strict=True))
        continue
      if not is_scan(eqn) and _has_scan(eqn):
        why = _NO_STATES.get(kind, f"{kind}, whose own rule hides it")
        raise ValueError(f"loss_fn must not hold a scan within {why}")
      for var in eqn.outvars:
        names[var] = (scope, var)
      steps.append(_Step(eqn, reads, [names[v] for v in eqn.outvars]))
    return [read(a) for a in inner.outvars]

  inner, _ = opened(jaxpr)
  outputs = enter(jaxpr, None)
  return Program(steps, [(0, v) for v in inner.invars], outputs, constants)


def sizes(eqn) -> tuple[int, int, int]:
  """(constants, carry, inputs) of a scan, told by their shapes.

  An input has the axis of the steps, which the body's own has not.
  """
  inner, _ = opened(jaxprs_of(eqn)[0])

  def longer(outside, inside):
    return outside.aval.ndim == inside.aval.ndim + 1

  pairs = zip(eqn.invars, inner.invars, strict=True)
  inputs = sum(longer(a, b) for a, b in pairs)
  pairs = zip(eqn.outvars, inner.outvars, strict=True)
  carry = sum(not longer(a, b) for a, b in pairs)
  return len(eqn.invars) - inputs - carry, carry, inputs


def _floating(avals: Sequence) -> list[int]:
  """Which of them have a derivative, complex ones too."""
  return [
    i for i, a in enumerate(avals) if jnp.issubdtype(a.dtype, jnp.inexact)
  ]


def _sums(eqn, body: Program) -> set[int]:
  """Leaves of the carry that only add up: a loss, or states that are pooled.

  Such a leaf is read by one addition, which makes its next value. What is sent
  back through it is no signal of a state.
  """
  consts, carry, _ = sizes(eqn)
  found = set()
  for i, name in enumerate(body.inputs[consts : consts + carry]):
    readers = [s for s in body.steps if name in _names(s.reads)]
    while len(readers) == 1 and readers[0].eqn.primitive.name in _SAME:
      (name,) = readers[0].writes
      readers = [s for s in body.steps if name in _names(s.reads)]
    adds = len(readers) == 1 and readers[0].eqn.primitive.name == "add"
    if adds and _names(body.outputs).count(name) == 0:
      made = readers[0].writes[0]
      if body.outputs[i] == made and _names(body.outputs).count(made) == 1:
        found.add(i)
  return found


def _names(atoms: Sequence) -> list:
  return [a for a in atoms if not isinstance(a, core.Literal)]


def states_of(eqn, body: Program) -> list[int]:
  """Leaves of the carry that are tapped."""
  _, carry, _ = sizes(eqn)
  sums = _sums(eqn, body)
  avals = [v.aval for v in eqn.outvars[:carry]]
  return [i for i in _floating(avals) if i not in sums]


def scan_of(eqn) -> Scan:
  """What `tapped` tells of a scan."""
  length = int(eqn.params["length"])
  body = flattened(jaxprs_of(eqn)[0])
  avals = [v.aval for v in eqn.outvars]
  own = [
    jax.ShapeDtypeStruct((length, *avals[i].shape), avals[i].dtype)
    for i in states_of(eqn, body)
  ]
  inner = [scan_of(s.eqn) for s in body.steps if is_scan(s.eqn)]
  longer = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((length, *s.shape), s.dtype),
    [scan.tap for scan in inner],
  )
  info = getattr(eqn, "source_info", None)
  name = str(getattr(info, "name_stack", "") or "")
  name = "" if name.endswith(")") else name  # Such as vmap() alone.
  reverse = bool(eqn.params["reverse"])
  return Scan(name, length, reverse, Tap(own, longer), inner)


def run(
  program: Program, args: Sequence, taps: Sequence[Tap], *, isolate: bool
) -> tuple[list, list]:
  """(outputs, last floating carries of the scans at the top).

  Args:
    program: what is run.
    args: its inputs.
    taps: of its scans.
    isolate: whether a scan sees its inputs as constants.
  """
  env = program.constants | dict(zip(program.inputs, args, strict=True))
  lasts, left = [], iter(taps)
  for step in program.steps:
    values = [value_of(env, a) for a in step.reads]
    if not is_scan(step.eqn):
      outs = bind(step.eqn, values)
    else:
      if isolate:
        values = jax.lax.stop_gradient(values)
      outs, last = _tapped_scan(step.eqn, values, next(left))
      lasts.append(last)
    env.update(zip(step.writes, outs, strict=True))
  return [value_of(env, a) for a in program.outputs], lasts


def value_of(env: dict, atom):
  return atom.val if isinstance(atom, core.Literal) else env[atom]


def bind(eqn, values: Sequence) -> list:
  functions, params = (), eqn.primitive.get_bind_params(eqn.params)
  if isinstance(params, tuple):  # Until some version of JAX.
    functions, params = params
  outs = eqn.primitive.bind(*functions, *values, **params)
  return list(outs) if eqn.primitive.multiple_results else [outs]


def _tapped_scan(eqn, values: Sequence, tap: Tap) -> tuple[list, list]:
  """(outputs, floating leaves of the last carry) of a scan with its taps."""
  consts, carry, _ = sizes(eqn)
  program = flattened(jaxprs_of(eqn)[0])
  given, first = values[:consts], values[consts : consts + carry]
  taps_at, sums = states_of(eqn, program), _sums(eqn, program)

  def body(x_tm1, inputs):
    rows, own, inner = inputs
    args = [*given, *x_tm1, *rows]
    added = dict(zip(taps_at, own, strict=True))
    return _tapped_body(program, args, carry, added, inner, sums)

  inputs = list(values[consts + carry :]), tap.own, tap.inner
  x_T, ys = jax.lax.scan(
    body,
    [jnp.asarray(x) for x in first],
    inputs,
    length=eqn.params["length"],
    reverse=eqn.params["reverse"],
    unroll=eqn.params.get("unroll", 1),
  )
  return [*x_T, *ys], [x_T[i] for i in taps_at]


def _tapped_body(
  program: Program,
  args: Sequence,
  carry: int,
  added: dict[int, Array],
  inner: Sequence[Tap],
  sums: set[int],
) -> tuple[list, list]:
  """(carry, outputs) of one step: {index: tap} is added to the carry."""
  env = program.constants | dict(zip(program.inputs, args, strict=True))
  scans = [id(s) for s in program.steps if is_scan(s.eqn)]
  taps = dict(zip(scans, inner, strict=True))
  carried, outputs = program.outputs[:carry], program.outputs[carry:]
  states = [atom for i, atom in enumerate(carried) if i not in sums]
  first = _needed(program, states)

  def evaluate(steps):
    for step in steps:
      values = [value_of(env, a) for a in step.reads]
      if is_scan(step.eqn):
        outs, _ = _tapped_scan(step.eqn, values, taps[id(step)])
      else:
        outs = bind(step.eqn, values)
      env.update(zip(step.writes, outs, strict=True))

  evaluate([s for s, early in zip(program.steps, first, strict=True) if early])
  x_t: list[Any] = [
    None if i in sums else value_of(env, atom) for i, atom in enumerate(carried)
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
    x_t[i] = value_of(env, carried[i])
  return x_t, [value_of(env, atom) for atom in outputs]


def _needed(program: Program, atoms: Sequence) -> list[bool]:
  """Which equations these values need."""
  wanted = {a for a in atoms if not isinstance(a, core.Literal)}
  needed = []
  for step in reversed(program.steps):
    needed.append(bool(wanted & {*step.writes}))
    if needed[-1]:
      wanted |= {a for a in step.reads if not isinstance(a, core.Literal)}
  return needed[::-1]


class Gradients(NamedTuple):
  """One pass forward and back, and one back through the scans alone.

  Attributes:
    scans: those at the top.
    total: dE/dx_t of each, by whatever path.
    carried: what dE/dx_T becomes further back, dE/dx_T ∂x_T/∂x_t, through the
      scan alone.
    loss: E.
    params: dE/dparams.
  """

  scans: list[Scan]
  total: list[Tap]
  carried: list[Tap]
  loss: Array
  params: PyTree


def gradients(
  fn: Callable[..., Array], params: PyTree, *rest: PyTree
) -> Gradients:
  """`Gradients` of fn(params, *rest), a loss."""
  made = tapped(fn, params, *rest)
  taps = zeros(made.scans)
  loss, (total, grads) = jax.value_and_grad(
    lambda t, p: made.call(t, p, *rest), argnums=(0, 1), allow_int=True
  )(taps, params)
  ends = [
    [_row(leaf, 0 if scan.reverse else -1) for leaf in tap.own]
    for scan, tap in zip(made.scans, total, strict=True)
  ]
  _, vjp = jax.vjp(lambda t: made.last(t, params, *rest), taps)
  return Gradients(made.scans, total, vjp(ends)[0], loss, grads)


def _row(leaf: Array, index: int) -> Array:
  """A row of [T, ...]; zeros where T is 0."""
  return leaf[index] if len(leaf) else jnp.zeros(leaf.shape[1:], leaf.dtype)
