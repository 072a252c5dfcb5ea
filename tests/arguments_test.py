"""Wrong arguments: a ValueError with name, value and what is allowed.

Each is told before anything is compiled. `analysis` has a table of its own.
"""

import functools
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from steadygrad import adjoints, initializers, losses, transforms, unroll
from steadygrad.cells import elman, linen
from steadygrad.kernels import elman_scan
from steadygrad.models import linear_readout, recurrent
from steadygrad.numerics import spectral_radius
from steadygrad.tasks import TASKS
from steadygrad.training import evaluation
from steadygrad.types import Batch, Trajectory

T, B, M, N, O = 5, 3, 2, 4, 6

CELL = elman(M, N)
GRU = linen(nn.GRUCell(N), M)
LAST = recurrent(CELL, linear_readout(N, O))
EVERY = recurrent(CELL, linear_readout(N, O, reads="every"))


def zeros(tree):
  """NumPy arrays in the place of abstract ones: nothing is compiled."""
  return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), tree)


@functools.cache
def params_of(model=LAST):
  return zeros(jax.eval_shape(model.init, jax.random.key(0)))


def batch(**changes):
  given = {
    "us": np.zeros((T, B, M), np.float32),
    "targets": np.zeros(B, np.int32),
    "lengths": None,
  }
  return Batch(**given | changes)


def state(dtype=np.float32, shape=(B, N)):
  return np.zeros(shape, dtype)


def gradients(given=None, x_0=None, params=None, model=LAST, **options):
  """`adjoints` of a batch."""
  run = adjoints(model, losses.cross_entropy, **options)
  given = batch() if given is None else given
  return run(params_of() if params is None else params, given, x_0)


def apply(x_0=None, lengths=None, model=LAST, params=None, **changes):
  params = params_of() if params is None else params
  return model.apply(params, batch(**changes).us, lengths, x_0)


def states(x_0=None, lengths=None, cell=CELL, **changes):
  us = batch(**changes).us
  return unroll(cell, params_of()["cell"], us, x_0=x_0, lengths=lengths)


def entropy(targets, outputs=(B, O), us=None, **options):
  given = Batch(us, targets)
  return losses.cross_entropy(np.zeros(outputs, np.float32), given, **options)


def error(targets, outputs=(B, O), us=None):
  given = Batch(us, np.zeros(targets, np.float32))
  return losses.squared_error(np.zeros(outputs, np.float32), given)


def trajectory_of(units, length=T):
  xs = np.zeros((length, B, units), np.float32)
  cell = params_of(recurrent(elman(M, units), linear_readout(units, O)))
  us = np.zeros((length, B, M), np.float32)
  return Trajectory(cell["cell"], xs[0], xs, us, xs, xs)


def omega(weight=4.0, **options):
  return transforms.add_omega_gradient(CELL, weight, **options)


def add_omega(trajectory, **options):
  state = transforms.OmegaState(*[np.zeros([], t) for t in ("i4", "f4", "f4")])
  omega(**options).update(params_of(), state, trajectory=trajectory)


def clip(updates):
  state = transforms.ClipState(np.float32(0), np.bool_(0), np.bool_(0))
  transforms.clip_by_global_norm(1.0).update(updates, state)


NUMBER = "a number that is not negative"
FINITE = "a finite number that is not negative"
INTEGER = "an integer of at least 1"
SHAPES = rf"us must be \[T, B, M\].*\({T}, {B}, 7\)"
FLAT = np.zeros((B, M), np.float32)
WIDE = np.zeros((T, B, 7), np.float32)
COMPLEX = np.zeros((T, B, M), np.complex64)
TIMES = np.zeros((64, 30, M), np.float32)

# (what is called, what its message must say; the argument's name first).
CASES = {
  # Cells.
  "input_size 0": (lambda: elman(0, N), ["input_size", INTEGER, "0"]),
  "input_size 1.5": (lambda: elman(1.5, N), ["input_size", INTEGER, r"1\.5"]),
  "hidden_size True": (
    lambda: elman(M, True),
    ["hidden_size", INTEGER, "True"],
  ),
  "hidden_size str": (lambda: elman(M, "4"), ["hidden_size", INTEGER, "'4'"]),
  "form": (lambda: elman(M, N, form="y"), ["form", '"x" or "h"', "'y'"]),
  "activation": (
    lambda: elman(M, N, activation="gelu"),
    ["activation", "tanh", "'gelu'"],
  ),
  "activation list": (
    lambda: elman(M, N, activation=["tanh"]),
    ["activation", "sigmoid", r"\['tanh'\]"],
  ),
  "initializers": (
    lambda: elman(M, N, initializers=initializers.smart_tanh),
    ["initializers", "basic_tanh", "function"],
  ),
  "use_bias": (
    lambda: elman(M, N, use_bias="no"),
    ["use_bias", "True or False", "'no'"],
  ),
  "dtype": (
    lambda: elman(M, N, dtype=jnp.int32),
    ["dtype", "floating-point", "int32"],
  ),
  "dtype name": (
    lambda: elman(M, N, dtype="float33"),
    ["dtype", "floating-point", "'float33'"],
  ),
  "implementation": (
    lambda: elman(M, N, implementation="cuda"),
    ["implementation", "pallas_gpu", "'cuda'"],
  ),
  "linen input_size": (
    lambda: linen(nn.GRUCell(N), 0),
    ["input_size", "at least 1", "0"],
  ),
  "linen cell": (lambda: linen("gru", 2), ["cell", "RNNCellBase", "str"]),
  # Kernels.
  "scan form": (
    lambda: elman_scan("z", "tanh"),
    ["form", '"x" or "h"', "'z'"],
  ),
  "scan interpret": (
    lambda: elman_scan("x", "tanh", interpret=True),
    ["interpret", "implementation", "None"],
  ),
  # Models.
  "readout size": (
    lambda: linear_readout(N, 2.0),
    ["output_size", INTEGER, r"2\.0"],
  ),
  "reads": (
    lambda: linear_readout(N, O, reads=None),
    ["reads", '"last" or "every"', "None"],
  ),
  "initializer": (
    lambda: linear_readout(N, O, initializer=0.1),
    ["initializer", "function", r"0\.1"],
  ),
  "recurrent cell": (
    lambda: recurrent(nn.GRUCell(N), linear_readout(N, O)),
    ["cell", "steadygrad Cell", "GRUCell"],
  ),
  "recurrent readout": (
    lambda: recurrent(CELL, CELL),
    ["readout", "steadygrad Readout", "Cell"],
  ),
  "apply params": (
    lambda: apply(params=params_of()["cell"]),
    ["params", '"readout"', "w_rec"],
  ),
  "apply no steps": (
    lambda: apply(us=np.zeros((0, B, M), np.float32)),
    ["us", "at least one step", "0"],
  ),
  "apply us": (lambda: apply(us=WIDE), ["us", SHAPES]),
  "apply complex us": (lambda: apply(us=COMPLEX), ["us", "real", "complex64"]),
  "apply x_0": (
    lambda: apply(state(shape=(B, 5))),
    ["x_0", r"\(3, 4\)", r"\(3, 5\)"],
  ),
  "apply integer x_0": (
    lambda: apply(state(np.int32)),
    ["x_0", "floating", "integer"],
  ),
  "apply lengths": (
    lambda: apply(lengths=[1, 2, 9]),
    ["lengths", r"0\.\.5", "9"],
  ),
  # Unrolling.
  "unroll cell": (lambda: states(cell=LAST), ["cell", "Cell", "Model"]),
  "unroll us": (lambda: states(us=FLAT), ["us", "T, B, M", r"\(3, 2\)"]),
  "unroll us list": (
    lambda: states(us=WIDE.tolist()),
    ["us", "an array", "list"],
  ),
  "unroll M": (lambda: states(us=WIDE), ["us", SHAPES]),
  "unroll M of a Flax cell": (
    lambda: unroll(
      GRU, params_of(recurrent(GRU, linear_readout(N, O)))["cell"], WIDE
    ),
    ["us", SHAPES],
  ),
  "unroll complex us": (lambda: states(us=COMPLEX), ["us", "real", "complex"]),
  "unroll x_0": (
    lambda: states(state(shape=(2, N))),
    ["x_0", r"\(3, 4\)", r"\(2, 4\)"],
  ),
  "unroll x_0 tree": (
    lambda: states((state(), state())),
    ["x_0", r"\(3, 4\)", r"\(\(3, 4\), \(3, 4\)\)"],
  ),
  "unroll integer x_0": (
    lambda: states(state(int)),
    ["x_0", "floating", "integer"],
  ),
  "unroll complex x_0": (
    lambda: states(state(np.complex64)),
    ["x_0", "floating", "complexfloating"],
  ),
  "lengths floats": (
    lambda: states(lengths=[1.0, 2.0, 3.0]),
    ["lengths", "integers", "float"],
  ),
  "lengths bool": (
    lambda: states(lengths=True),
    ["lengths", "integers", "bool"],
  ),
  "lengths str": (lambda: states(lengths="3"), ["lengths", "integers", "<U1"]),
  "lengths ragged": (
    lambda: states(lengths=[[1], [2, 3], 4]),
    ["lengths", "integers", r"\[1\]"],
  ),
  "lengths shape": (
    lambda: states(lengths=(1, 2)),
    ["lengths", r"\(3,\)", r"\(2,\)"],
  ),
  "lengths negative": (
    lambda: states(lengths=(1, -2, 3)),
    ["lengths", r"0\.\.5", "-2"],
  ),
  # Adjoints.
  "adjoints model": (
    lambda: adjoints(CELL, losses.cross_entropy),
    ["model", "steadygrad Model", "Cell"],
  ),
  "adjoints loss": (
    lambda: adjoints(LAST, "cross_entropy"),
    ["loss_fn", "function", "cross_entropy"],
  ),
  "checkpoint_every 0": (
    lambda: gradients(checkpoint_every=0),
    ["checkpoint_every", INTEGER, "0"],
  ),
  "checkpoint_every 1.5": (
    lambda: gradients(checkpoint_every=1.5),
    ["checkpoint_every", INTEGER, r"1\.5"],
  ),
  "checkpoint_every True": (
    lambda: gradients(checkpoint_every=True),
    ["checkpoint_every", INTEGER, "True"],
  ),
  "a tuple as batch": (
    lambda: gradients(tuple(batch())),
    ["batch", "steadygrad.types.Batch", "tuple"],
  ),
  "a dict as batch": (
    lambda: gradients(batch()._asdict()),
    ["batch", "steadygrad.types.Batch", "dict"],
  ),
  "adjoints params": (
    lambda: gradients(params={"readout": 1}),
    ["params", '"cell"', "readout"],
  ),
  "adjoints us": (lambda: gradients(batch(us=WIDE)), ["us", SHAPES]),
  "adjoints complex us": (
    lambda: gradients(batch(us=COMPLEX)),
    ["us", "real", "complex64"],
  ),
  "no steps": (
    lambda: gradients(batch(us=np.zeros((0, B, M)))),
    ["us", "at least one step", "0"],
  ),
  "no sequences": (
    lambda: gradients(batch(us=np.zeros((T, 0, M)))),
    ["us", "at least one sequence", "0"],
  ),
  "adjoints lengths": (
    lambda: gradients(batch(lengths=[1, 2])),
    ["lengths", r"\(3,\)", r"\(2,\)"],
  ),
  "adjoints x_0": (
    lambda: gradients(x_0=state(shape=(B, 5))),
    ["x_0", r"\(3, 4\)", r"\(3, 5\)"],
  ),
  "adjoints integer x_0": (
    lambda: gradients(x_0=state(np.int32)),
    ["x_0", "floating", "integer"],
  ),
  "batch-major, a loss of one's own": (
    lambda: adjoints(LAST, lambda y, b: jnp.sum(y - b.targets))(
      params_of(), Batch(TIMES, np.zeros((64, 1)))
    ),
    ["targets", r"us are \[T, B, M\]", "B = 30", "have 64", "batch-major"],
  ),
  # Losses.
  "batch-major classes": (
    lambda: entropy(np.zeros(64, int), (30, O), TIMES),
    ["targets", r"us are \[T, B, M\]", "B = 30", "have 64", "batch-major"],
  ),
  "batch-major values": (
    lambda: error((30, 64, O), (64, 30, O), TIMES),
    ["targets", r"\(64, 30, 6\)", "T = 64", "have 30", "batch-major"],
  ),
  "classes broadcast": (
    lambda: entropy(np.zeros(1, int)),
    ["targets", r"\(3,\)", r"\(1,\)"],
  ),
  "classes one-hot": (
    lambda: entropy(np.zeros((B, O), int)),
    ["targets", r"\(3,\)", r"\(3, 6\)"],
  ),
  "classes float": (
    lambda: entropy(np.zeros(B)),
    ["targets", "integers", "float"],
  ),
  "values broadcast": (
    lambda: error((B, 1)),
    ["targets", r"\(3, 6\)", r"\(3, 1\)"],
  ),
  "outputs of no sequence": (
    lambda: entropy(np.zeros(0, int), (0, O)),
    ["outputs", "at least one sequence", r"\(0, 6\)"],
  ),
  "outputs of one axis": (
    lambda: error((O,), (O,)),
    ["outputs", r"\[B, O\]", r"\(6,\)"],
  ),
  "smoothing 1": (
    lambda: entropy(np.zeros(B, int), smoothing=1.0),
    ["smoothing", "not negative and below 1", r"1\.0"],
  ),
  "smoothing None": (
    lambda: entropy(np.zeros(B, int), smoothing=None),
    ["smoothing", "number", "None"],
  ),
  "loss of a tuple": (
    lambda: losses.squared_error(np.zeros((B, O)), (None, np.zeros((B, O)))),
    ["batch", "steadygrad.types.Batch", "tuple"],
  ),
  "misclassified": (
    lambda: losses.misclassified(
      np.zeros((B, O)), Batch(None, np.zeros(2, int))
    ),
    ["targets", r"\(3,\)", r"\(2,\)"],
  ),
  "limit": (
    lambda: losses.off_by_more("a", np.zeros((B, O)), batch()),
    ["limit", NUMBER, "'a'"],
  ),
  # Batches.
  "batch-major us": (
    lambda: Batch.from_batch_major(FLAT, None),
    ["us", r"\[B, T, M\]", r"\(3, 2\)"],
  ),
  "batch-major reads": (
    lambda: Batch.from_batch_major(WIDE, None, reads="all"),
    ["reads", '"last", "every" or None', "'all'"],
  ),
  "batch-major targets": (
    lambda: Batch.from_batch_major(WIDE, np.zeros(T), reads="every"),
    ["targets", r"\[B, T, ...\]", r"\(5,\)"],
  ),
  # Links.
  "max_norm negative": (
    lambda: transforms.clip_by_global_norm(-1.0),
    ["max_norm", NUMBER, r"-1\.0"],
  ),
  "max_norm None": (
    lambda: transforms.clip_by_global_norm(None),
    ["max_norm", NUMBER, "None"],
  ),
  "max_norm str": (
    lambda: transforms.clip_by_global_norm("1"),
    ["max_norm", NUMBER, "'1'"],
  ),
  "max_norm array": (
    lambda: transforms.clip_by_global_norm(np.ones(2)),
    ["max_norm", NUMBER, r"array\(\[1"],
  ),
  "max_norm NaN": (
    lambda: transforms.msgd_c(0.1, np.float32("nan")),
    ["max_norm", NUMBER, "nan"],
  ),
  "a Python float to clip": (
    lambda: clip({"a": 3.0}),
    ["updates", "arrays", r"3\.0 at \['a'\]"],
  ),
  "weight inf": (lambda: omega(np.inf), ["weight", FINITE, "inf"]),
  "weight NaN": (lambda: omega(np.nan), ["weight", FINITE, "nan"]),
  "weight complex": (lambda: omega(1j), ["weight", FINITE, "1j"]),
  "weight str": (lambda: omega("4"), ["weight", FINITE, "'4'"]),
  "weight None": (lambda: omega(None), ["weight", FINITE, "None"]),
  "weight True": (lambda: omega(True), ["weight", FINITE, "True"]),
  "min_squared_norm": (
    lambda: omega(min_squared_norm=np.inf),
    ["min_squared_norm", FINITE, "inf"],
  ),
  "ratio": (
    lambda: omega(ratio="cubed"),
    ["ratio", '"squared" or "norm"', "'cubed'"],
  ),
  "reduction": (
    lambda: omega(reduction="max"),
    ["reduction", '"mean" or "sum"', "'max'"],
  ),
  "at": (lambda: omega(at="cell"), ["at", "tuple of names", "'cell'"]),
  "merged": (lambda: omega(merged=1), ["merged", "True or False", "1"]),
  "omega's cell": (
    lambda: transforms.add_omega_gradient(LAST),
    ["cell", "steadygrad Cell", "Model"],
  ),
  "no trajectory": (
    lambda: add_omega(None),
    ["trajectory", "adjoints", "NoneType"],
  ),
  "trajectory of another size": (
    lambda: add_omega(trajectory_of(5)),
    ["trajectory", r"\(3, 4\)", r"\(3, 5\)"],
  ),
  "trajectory of another kind": (
    lambda: add_omega(trajectory_of(N)._replace(params={"kernel": FLAT})),
    ["trajectory", "of the cell", "w_rec"],
  ),
  "terms of no trajectory": (
    lambda: transforms.omega_terms((1, 2)),
    ["trajectory", "adjoints", "tuple"],
  ),
  "learning_rate None": (
    lambda: transforms.msgd(None),
    ["learning_rate", FINITE, "None"],
  ),
  "learning_rate str": (
    lambda: transforms.msgd_c("fast", 1.0),
    ["learning_rate", FINITE, "'fast'"],
  ),
  "learning_rate NaN": (
    lambda: transforms.msgd_cr(CELL, np.nan, 1.0, 4.0),
    ["learning_rate", FINITE, "nan"],
  ),
  "rate": (
    lambda: transforms.shrink_if_nonfinite(-0.02),
    ["rate", FINITE, r"-0\.02"],
  ),
  "shrink at": (
    lambda: transforms.shrink_if_nonfinite(at=["cell"]),
    ["at", "tuple of names", r"\['cell'\]"],
  ),
  "skip inner": (
    lambda: transforms.skip_nonfinite(optax.sgd),
    ["inner", "Optax transformation", "function"],
  ),
  "readout_apart tx": (
    lambda: transforms.readout_apart(None, 0.1, 1.0),
    ["tx", "Optax transformation", "NoneType"],
  ),
  "norms": (
    lambda: transforms.choose_max_norm(["a"]),
    ["gradient_norms", "numbers", "'a'"],
  ),
  "norms to judge by": (
    lambda: transforms.choose_max_norm([1.0], "1"),
    ["max_norm", "number", "'1'"],
  ),
  # Tasks, initialisers, numbers.
  "length": (
    lambda: TASKS["temporal_order"](9),
    ["length", "at least 10", "9"],
  ),
  "length 50.5": (
    lambda: TASKS["addition"](50.5),
    ["length", "integer", r"50\.5"],
  ),
  "length str": (lambda: TASKS["copy"]("20"), ["length", "integer", "'20'"]),
  "max_length": (
    lambda: TASKS["adding"](20, 10),
    ["max_length", "at least length=20", "10"],
  ),
  "max_length True": (
    lambda: TASKS["random_permutation"](1, True),
    ["max_length", "integer", "True"],
  ),
  "connections": (
    lambda: initializers.smart_tanh(connections=1.5),
    ["connections", INTEGER, r"1\.5"],
  ),
  "radius": (
    lambda: initializers.sparse_spectral(radius=np.inf),
    ["radius", "finite number above 0", "inf"],
  ),
  "per": (
    lambda: initializers.smart_tanh(per="unit"),
    ["per", '"target" or "source"', "'unit'"],
  ),
  "scale": (
    lambda: initializers.identity("1"),
    ["scale", "finite number", "'1'"],
  ),
  "w": (lambda: spectral_radius(WIDE[0]), ["w", r"\[N, N\]", r"\(3, 7\)"]),
  "num_sequences": (
    lambda: evaluation.batch_size_for(2.5),
    ["num_sequences", INTEGER, r"2\.5"],
  ),
}


@pytest.fixture
def compilations(caplog):
  """Programs that were compiled since the test began."""
  caplog.set_level(logging.WARNING)

  def found():
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "XLA compilation" in text]

  params_of()  # Keys are programs too, of the test and not of what it tests.
  with jax.log_compiles(True):
    yield found


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_argument_is_named_before_anything_is_compiled(
  compilations, name
):
  call, said = CASES[name]
  with pytest.raises(ValueError) as caught:
    call()
  message = str(caught.value)
  assert re.search(rf"(^|\W){said[0]}\b", message.split(" must ")[0]), message
  for words in said:
    assert re.search(words, message, re.DOTALL), (words, message)
  assert not compilations()


def test_a_compilation_would_be_seen(compilations):
  jnp.zeros(1237)  # Of a shape that nothing else has.
  assert compilations()


def test_the_table_is_long_enough():
  assert len(CASES) >= 60


def test_right_arguments_pass():
  """The defaults of the helpers above are right, so that each case is not."""
  loss, _, _ = gradients(batch(lengths=[5, 0, 2]), state())
  np.testing.assert_allclose(loss, np.log(O), rtol=1e-6)
  assert apply(state(), (1, 2, 3)).shape == (B, O)
  assert states(state(), 4).shape == (T, B, N)
  assert entropy(np.zeros(B, int)) > 0 and error((B, O)) == 0
