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

from steadygrad.numerics import joint_norm
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


class _Program(NamedTuple):
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
  program = _flattened(closed)
  structure = jax.tree.structure(shape)
  scans = [_scan_of(s.eqn) for s in program.steps if _is_scan(s.eqn)]

  def call(taps, *args):
    outs, _ = _run(program, jax.tree.leaves(args), taps, isolate=False)
    return jax.tree.unflatten(structure, outs)

  def last(taps, *args):
    return _run(program, jax.tree.leaves(args), taps, isolate=True)[1]

  loops = sum(step.eqn.primitive.name == "while" for step in program.steps)
  return Tapped(scans, loops, call, last)


def zeros(scans: Sequence[Scan]) -> list[Tap]:
  """Taps of zeros."""
  shapes = [scan.tap for scan in scans]
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _is_scan(eqn) -> bool:
  return eqn.primitive.name == "scan"


def _open(jaxpr) -> tuple[Any, Sequence]:
  """(jaxpr, its constants), of a closed or an open one."""
  inner = getattr(jaxpr, "jaxpr", jaxpr)
  return inner, getattr(jaxpr, "consts", ())


def _jaxprs(eqn) -> list:
  """The jaxprs among an equation's parameters."""
  found = []
  for value in eqn.params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
        found.append(part)
  return found


def _has_scan(eqn) -> bool:
  return _is_scan(eqn) or any(
    _has_scan(inner) for j in _jaxprs(eqn) for inner in _open(j)[0].eqns
  )


def _flattened(jaxpr) -> _Program:
  """The jaxpr as one list of equations, calls written out."""
  steps, constants, scopes = [], {}, iter(range(10**9))

  def enter(jaxpr, given):
    """Names of the outputs; `given` are those of the inputs, or None."""
    inner, consts = _open(jaxpr)
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
        (called,) = _jaxprs(eqn)
        outs = enter(called, reads)
        names.update(zip(eqn.outvars, outs, strict=True))
        continue
      if not _is_scan(eqn) and _has_scan(eqn):
        why = _NO_STATES.get(kind, f"{kind}, whose own rule hides it")
        raise ValueError(f"loss_fn must not hold a scan within {why}")
      for var in eqn.outvars:
        names[var] = (scope, var)
      steps.append(_Step(eqn, reads, [names[v] for v in eqn.outvars]))
    return [read(a) for a in inner.outvars]

  inner, _ = _open(jaxpr)
  outputs = enter(jaxpr, None)
  return _Program(steps, [(0, v) for v in inner.invars], outputs, constants)


def _sizes(eqn) -> tuple[int, int, int]:
  """(constants, carry, inputs) of a scan, told by their shapes.

  An input has the axis of the steps, which the body's own has not.
  """
  inner, _ = _open(_jaxprs(eqn)[0])

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


def _sums(eqn, body: _Program) -> set[int]:
  """Leaves of the carry that only add up: a loss, or states that are pooled.

  Such a leaf is read by one addition, which makes its next value. What is sent
  back through it is no signal of a state.
  """
  consts, carry, _ = _sizes(eqn)
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


def _states(eqn, body: _Program) -> list[int]:
  """Leaves of the carry that are tapped."""
  _, carry, _ = _sizes(eqn)
  sums = _sums(eqn, body)
  avals = [v.aval for v in eqn.outvars[:carry]]
  return [i for i in _floating(avals) if i not in sums]


def _scan_of(eqn) -> Scan:
  """What `tapped` tells of a scan."""
  length = int(eqn.params["length"])
  body = _flattened(_jaxprs(eqn)[0])
  avals = [v.aval for v in eqn.outvars]
  own = [
    jax.ShapeDtypeStruct((length, *avals[i].shape), avals[i].dtype)
    for i in _states(eqn, body)
  ]
  inner = [_scan_of(s.eqn) for s in body.steps if _is_scan(s.eqn)]
  longer = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct((length, *s.shape), s.dtype),
    [scan.tap for scan in inner],
  )
  info = getattr(eqn, "source_info", None)
  name = str(getattr(info, "name_stack", "") or "")
  name = "" if name.endswith(")") else name  # Such as vmap() alone.
  reverse = bool(eqn.params["reverse"])
  return Scan(name, length, reverse, Tap(own, longer), inner)


def _run(
  program: _Program, args: Sequence, taps: Sequence[Tap], *, isolate: bool
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
    values = [_value(env, a) for a in step.reads]
    if not _is_scan(step.eqn):
      outs = _bind(step.eqn, values)
    else:
      if isolate:
        values = jax.lax.stop_gradient(values)
      outs, last = _tapped_scan(step.eqn, values, next(left))
      lasts.append(last)
    env.update(zip(step.writes, outs, strict=True))
  return [_value(env, a) for a in program.outputs], lasts


def _value(env: dict, atom):
  return atom.val if isinstance(atom, core.Literal) else env[atom]


def _bind(eqn, values: Sequence) -> list:
  functions, params = (), eqn.primitive.get_bind_params(eqn.params)
  if isinstance(params, tuple):  # Until some version of JAX.
    functions, params = params
  outs = eqn.primitive.bind(*functions, *values, **params)
  return list(outs) if eqn.primitive.multiple_results else [outs]


def _tapped_scan(eqn, values: Sequence, tap: Tap) -> tuple[list, list]:
  """(outputs, floating leaves of the last carry) of a scan with its taps."""
  consts, carry, _ = _sizes(eqn)
  program = _flattened(_jaxprs(eqn)[0])
  given, first = values[:consts], values[consts : consts + carry]
  taps_at, sums = _states(eqn, program), _sums(eqn, program)

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
  program: _Program,
  args: Sequence,
  carry: int,
  added: dict[int, Array],
  inner: Sequence[Tap],
  sums: set[int],
) -> tuple[list, list]:
  """(carry, outputs) of one step: {index: tap} is added to the carry."""
  env = program.constants | dict(zip(program.inputs, args, strict=True))
  scans = [id(s) for s in program.steps if _is_scan(s.eqn)]
  taps = dict(zip(scans, inner, strict=True))
  carried, outputs = program.outputs[:carry], program.outputs[carry:]
  states = [atom for i, atom in enumerate(carried) if i not in sums]
  first = _needed(program, states)

  def run(steps):
    for step in steps:
      values = [_value(env, a) for a in step.reads]
      if _is_scan(step.eqn):
        outs, _ = _tapped_scan(step.eqn, values, taps[id(step)])
      else:
        outs = _bind(step.eqn, values)
      env.update(zip(step.writes, outs, strict=True))

  run([s for s, early in zip(program.steps, first, strict=True) if early])
  x_t: list[Any] = [
    None if i in sums else _value(env, atom) for i, atom in enumerate(carried)
  ]
  known = {*program.inputs, *program.constants}
  for i, tap in added.items():
    x_t[i] = x_t[i] + tap
    if not isinstance(carried[i], core.Literal) and carried[i] not in known:
      env[carried[i]] = x_t[i]  # What is read from x_t sees the tap.
  run([s for s, early in zip(program.steps, first, strict=True) if not early])
  for i in sums:
    x_t[i] = _value(env, carried[i])
  return x_t, [_value(env, atom) for atom in outputs]


def _needed(program: _Program, atoms: Sequence) -> list[bool]:
  """Which equations these values need."""
  wanted = {a for a in atoms if not isinstance(a, core.Literal)}
  needed = []
  for step in reversed(program.steps):
    needed.append(bool(wanted & {*step.writes}))
    if needed[-1]:
      wanted |= {a for a in step.reads if not isinstance(a, core.Literal)}
  return needed[::-1]


def gradients(
  fn: Callable[..., Array], *args: PyTree
) -> tuple[list[Scan], list[Tap], list[Tap]]:
  """(scans, dE/dx_t of each, what the last step's signal becomes further back).

  The second are total: by whatever path. The third begin with dE/dx_T and go
  back through the scan alone, dE/dx_T ∂x_T/∂x_t.
  """
  made = tapped(fn, *args)
  taps = zeros(made.scans)
  total = jax.grad(lambda t: made.call(t, *args))(taps)
  ends = [
    [_row(leaf, 0 if scan.reverse else -1) for leaf in tap.own]
    for scan, tap in zip(made.scans, total, strict=True)
  ]
  _, vjp = jax.vjp(lambda t: made.last(t, *args), taps)
  return made.scans, total, vjp(ends)[0]


def _row(leaf: Array, index: int) -> Array:
  """A row of [T, ...]; zeros where T is 0."""
  return leaf[index] if len(leaf) else jnp.zeros(leaf.shape[1:], leaf.dtype)


def growth(fn: Callable[..., Array], *args: PyTree) -> list[Array]:
  """Largest Lyapunov exponents of the scans at the top, [B] or [1] each.

  A random difference in the state is pushed on by the body's own Jacobian, and
  brought back to size 1 at every step: the mean of ln of its growth, from the
  second step on. NaN where the body has a rule for reverse mode alone.
  """
  program = _flattened(jax.make_jaxpr(fn)(*args))
  env = program.constants | dict(
    zip(program.inputs, jax.tree.leaves(args), strict=True)
  )
  found = []
  for step in program.steps:
    values = [_value(env, a) for a in step.reads]
    if _is_scan(step.eqn):
      found.append(_growth_of(step.eqn, values))
    env.update(zip(step.writes, _bind(step.eqn, values), strict=True))
  return found


def _growth_of(eqn, values: Sequence) -> Array:
  """The exponents of one scan."""
  consts, carry, _ = _sizes(eqn)
  body = _flattened(_jaxprs(eqn)[0])
  at = _states(eqn, body)
  length = int(eqn.params["length"])
  first = [jnp.asarray(x) for x in values[consts : consts + carry]]
  if not at or length < 2 or _only_backward(eqn):
    return jnp.full(1, jnp.nan)
  keys = jax.random.split(jax.random.key(0), len(at))
  start = [_normal(k, first[i]) for k, i in zip(keys, at, strict=True)]

  def step(inputs, rows):
    x_tm1, pushed, total, count = inputs

    def move(leaves):
      x = list(x_tm1)
      for i, leaf in zip(at, leaves, strict=True):
        x[i] = leaf
      arguments = [*values[:consts], *x, *rows]
      return _run(body, arguments, _no_taps(body), isolate=False)[0][:carry]

    x_t, ahead = jax.jvp(move, ([x_tm1[i] for i in at],), (pushed,))
    ahead = [ahead[i] for i in at]
    size = _size(ahead)
    ahead = [_over(x, size) for x in ahead]
    own = jnp.where(count > 0, jnp.log(size), 0)
    return (x_t, ahead, total + own, count + 1), None

  size = _size(start)
  begin = first, [_over(x, size) for x in start], 0 * size, jnp.int32(0)
  rows = list(values[consts + carry :])
  (_, _, total, _), _ = jax.lax.scan(
    step, begin, rows, length=length, reverse=eqn.params["reverse"]
  )
  return total / (length - 1)


def _only_backward(eqn) -> bool:
  """Whether there is a rule for reverse mode alone in it."""
  return eqn.primitive.name.startswith("custom_vjp") or any(
    _only_backward(inner) for j in _jaxprs(eqn) for inner in _open(j)[0].eqns
  )


def _no_taps(program: _Program) -> list[Tap]:
  """Zeros for the scans of a body."""
  return zeros([_scan_of(s.eqn) for s in program.steps if _is_scan(s.eqn)])


def _normal(key: Array, like: Array) -> Array:
  return jax.random.normal(key, like.shape, like.dtype)


def _size(leaves: Sequence[Array]) -> Array:
  """Joint norms of leaves [B, ...], [B]; [1] where they have no one B."""
  first = {x.shape[0] if x.ndim > 1 else None for x in leaves}
  if len(first) > 1 or None in first:
    return joint_norm([x.ravel()[None] for x in leaves], batch_ndim=1)
  return joint_norm(list(leaves), batch_ndim=1)


def _over(leaf: Array, size: Array) -> Array:
  """The leaf over the norm of its sequence; zeros stay zeros."""
  safe = jnp.where(size > 0, size, 1).astype(jnp.abs(leaf).dtype)
  if len(size) == 1:
    return leaf / safe.reshape((1,) * leaf.ndim)
  return leaf / safe.reshape((-1,) + (1,) * (leaf.ndim - 1))
