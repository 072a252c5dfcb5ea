"""One function, `elman_scan`, in front of every implementation."""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax

from steadygrad import _validate
from steadygrad._unroll import check_lengths
from steadygrad.activations import Activation
from steadygrad.activations import activation as find_activation
from steadygrad.kernels import _xla
from steadygrad.numerics import PRECISIONS
from steadygrad.types import Array

__all__ = ["ElmanScan", "elman_scan"]

IMPLEMENTATIONS = ("xla", "pallas_gpu", "pallas_tpu")
# The first choice by platform, where its `check` admits the size; else "xla".
BEST = {"cuda": "pallas_gpu", "tpu": "pallas_tpu"}
BACKENDS = {"gpu": "cuda", "tpu": "tpu"}  # A process's, and its platform.


class MissingBackend(ValueError):
  """This JAX does not have what a kernel is written in."""


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
  precision: str | None = None,
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
    precision: what an accelerator may round products of float32 to. "highest":
      nothing; "tf32x3": three products of TF32 on a GPU, which err as float32
      itself does; "tf32" and "bfloat16": one product of operands with 11 and 8
      bits. None: tf32x3 on a GPU that has it, else the highest. A TPU has
      no TF32 and takes what keeps as many bits; a CPU rounds nothing.
    interpret: run the named kernel by Pallas's interpreter, on any platform.

  Returns:
    `ElmanScan`. `lengths` is None, an integer [] at which the loops stop, or
    [B] beyond which a sequence's state stays as it was. The kernels map
    `jax.vmap` onto their grid and have no derivative of their own.

  Raises:
    ValueError: on an unknown name, or one that this JAX does not have (left to
      choose, the process warns once and takes the loop). The
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
  if precision is not None:
    _validate.check_one_of("precision", precision, tuple(PRECISIONS))
  if implementation in (None, "xla"):
    passes = _xla_pair(form, sigma, precision)
    if implementation is None:
      passes = _automatic(form, sigma, precision, passes)
  else:
    passes = _kernel_pair(implementation, form, sigma, precision, interpret)[0]
  return _checked(passes)


def _as_float32(platform: str | None = None) -> str:
  """The cheapest precision that errs as float32 does.

  Of a platform, or of this process's GPU; where none is seen, one with TF32.
  """
  if (platform or BACKENDS.get(jax.default_backend())) != "cuda":
    return "highest"
  try:
    capability = jax.local_devices(backend="cuda")[0].compute_capability
  except (RuntimeError, AttributeError):
    return "tf32x3"
  return "tf32x3" if float(capability) >= 8 else "highest"


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


def _xla_pair(form: str, sigma: Activation, precision: str | None) -> ElmanScan:
  def forward(*arguments):
    how = precision or _as_float32()
    return _xla.forward(form, sigma, *arguments, precision=how)

  def backward(w_rec, x_0, xs, *others):
    del xs  # All that is needed of them is in hs.
    how = precision or _as_float32()
    return _xla.backward(form, sigma, w_rec, x_0, *others, precision=how)

  return ElmanScan(forward, backward)


def _kernel_pair(name, form, sigma, precision, interpret=False):
  """(`ElmanScan`, admit) of a kernel; see `_pallas_common.pair`.

  Imported when first needed: Pallas takes a while, and a CPU needs none.
  """
  try:
    from steadygrad.kernels import _pallas_common

    module = importlib.import_module(f"steadygrad.kernels._{name}")
  except (ImportError, AttributeError) as error:
    raise MissingBackend(
      f"implementation {name!r} is not to be had with this JAX: {error}"
    ) from error
  platforms = {kernel: platform for platform, kernel in BEST.items()}
  states, adjoints, admit = _pallas_common.pair(
    module, form, sigma, precision or _as_float32(platforms[name]), interpret
  )

  def forward(w_rec, drives, x_0, lengths=None):
    xs = states(w_rec, drives, x_0, lengths)
    return xs, (_pallas_common.activate(sigma, xs) if form == "x" else xs)

  def backward(w_rec, x_0, xs, hs, dhs, lengths=None):
    del hs  # σ of what is read anyway costs less than reading them.
    return adjoints(w_rec, x_0, xs, dhs, lengths)

  return ElmanScan(forward, backward), admit


@functools.cache
def _warn_of_missing(name: str, why: str) -> None:
  """Once a process, or every update that is traced would say it."""
  warnings.warn(
    f"JAX {jax.__version__} has no {name} kernel, so that Elman networks take"
    f" the XLA loop here, which is slower; BUILD.md says which versions have"
    f" it. {why}",
    stacklevel=2,
  )


def _automatic(
  form: str, sigma: Activation, precision: str | None, xla: ElmanScan
) -> ElmanScan:
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
        passes, admit = _kernel_pair(implementation, form, sigma, precision)
        admit(*arrays)
      except MissingBackend as error:
        if platform == BACKENDS.get(jax.default_backend()):
          _warn_of_missing(implementation, str(error))
        continue
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
