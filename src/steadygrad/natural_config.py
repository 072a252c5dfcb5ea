"""Everything that decides the outcome of a run on the natural problems."""

import dataclasses

from steadygrad import options
from steadygrad.activations import ACTIVATIONS
from steadygrad.config import ALGORITHMS, MAX_SEED, MAX_SEEDS, check_seeds
from steadygrad.initializers import INITIALIZERS
from steadygrad.options import option

MUSIC = ("piano", "nottingham", "musedata", "jsb")
TEXT = {"ptb": 1, "ptb5": 5}  # How far ahead is the symbol asked for.


@dataclasses.dataclass(frozen=True)
class NaturalConfig:
  """A run on music or text, but for the machine and the data's place."""

  data: str = option("nottingham", "Data set.", choices=(*MUSIC, *TEXT))
  cell: str = option(
    "elman", "Recurrent cell: the paper's, or Flax's LSTM.",
    choices=("elman", "lstm"),
  )  # fmt: skip
  form: str = option(
    "h", "State of --cell=elman: x before the activation, h after it.",
    choices=("x", "h"),
  )  # fmt: skip
  activation: str = option(
    "sigmoid", "Activation of --cell=elman.", choices=ACTIVATIONS
  )
  init: str = option(
    "sigmoid",
    "Initialisation of --cell=elman; of --cell=lstm its readout's.",
    choices=INITIALIZERS,
  )
  hidden_size: int = option(300, "Units of the network, N.", low=1)
  use_bias: bool = option(True, "Whether cell and readout have biases.")
  algorithm: str = option(
    "msgd_cr",
    "SGD alone (msgd), with clipping (msgd_c), with clipping and Omega"
    " (msgd_cr).",
    choices=ALGORITHMS,
  )
  optimizer: str = option(
    "sgd",
    "What follows Omega and the clipping: the paper's SGD, SGD with Nesterov"
    " momentum .9, or Adam.",
    choices=("sgd", "nesterov", "adam"),
  )
  cost: str = option(
    "mean", "Cost of a chunk over its steps.", choices=("mean", "sum")
  )
  chunk_length: int = option(200, "Steps through which gradients go.", low=1)
  batch_size: int = option(4, "Chunks an update, B.", low=1)
  learning_rate: float = option(1.0, "Learning rate at the start.", above=0)
  halve_after: int | None = option(
    None,
    "Halve the learning rate after so many passes without a new best"
    " validation error. Default: when that error is not below the last pass's.",
    kind=int,
    low=1,
  )
  min_gain: float = option(
    0.0,
    "The share by which a pass has to lower the validation error, or else the"
    " learning rate is halved. Not looked at with --halve_after.",
    low=0,
    under=1,
  )
  go_back: bool = option(
    False,
    "When the learning rate is halved, go back to the best parameters.",
  )
  average: float | None = option(
    None,
    "If given, a running average of the parameters is validated, kept and"
    " tested in their place: after every update it moves by this share of the"
    " way to them. Training itself does not look at it.",
    kind=float,
    above=0,
    high=1,
    later=True,
  )
  max_norm: float = option(
    8.0,
    "Threshold of Algorithm 1 on the gradient's norm; inf never clips.",
    above=0,
    infinite=True,
  )
  omega_weight: float = option(
    0.5, "Weight alpha of Omega in the first epoch.", low=0
  )
  omega_decay: str = option(
    "epoch",
    "Weight of Omega in epoch t: alpha, or alpha / t.",
    choices=("constant", "epoch"),
  )
  omega_ratio: str = option(
    "squared",
    "Ratio in Omega: of squared norms (the authors' code) or of norms (eq. 9).",
    choices=("squared", "norm"),
  )
  omega_reduction: str = option(
    "mean",
    "Omega over time: mean (the authors' code) or sum (eq. 9).",
    choices=("mean", "sum"),
  )
  omega_min_squared_norm: float = option(
    1e-20,
    "Error signals with a smaller squared norm do not count.",
    low=0,
  )
  seeds: int = option(
    1,
    "Number of seeds; each is a network of its own.",
    low=1,
    high=MAX_SEEDS,
  )
  first_seed: int = option(
    0, "Seeds are first_seed, first_seed + 1, ...", low=0, high=MAX_SEED
  )
  max_epochs: int = option(200, "Passes at which a seed is cut.", low=1)
  patience: int = option(
    10, "Passes without a new best validation error that end a seed.", low=1
  )
  max_halvings: int = option(
    6, "Halvings of the learning rate; one more ends a seed.", low=0
  )
  eval_lanes: int = option(
    16,
    "Pieces evaluated side by side; of a text, contiguous parts each of which"
    " begins from the initial state. The test is one pass in one piece.",
    low=1,
  )

  def __post_init__(self):
    options.check_fields(self)
    check_seeds(self)
    if self.cell == "lstm" and not self.use_bias:
      raise ValueError("use_bias must be true for --cell=lstm, got False")

  def digest(self) -> str:
    """Eight hexadecimal digits that name this configuration."""
    return options.digest(self)
