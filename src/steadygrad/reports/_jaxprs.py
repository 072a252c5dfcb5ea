"""Jaxprs as lists of equations, and what can be read from them.

This file alone reads jaxprs; of a scan it looks at shapes, not at how a version
of JAX stores its parameters.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

_CALLS = ("jit", "pjit", "closed_call", "core_call")
_AGAIN = ("remat", "remat2", "checkpoint")  # Values are the same without them.
_SAME = ("convert_element_type", "copy")  # Another type, the same numbers.
_NO_STATES = {
  "while": "a while_loop, which has no gradient; use scan or fori_loop with a"
  " fixed number of steps",
  "cond": "a cond with a scan in a branch; take the scan out of it",
}


class Step(NamedTuple):
  """An equation, and the names of what it reads and writes."""

  eqn: Any
  reads: list
  writes: list


class Program(NamedTuple):
  """A jaxpr without calls."""

  steps: list[Step]
  inputs: list
  outputs: list
  constants: dict


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


def has_scan(eqn) -> bool:
  return is_scan(eqn) or any(
    has_scan(inner) for j in jaxprs_of(eqn) for inner in opened(j)[0].eqns
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
      if kind in _CALLS or (kind in _AGAIN and has_scan(eqn)):
        (called,) = jaxprs_of(eqn)
        outs = enter(called, reads)
        names.update(zip(eqn.outvars, outs, strict=True))
        continue
      if not is_scan(eqn) and has_scan(eqn):
        why = _NO_STATES.get(kind, f"{kind}, whose own rule hides it")
        raise ValueError(f"loss_fn must not hold a scan within {why}")
      for var in eqn.outvars:
        names[var] = (scope, var)
      steps.append(Step(eqn, reads, [names[v] for v in eqn.outvars]))
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


def sums(eqn, body: Program) -> set[int]:
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
  added = sums(eqn, body)
  avals = [v.aval for v in eqn.outvars[:carry]]
  return [i for i in _floating(avals) if i not in added]


def value_of(env: dict, atom):
  return atom.val if isinstance(atom, core.Literal) else env[atom]


def bind(eqn, values: Sequence) -> list:
  functions, params = (), eqn.primitive.get_bind_params(eqn.params)
  if isinstance(params, tuple):  # Until some version of JAX.
    functions, params = params
  outs = eqn.primitive.bind(*functions, *values, **params)
  return list(outs) if eqn.primitive.multiple_results else [outs]


def needed(program: Program, atoms: Sequence) -> list[bool]:
  """Which equations these values need."""
  wanted = {a for a in atoms if not isinstance(a, core.Literal)}
  found = []
  for step in reversed(program.steps):
    found.append(bool(wanted & {*step.writes}))
    if found[-1]:
      wanted |= {a for a in step.reads if not isinstance(a, core.Literal)}
  return found[::-1]


def over_layers(program: Program, params: int) -> list[bool]:
  """Which scans at the top go over layers instead of over time.

  A scan over layers takes a layer's parameters at each step, so that what it
  scans over is made of parameters alone. Over time there is data in it: of the
  batch, or of an array that the function closes over. Keys are neither.

  Args:
    program: of the function.
    params: how many of its inputs, the first ones, are parameters.
  """
  made_of = {
    name: {"params" if i < params else "data"}
    for i, name in enumerate(program.inputs)
  }
  for name, value in program.constants.items():
    made_of[name] = {"data"} if jnp.ndim(value) else set()
  found = []
  for step in program.steps:
    if is_scan(step.eqn):
      _, _, inputs = sizes(step.eqn)
      first = len(step.reads) - inputs
      rows: set[str] = set().union(
        *(
          made_of[name]
          for name, var in zip(
            step.reads[first:], step.eqn.invars[first:], strict=True
          )
          if not isinstance(name, core.Literal) and not _is_key(var.aval)
        )
      )
      found.append(rows == {"params"})
    everything = set().union(*(made_of[a] for a in _names(step.reads)))
    made_of.update(dict.fromkeys(step.writes, everything))
  return found


def _is_key(aval) -> bool:
  """Whether it may be a random key, a typed or a raw one."""
  return aval.dtype == jnp.uint32 or jnp.issubdtype(
    aval.dtype, jax.dtypes.prng_key
  )
