"""The symbol table, and the NamedTuples of pure functions that everything is.

Symbols, used everywhere and defined nowhere else. Sequences are time-major.

  =============  ================  ==========  ===============================
  paper          name              shape       meaning
  =============  ================  ==========  ===============================
  T, B, N        `length`, ...                 steps, sequences, state units
  M, O, S                                      inputs, outputs, seeds
  x_t            `x_t`             [B, N]      state, eq. 2
  u_t            `u_t`             [B, M]      input
  W_rec          `w_rec`           [N, N]      row-vector form, see below
  W_in, b        `w_in`, `b`       [M, N], [N]
  σ, σ′          `phi`, `phi_prime`            activation and its derivative
  dE/dx_t        `delta_t`         [B, N]      error signal, total derivative
  dE/dx_t·J_t    `product_t`       [B, N]      what delta_t sends to x_{t-1}
  Ω, α           `omega`, `weight` []          eq. 9
  =============  ================  ==========  ===============================

Orientation. States are row vectors: x_t = σ(x_{t-1}) w_rec + u_t w_in + b, so
`w_rec[i, j]` is the weight *from* unit i *to* unit j, the transpose of the
paper's W_rec. A product is delta_t J_t with J_t = ∂x_t/∂x_{t-1}.

A plural is a sequence: `xs[t]` is the state after the input `us[t]`, so `xs[0]`
is x_1 of the paper and `x_0` stands apart. `deltas[t]` is dE/dxs[t], and
`products[t]` is what it sends to the state before, `products[0]` to `x_0`.

Lengths. `lengths` is None (all T steps count), an integer array [] (one length
for the whole batch) or [B]. Steps beyond a length leave the state as it was and
carry no gradient; their error signals and products are zero. Inputs there may
be anything, NaN too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
PyTree = Any
Inputs = Any  # An array [..., M], or `symbols.Symbols` of that shape.


class Backward(NamedTuple):
  """What the backward pass through a recursion yields.

  Attributes:
    deltas: error signals, as `xs`.
    products: deltas[t] J_t, as `xs`.
    dx_0: dE/dx_0, as `x_0`.
  """

  deltas: PyTree
  products: PyTree
  dx_0: PyTree


class Factors(NamedTuple):
  """Outer-product form of a cell's gradient and of its products.

  dE/dw_rec = Σ_t lefts[t]ᵀ rights[t] and products[t] = (rights[t] w_recᵀ) ∘
  scales[t], where `scales` is None for ones. Hence the immediate derivative of
  any function of the products is Σ_t (cotangents[t] ∘ scales[t])ᵀ rights[t].

  Attributes:
    lefts: [T, B, N].
    rights: [T, B, N].
    scales: [T, B, N] or None.
  """

  lefts: Array
  rights: Array
  scales: Array | None


class Fused(NamedTuple):
  """Hand-written passes that replace the scan of `step` and its transpose.

  Attributes:
    forward: (params, us, x_0, lengths) -> (xs, ys), states and outputs.
    backward: (params, x_0, xs, ys, dys, lengths) -> Backward, where `dys` is
      the gradient of the loss in the outputs, [T, B, N], or [1, B, N] where
      the loss sees the last one alone.
    factors: Trajectory -> Factors; None where no such form is known, as of
      several layers.
    gradient: (Trajectory, slope=None) -> dE/dparams, a tree like params. With
      an `OmegaSlope` what is added in w_rec is the derivative of Ω.
  """

  forward: Callable[..., tuple[PyTree, Array]]
  backward: Callable[..., Backward]
  factors: Callable[..., Factors] | None
  gradient: Callable[..., PyTree]


class OmegaSlope(NamedTuple):
  """∂Ω/∂products as products ∘ inverse_scale ∘ slope, 0 where the slope is 0.

  Two numbers for each pair, since their product may not be representable.

  Attributes:
    inverse_scale: [T, B], 1 over the number that the pair's norms were divided
      by.
    slope: [T, B].
  """

  inverse_scale: Array
  slope: Array


class Cell(NamedTuple):
  """A recurrent cell: pure functions on a batch; states may be any PyTree.

  Leaves of parameters and states that are neither floating nor complex have no
  derivative, see `adjoints`.

  Attributes:
    init: key -> params.
    initial_state: (params, batch_size) -> x_0, leaves [B, ...].
    step: (params, x_tm1, u_t) -> x_t. Each sequence of the batch on its own.
    output: x_t -> y_t [B, N], what a readout sees. Works on leaves [..., N].
    fused: optional `Fused` pair; only `adjoints`, `trajectory` and Omega look
      at it.
    parts: Trajectory -> one Trajectory for each of the cells that this one is
      made of, as of `cells.stack`; None of a cell that is one.
    feeds_back: which leaves of a state the next step reads, True or False for
      each, or for all below it; None for all. Omega is of those.
    reads_symbols: whether u_t, and the fused pair's us, may be `Symbols`.
  """

  init: Callable[[Array], PyTree]
  initial_state: Callable[[PyTree, int], PyTree]
  step: Callable[[PyTree, PyTree, Array], PyTree]
  output: Callable[[PyTree], Array]
  fused: Fused | None = None
  parts: Callable[..., tuple["Trajectory", ...]] | None = None
  feeds_back: PyTree = None
  reads_symbols: bool = False


class Readout(NamedTuple):
  """Maps what the cell shows to the model's outputs.

  Attributes:
    init: key -> params.
    apply: (params, ys [T, B, N]) -> outputs, [B, O] or [T, B, O].
    reads: "last" if `apply` looks at `ys[-1]` alone, else "every".
    masked: whether `apply` has a third argument: bool [T, B], False beyond a
      sequence's length, where ys repeat the last one; None if all steps count.
  """

  init: Callable[[Array], PyTree]
  apply: Callable[..., Array]
  reads: str = "every"
  masked: bool = False

  def read(self, params: PyTree, ys: Array, mask: Array | None) -> Array:
    """`apply`, with the mask where it wants one."""
    if self.masked:
      return self.apply(params, ys, mask)
    return self.apply(params, ys)


def as_it_is(sequence: Array, lengths: Array | None) -> Array:
  """What `recurrent` does before its cell: nothing."""
  del lengths
  return sequence


class Model(NamedTuple):
  """A cell and a readout; params are `{"cell": ..., "readout": ...}`.

  Attributes:
    init: key -> params.
    apply: (params, us [T, B, M], lengths=None, x_0=None) -> outputs, a plain
      differentiable forward pass; from `cell.initial_state` if x_0 is None.
    cell: the `Cell`.
    readout: the `Readout`.
    before: (us, lengths) -> what the cell reads, [T, B, ...].
  """

  init: Callable[[Array], PyTree]
  apply: Callable[..., Array]
  cell: Cell
  readout: Readout
  before: Callable[..., Array] = as_it_is


class Batch(NamedTuple):
  """A batch of sequences, time first; see `from_batch_major` for others.

  Attributes:
    us: inputs [T, B, M]; or `symbols.Symbols` of that shape, for one-hot ones.
    targets: whatever the loss understands: for those of `losses` [B, ...] where
      the readout reads the last step, [T, B, ...] where it reads every step.
    lengths: None, [] or [B] integers; see the module docstring.
  """

  us: Inputs
  targets: PyTree
  lengths: Array | None = None

  @classmethod
  def from_batch_major(
    cls,
    us: Array,
    targets: PyTree,
    lengths: Array | None = None,
    *,
    reads: str | None = None,
  ) -> "Batch":
    """A batch of arrays [B, T, ...], as Flax's `nn.RNN` and PyTorch have them.

    Args:
      us: inputs [B, T, M].
      targets: leaves [B, T, ...] where every step has a target, else [B, ...].
      lengths: None, [] or [B] integers.
      reads: as of the readout: "every" if all targets are of steps, "last" if
        none is. If None those leaves are whose first axes are B and T.

    Raises:
      ValueError: if us are not [B, T, M], reads is another word, or it is
        "every" and a leaf of targets is not [B, T, ...].

    Example:
      >>> import jax.numpy as jnp
      >>> from steadygrad.types import Batch
      >>> inputs, classes = jnp.ones((64, 30, 3)), jnp.zeros(64, int)
      >>> batch = Batch.from_batch_major(inputs, classes)
      >>> batch.us.shape, batch.targets.shape
      ((30, 64, 3), (64,))
    """
    if len(jnp.shape(us)) != 3:
      raise ValueError(f"us must be [B, T, M], got shape {jnp.shape(us)}")
    if reads not in ("last", "every", None):
      raise ValueError(f'reads must be "last", "every" or None, got {reads!r}')
    steps = jnp.shape(us)[:2]

    def time_first(x):
      fits = jnp.shape(x)[:2] == steps
      if reads == "every" and not fits:
        raise ValueError(
          f"targets must be [B, T, ...] with B, T = {steps}, got shape"
          f" {jnp.shape(x)}"
        )
      return jnp.swapaxes(x, 0, 1) if fits and reads != "last" else x

    targets = jax.tree.map(time_first, targets)
    return cls(jnp.swapaxes(us, 0, 1), targets, lengths)


# (outputs, batch) -> loss [].
LossFn = Callable[[Array, Batch], Array]


class Trajectory(NamedTuple):
  """One forward and backward pass, seen from the state; what Omega reads.

  Attributes:
    params: the cell's parameters at which the pass was made.
    x_0: leaves [B, ...].
    xs: leaves [T, B, ...].
    us: [T, B, M], or `Symbols` where the cell reads them.
    deltas: error signals dE/dxs, total derivatives, as `xs`.
    products: deltas[t] J_t, as `xs`.
    mask: bool [T, B], False beyond a sequence's length; None if all count.
    ys: what the readout saw, [T, B, N]; None stands for `cell.output(xs)`.
    grads: the gradient in `params`, before any transformation of it; None
      where nobody formed it.
  """

  params: PyTree
  x_0: PyTree
  xs: PyTree
  us: Inputs
  deltas: PyTree
  products: PyTree
  mask: Array | None = None
  ys: Array | None = None
  grads: PyTree | None = None


class Task(NamedTuple):
  """A task: where sequences come from and what counts as solved.

  Attributes:
    name: as on the command line.
    input_size: M.
    output_size: O.
    reads: "last" if only the state after the last step is read, else "every".
    sample: (key, batch_size) -> Batch, on the device.
    loss: (outputs, batch) -> [], mean over the batch.
    wrong: (outputs, batch) -> bool [B], which sequences are answered wrongly;
      None of a regression, where nothing is. `training` needs it.
    chance_error: error of the best answer that ignores the input; None where
      there is no `wrong`. `training` needs it.
    solved_below: success is an error under this.
    chance_loss: least loss of an answer that ignores the input; None if nobody
      worked it out.
  """

  name: str
  input_size: int
  output_size: int
  reads: str
  sample: Callable[[Array, int], Batch]
  loss: Callable[[Array, Batch], Array]
  wrong: Callable[[Array, Batch], Array] | None = None
  chance_error: float | None = None
  solved_below: float = 0.01
  chance_loss: float | None = None
