"""One function, `elman_scan`, in front of every implementation."""

import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import _validate
from steadygrad._unroll import check_lengths
from steadygrad.activations import Activation
from steadygrad.activations import activation as find_activation
from steadygrad.kernels import _xla
from steadygrad.numerics import promoted
from steadygrad.types import Array

__all__ = ["ElmanScan", "elman_scan"]

IMPLEMENTATIONS = ("xla", "pallas_gpu", "pallas_tpu")
# The first choice by platform, where its `check` admits the size; else "xla".
BEST = {"cuda": "pallas_gpu", "tpu": "pallas_tpu"}


class ElmanScan(NamedTuple):
  """Forward and backward pass of an Elman recursion.

  Attributes:
    forward: (w_rec [N, N], drives [T, B, N], x_0 [B, N], lengths=None) -> (xs,
      hs) [T, B, N], the states and what the next layer sees of them, σ(x_t) or
      h_t.
    backward: (w_rec, x_0, xs, hs, dhs, lengths=None) -> (deltas, products [T,
      B, N], dx_0 [B, N]), where dhs [T, B, N] is the immediate gradient of the
      loss in hs; or [1, B, N], where the loss sees the last step alone.
  """

  forward: Callable[..., tuple[Array, Array]]
  backward: Callable[..., tuple[Array, Array, Array]]


def elman_scan(
  form: str,
  activation: str,
  *,
  implementation: str | None = None,
  interpret: bool = False,
) -> ElmanScan:
  """The pair of passes through an Elman recursion; equations in `_xla`.

  Args:
    form: "x" (state before the activation, eq. 2) or "h" (after it).
    activation: "tanh", "sigmoid", "relu" or "linear".
    implementation: "xla" (a loop, any size and dtype), "pallas_gpu",
      "pallas_tpu" (one kernel for the whole sequence, float32 and bfloat16, as
      long as w_rec stays on the chip), or None for the best one there is: on a
      CPU always "xla", elsewhere the choice falls when the function is lowered
      and the platform known. A kernel that is to be lowered for an accelerator
      on a machine that has none must be named.
    interpret: run the named kernel by Pallas's interpreter, on any platform.

  Returns:
    `ElmanScan`. `lengths` is None, an integer [] at which the loops stop, or
    [B] beyond which a sequence's state stays as it was. The kernels map
    `jax.vmap` onto their grid and have no derivative of their own.

  Raises:
    ValueError: on an unknown name, or one that this JAX does not have. The
      passes raise it where shapes or lengths do not fit, or the named kernel
      does not hold the dtype or the size, and JAX refuses to lower a kernel for
      a platform not its own.
  """
  _validate.check_one_of("form", form, ("x", "h"))
  sigma = find_activation(activation)
  if implementation not in (None, *IMPLEMENTATIONS):
    raise ValueError(
      f"implementation must be one of {IMPLEMENTATIONS} or None, got "
      f"{implementation!r}"
    )
  if interpret and implementation in (None, "xla"):
    raise ValueError(
      f"interpret needs a kernel's name as implementation, got "
      f"{implementation!r}"
    )
  if implementation in (None, "xla"):
    passes = _xla_pair(form, sigma)
    if implementation is None:
      passes = _automatic(form, sigma, passes)
  else:
    passes = _kernel_pair(implementation, form, sigma, interpret)[0]
  return _checked(passes)


def _checked(passes: ElmanScan) -> ElmanScan:
  """The passes, with a look at the shapes of what they are given.

  A wrong one would end in an error of a loop's carry, or be broadcast.
  """

  def forward(w_rec, drives, x_0, lengths=None):
    _validate.check_shapes(
      w_rec=(w_rec, "N N"), drives=(drives, "T B N"), x_0=(x_0, "B N")
    )
    lengths = check_lengths(lengths, *drives.shape[:2])
    return passes.forward(w_rec, drives, x_0, lengths)

  def backward(w_rec, x_0, xs, hs, dhs, lengths=None):
    _validate.check_shapes(
      w_rec=(w_rec, "N N"),
      x_0=(x_0, "B N"),
      xs=(xs, "T B N"),
      hs=(hs, "T B N"),
      dhs=(dhs, "K B N"),
    )
    if len(dhs) not in (1, len(hs)):
      raise ValueError(
        f"dhs must be [T, B, N] with T = {len(hs)}, or [1, B, N] where the loss"
        f" sees the last step alone, got shape {dhs.shape}"
      )
    lengths = check_lengths(lengths, *hs.shape[:2])
    return passes.backward(w_rec, x_0, xs, hs, dhs, lengths)

  return ElmanScan(forward, backward)


def _xla_pair(form: str, sigma: Activation) -> ElmanScan:
  return ElmanScan(
    functools.partial(_xla.forward, form, sigma),
    functools.partial(_xla.backward, form, sigma),
  )


def _kernel_pair(name, form, sigma, interpret=False):
  """(`ElmanScan`, admit) of a kernel; see `_pallas_common.pair`.

  Imported when first needed: Pallas takes a while, and a CPU needs none.
  """
  try:
    from steadygrad.kernels import _pallas_common

    module = importlib.import_module(f"steadygrad.kernels._{name}")
  except ImportError as error:
    raise ValueError(
      f"implementation {name!r} is not to be had with this JAX: {error}"
    ) from error
  states, adjoints, admit = _pallas_common.pair(module, form, sigma, interpret)

  def forward(w_rec, drives, x_0, lengths=None):
    xs = states(w_rec, drives, x_0, lengths)
    return xs, (_pallas_common.activate(sigma, xs) if form == "x" else xs)

  def backward(w_rec, x_0, xs, hs, dhs, lengths=None):
    if len(dhs) < len(hs):
      dhs = jnp.zeros_like(hs).at[-1].set(dhs[0])
    dxs = dhs
    if form == "x":
      primes = sigma.prime_of_phi(hs.astype(jnp.float32))
      dxs = jnp.multiply(*promoted(dhs, primes)).astype(dhs.dtype)
    return adjoints(w_rec, x_0, xs, dxs, lengths)

  return ElmanScan(forward, backward), admit


def _automatic(form: str, sigma: Activation, xla: ElmanScan) -> ElmanScan:
  """Chooses by size when called, and by platform when lowered.

  A process that sees nothing but CPUs never traces a kernel: that saves the
  import of Pallas, and leaves the passes differentiable.
  """

  def call(name, arguments, arrays):
    default = getattr(xla, name)
    if jax.default_backend() == "cpu":
      return default(*arguments)
    choices = {}
    for platform, implementation in BEST.items():
      try:
        passes, admit = _kernel_pair(implementation, form, sigma)
        admit(*arrays)
      except ValueError:
        continue
      choices[platform] = getattr(passes, name)
    return jax.lax.platform_dependent(*arguments, default=default, **choices)

  def forward(w_rec, drives, x_0, lengths=None):
    return call("forward", (w_rec, drives, x_0, lengths), (w_rec, drives))

  def backward(w_rec, x_0, xs, hs, dhs, lengths=None):
    arguments = w_rec, x_0, xs, hs, dhs, lengths
    return call("backward", arguments, (w_rec, xs, dhs))

  return ElmanScan(forward, backward)
