"""What reaches each step of any model: the one measure that all share."""

from collections.abc import Callable

import jax

from steadygrad._adjoints import adjoints
from steadygrad.symbols import dense
from steadygrad.trajectories import pull_inputs
from steadygrad.types import Batch, LossFn, Model, PyTree


def error_signals(
  model: Model, loss_fn: LossFn
) -> Callable[[PyTree, Batch], dict[str, PyTree]]:
  """The derivatives of the error in what stands at each step.

  dE/dx_t means something else in each architecture: a recurrent state hands it
  on through T Jacobians, while every position of a transformer has a path of
  its own to the answer. dE/du_t means the same in all of them.

  Args:
    model: any `Model`, also with attention or a transformer behind its cell.
    loss_fn: (outputs, batch) -> loss [].

  Returns:
    (params, batch) -> {"state": dE/dx_t, shaped as the states, [T, B, ...];
    "input": dE/du_t, [T, B, M]}. The first are `adjoints`' deltas, to the bit.
    Of a transformer x_t is the embedded input, where its residual stream
    begins. Beyond a sequence's length both are 0. The function is pure: jit and
    vmap it.

  Raises:
    ValueError: as `adjoints`.

  >>> import jax
  >>> from steadygrad import analysis, cells, models, tasks
  >>> task = tasks.temporal_order(length=20)
  >>> readout = models.linear_readout(8, task.output_size)
  >>> model = models.recurrent(cells.elman(task.input_size, 8), readout)
  >>> params = model.init(jax.random.key(0))
  >>> batch = task.sample(jax.random.key(1), 5)
  >>> found = analysis.error_signals(model, task.loss)(params, batch)
  >>> {name: signal.shape for name, signal in found.items()}
  {'input': (20, 5, 6), 'state': (20, 5, 8)}
  """
  backward = adjoints(model, loss_fn)

  def signals(params: PyTree, batch: Batch) -> dict[str, PyTree]:
    batch = dense(batch)
    seen = backward(params, batch)[2]
    # A bidirectional model hands its cell other inputs than it was given.
    _, vjp = jax.vjp(lambda us: model.before(us, batch.lengths), batch.us)
    (dus,) = vjp(pull_inputs(model.cell, seen))
    return {"input": dus, "state": seen.deltas}

  return signals
