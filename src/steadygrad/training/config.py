"""Everything that decides the outcome of a run, in one place.

Each field is an absl flag of the launchers; its default, help, what is allowed
and who looks at it stand here and nowhere else. What runs on tasks and runs on
music and text share is in parts, `Network`, `Algorithm` and `Seeds`.
"""

import dataclasses
from typing import Any, NamedTuple, Self

import jax

from steadygrad import losses, options
from steadygrad.activations import ACTIVATIONS
from steadygrad.initializers import INITIALIZERS
from steadygrad.models.positions import POSITIONS
from steadygrad.numerics import PRECISIONS
from steadygrad.options import like, option
from steadygrad.tasks import TASKS, make_task
from steadygrad.training.networks import MODELS
from steadygrad.transforms.chains import WEIGHT_DECAY
from steadygrad.transforms.clipping import BOUNDED, CLIPS
from steadygrad.types import Array

ALGORITHMS = ("msgd", "msgd_c", "msgd_cr")
OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw")
MUSIC = ("piano", "nottingham", "musedata", "jsb")
TEXT = {"ptb": 1, "ptb5": 5}  # How far ahead is the symbol asked for.
# A run holds the networks of all its seeds and moves them together; ten
# thousand give a success rate to within 1 %.
MAX_SEEDS = 10_000
MAX_SEED = 2**32 - 1  # A key is made of 32 bits.
_WITHOUT_BIAS = ("elman", "leaky", "residual")
_WITHOUT_OMEGA = ("msgd", "msgd_c")
_BY_NORM = ("by_norm", "norm")  # Two names of Algorithm 1.
# The gates of a layer do not look at its own state: only those of a second one
# choose what to keep by what came before.
_LEAST_LAYERS = {"mingru": 2}


class _Intervals:
  """What `checkpoint_every` may be: "sqrt", or a number of steps."""

  def __contains__(self, text: object) -> bool:
    if not isinstance(text, str) or not text.isdecimal():
      return text == "sqrt"
    return text[0] != "0" and int(text) <= options.INT32

  def __iter__(self):
    return iter(("sqrt", "a number of steps"))


INTERVALS = _Intervals()


@dataclasses.dataclass(frozen=True)
class Network:
  """Which network a run trains."""

  model: str = option(
    "elman",
    "The paper's network; or one of what came after it: leaky, with a residual"
    " connection or a highway in time, ReLU from the identity, with layer"
    " normalisation, Flax's LSTM and GRU, minimal gated units, a linear"
    " recurrent unit; attention over the states of the paper's network; a"
    " causal transformer.",
    choices=MODELS,
    was="cell",
  )
  form: str | None = option(
    None,
    "State of --model=elman: x before the activation (eq. 2), h after it (the"
    " authors' code). Default x, and h for --init=sigmoid.",
    kind=str,
    choices=("x", "h"),
  )
  activation: str | None = option(
    None,
    "Activation of --model=elman. Default tanh, and sigmoid for"
    " --init=sigmoid.",
    kind=str,
    choices=ACTIVATIONS,
  )
  init: str = option(
    "basic_tanh",
    "Initialisation of --model=elman; of others the readout's.",
    choices=INITIALIZERS,
    host=True,
  )
  hidden_size: int = option(50, "Units of the network, N.", low=1)
  use_bias: bool = option(True, "Whether cell and readout have biases.")
  leak: float = option(
    0.1,
    "Rate alpha of --model=leaky and residual: dt / tau.",
    above=0,
    high=1,
    later=True,
    models=("leaky", "residual"),
  )
  forget_bias: str = option(
    "0",
    "Where the bias of the gate of --model=lstm, gru and mingru that keeps the"
    " old state starts; chrono is for memories of the length of the sequences.",
    choices=("0", "1", "chrono"),
    later=True,
    models=("lstm", "gru", "mingru"),
  )
  layers: int = option(
    1,
    "Blocks of --model=transformer and mingru; of mingru at least 2, since one"
    " cannot select.",
    low=1,
    high=100,
    later=True,
    models=("transformer", "mingru"),
  )
  heads: int = option(
    4,
    "Heads of a transformer's attention; they divide --hidden_size.",
    low=1,
    later=True,
    models=("transformer",),
  )
  positions: str = option(
    "sinusoidal",
    "How a transformer knows the steps' positions.",
    choices=POSITIONS,
    later=True,
    models=("transformer",),
  )
  precision: str | None = option(
    None,
    "What a GPU or TPU may round float32 to in products of --model=elman, irnn"
    " and attention: nothing (highest), three products of TF32 (tf32x3), one"
    " (tf32), bfloat16. Default what errs as float32 does. A CPU rounds"
    " nothing.",
    kind=str,
    choices=PRECISIONS,
    later=True,
    models=("elman", "irnn", "attention"),
  )
  checkpoint_every: str | None = option(
    None,
    "If given, less memory for more time: the backward pass keeps every K-th"
    " state, or sqrt for the K that takes least, and computes the others again."
    " Of --model=transformer, whatever is given, it does so with each block."
    " Omega reads every state, so that with it nothing is saved.",
    kind=str,
    choices=INTERVALS,
    later=True,
  )


@dataclasses.dataclass(frozen=True)
class Algorithm:
  """How a run trains it."""

  algorithm: str = option(
    "msgd_cr",
    "SGD alone (msgd), with clipping (msgd_c), with clipping and Omega"
    " (msgd_cr).",
    choices=ALGORITHMS,
  )
  clip: str = option(
    "by_norm",
    "Rule of clipping. by_norm is Algorithm 1, and norm another name of it;"
    f" --max_norm is the threshold of {', '.join(BOUNDED)}. Others have the"
    " numbers that were published with them.",
    choices=CLIPS,
    later=True,
  )
  optimizer: str = option(
    "sgd",
    "What follows Omega and the clipping: the paper's SGD, SGD with Nesterov"
    " momentum .9, Adam, or Adam with weight decay.",
    choices=OPTIMIZERS,
  )
  weight_decay: float | None = option(
    None,
    "Weight decay of --optimizer=adamw, by which parameters shrink at every"
    " update, in shares of the learning rate; not those that hold the"
    " eigenvalues of --model=lru, and not a readout with"
    f" --readout_learning_rate. Default {WEIGHT_DECAY:g}.",
    kind=float,
    low=0,
    later=True,
  )
  batch_size: int = option(20, "Sequences or chunks an update, B.", low=1)
  learning_rate: float = option(
    0.01,
    "Learning rate at the start, and for good where nothing lowers it.",
    above=0,
    traced=True,
  )
  learning_rate_half_life: int | None = option(
    None,
    "If given, the learning rates fall exponentially, by half in so many"
    " updates: a step of Algorithm 1 does not shorten near a minimum.",
    kind=int,
    low=1,
    later=True,
  )
  readout_learning_rate: float | None = option(
    None,
    "If given, the readout has this learning rate, and its gradient is clipped"
    " by itself, to --max_norm as well: in a joint norm that the cell dominates"
    " it hardly moves.",
    kind=float,
    above=0,
    later=True,
  )
  max_norm: float = option(
    1.0,
    "Threshold of Algorithm 1 on the gradient's norm, or of another rule that"
    " has one; inf never clips.",
    above=0,
    infinite=True,
    traced=True,
    unused_by=("msgd",),
  )
  omega_weight: float = option(
    4.0,
    "Weight alpha of Omega.",
    low=0,
    traced=True,
    unused_by=_WITHOUT_OMEGA,
  )
  omega_ratio: str = option(
    "squared",
    "Ratio in Omega: of squared norms (the authors' code) or of norms (eq. 9).",
    choices=("squared", "norm"),
    unused_by=_WITHOUT_OMEGA,
  )
  omega_reduction: str = option(
    "mean",
    "Omega over time: mean (the authors' code) or sum (eq. 9).",
    choices=("mean", "sum"),
    unused_by=_WITHOUT_OMEGA,
  )
  omega_min_squared_norm: float = option(
    1e-20,
    "Error signals with a smaller squared norm do not count.",
    low=0,
    traced=True,
    unused_by=_WITHOUT_OMEGA,
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


@dataclasses.dataclass(frozen=True)
class Seeds:
  """How often a run is repeated."""

  seeds: int = option(
    4,
    "Number of seeds; each is a network of its own.",
    low=1,
    high=MAX_SEEDS,
    host=True,
  )
  first_seed: int = option(
    0,
    "Seeds are first_seed, first_seed + 1, ...",
    low=0,
    high=MAX_SEED,
    host=True,
  )


@dataclasses.dataclass(frozen=True)
class _Run(Seeds, Algorithm, Network):
  """What every run has."""

  def __post_init__(self):
    if type(every := self.checkpoint_every) is int:  # A text on command lines.
      object.__setattr__(self, "checkpoint_every", str(every))
    options.check_fields(self)
    if self.first_seed > (most := MAX_SEED + 1 - self.seeds):
      raise ValueError(
        f"first_seed must be at most {most} with {self.seeds} seeds, got"
        f" {self.first_seed}"
      )
    if self.optimizer != "adamw" and self.weight_decay is not None:
      raise ValueError(
        f"weight_decay must be none for --optimizer={self.optimizer}, which has"
        f" none, got {self.weight_decay}"
      )
    if self.model not in _WITHOUT_BIAS and not self.use_bias:
      raise ValueError(
        f"use_bias must be true for --model={self.model}, got {self.use_bias}"
      )
    self._check_clip()
    if self.model == "transformer":
      self._check_transformer()
    for name, field in options.fields(self).items():
      value, models = getattr(self, name), field.metadata["models"]
      if models and self.model not in models and value != field.default:
        raise ValueError(
          f"{name} must be {field.default} for --model={self.model}, which does"
          f" not look at it, got {value}"
        )

  def _check_clip(self) -> None:
    if self.algorithm == "msgd" and self.clip not in (*_BY_NORM, "none"):
      raise ValueError(
        f"clip must be by_norm or none for --algorithm=msgd, which clips"
        f" nothing, got {self.clip}"
      )
    usual = options.fields(self)["max_norm"].default
    if self.clip not in BOUNDED and self.max_norm != usual:
      raise ValueError(
        f"max_norm must be {usual} for --clip={self.clip}, which has no"
        f" threshold, got {self.max_norm}"
      )
    rate = self.readout_learning_rate
    if self.clip not in _BY_NORM and rate is not None:
      raise ValueError(
        f"readout_learning_rate must be none for --clip={self.clip}, since the"
        f" readout apart is clipped by its norm, got {rate}"
      )

  def _check_transformer(self) -> None:
    if self.algorithm == "msgd_cr":
      raise ValueError(
        "algorithm must be msgd or msgd_c for --model=transformer, whose states"
        " send nothing back to each other, got msgd_cr"
      )
    each = 2 * self.heads if self.positions == "rotary" else self.heads
    if self.hidden_size % each:
      raise ValueError(
        f"hidden_size must be a multiple of {each} with {self.heads} heads and"
        f" {self.positions} positions, got {self.hidden_size}"
      )

  def digest(self) -> str:
    """Eight hexadecimal digits that name this configuration."""
    return options.digest(self.resolved())

  def resolved(self) -> Self:
    """The same run with the defaults that depend on others written out."""
    sigmoid, decay = self.init == "sigmoid", self.weight_decay
    if self.optimizer == "adamw" and decay is None:
      decay = WEIGHT_DECAY
    return options.replaced(
      self,
      form=self.form or ("h" if sigmoid else "x"),
      activation=self.activation or ("sigmoid" if sigmoid else "tanh"),
      layers=max(self.layers, _LEAST_LAYERS.get(self.model, 1)),
      weight_decay=decay,
      clip="by_norm" if self.clip == "norm" else self.clip,
    )


@dataclasses.dataclass(frozen=True)
class TaskConfig(_Run):
  """A run on a task, but for the machine it runs on."""

  model: str = like(Network, "model", later=True)
  use_bias: bool = like(Network, "use_bias", later=True)
  optimizer: str = like(Algorithm, "optimizer", later=True)
  task: str = option("temporal_order", "Task.", choices=TASKS)
  length: int = option(50, "Sequence length, in steps.", low=1)
  max_length: int | None = option(
    None,
    "If given, every update draws its length from --length to --max_length.",
    kind=int,
    low=1,
  )
  start: str | None = option(
    None,
    "Name of a sweep's run without its seed: every seed begins with the"
    " parameters that it has there, in place of --init. sweep.py only, which"
    " finds it among its own runs, made first, or in --starts.",
    kind=str,
    later=True,
    host=True,
  )
  start_speed: float | None = option(
    None,
    "If given, the network of --start begins so many times as fast: W_rec - I,"
    " W_in and the biases of its cell are multiplied by it. For --form=x.",
    kind=float,
    above=0,
    later=True,
    host=True,
  )
  initial_state_scale: float = option(
    0.0,
    "Training draws the state before each sequence's first step from N(0, s^2)"
    " around the cell's own; checks and tests begin with the cell's own.",
    low=0,
    later=True,
  )
  label_smoothing: float = option(
    0.0,
    "Training's targets are 1 - s for the right class and s shared by all;"
    " for answers that are classes. Checks and tests look at the answer alone.",
    low=0,
    under=1,
    later=True,
  )
  max_updates: int = option(
    100_000, "Updates at which a seed is cut.", low=1, host=True
  )
  check_every: int = option(
    1000, "Updates between two checks of the error.", low=1, host=True
  )
  check_size: int = option(
    1000,
    "Fresh sequences at a check; only where their error passes is it measured"
    " on --test_size fresh ones, which decide.",
    low=1,
  )
  test_size: int = option(
    10_000, "Fresh sequences that decide success and measure its error.", low=1
  )
  solved_below: float | None = option(
    None,
    "A seed counts as solved when its error is under this; a value under one in"
    " --test_size asks for none wrong. Default: the task's, which is 0.01.",
    kind=float,
    above=0,
    later=True,
  )
  go_on: bool = option(
    False,
    "Train on after the first success, up to --max_updates, and count the"
    " checks that fail again.",
  )

  def __post_init__(self):
    super().__post_init__()
    for name in ("check_size", "test_size"):
      size = getattr(self, name)
      if size > 250 and size % 250:
        raise ValueError(
          f"{name} must be under 250 or a multiple of it, got {size}"
        )
    if self.start_speed is not None and self.start is None:
      raise ValueError(
        f"start_speed must be none without a start, got {self.start_speed}"
      )
    if self.initial_state_scale and self.model != "elman":
      raise ValueError(
        f"initial_state_scale must be 0 for --model={self.model}, got"
        f" {self.initial_state_scale}"
      )
    task = make_task(self.task, self.length, self.max_length)
    if self.label_smoothing and task.loss is not losses.cross_entropy:
      raise ValueError(
        f"label_smoothing must be 0 for {self.task}, whose answer is no class;"
        f" got {self.label_smoothing}"
      )

  @property
  def memory(self) -> int:
    """Steps that a network should remember, for --forget_bias=chrono."""
    return self.max_length or self.length

  @property
  def num_steps(self) -> int:
    """Steps of its longest sequences, with what the task adds to them."""
    task = make_task(self.task, self.length, self.max_length)
    batch = jax.eval_shape(lambda: task.sample(jax.random.key(0), 1))
    return len(batch.us)


@dataclasses.dataclass(frozen=True)
class CorpusConfig(_Run):
  """A run on music or text, but for the machine and the data's place."""

  form: str = like(Network, "form", "h")
  activation: str = like(Network, "activation", "sigmoid")
  init: str = like(Network, "init", "sigmoid")
  hidden_size: int = like(Network, "hidden_size", 300)
  batch_size: int = like(Algorithm, "batch_size", 4)
  learning_rate: float = like(Algorithm, "learning_rate", 1.0)
  max_norm: float = like(Algorithm, "max_norm", 8.0)
  omega_weight: float = like(Algorithm, "omega_weight", 0.5)
  seeds: int = like(Seeds, "seeds", 1)
  data: str = option("nottingham", "Data set.", choices=(*MUSIC, *TEXT))
  cost: str = option(
    "mean", "Cost of a chunk over its steps.", choices=("mean", "sum")
  )
  chunk_length: int = option(200, "Steps through which gradients go.", low=1)
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
  omega_decay: str = option(
    "epoch",
    "Weight of Omega in epoch t: alpha, or alpha / t.",
    choices=("constant", "epoch"),
    unused_by=_WITHOUT_OMEGA,
  )
  max_epochs: int = option(
    200, "Passes at which a seed is cut.", low=1, host=True
  )
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
    super().__post_init__()
    if self.go_back and self.learning_rate_half_life is not None:
      raise ValueError(
        "learning_rate_half_life must be none with go_back, which begins its"
        f" count anew, got {self.learning_rate_half_life}"
      )

  @property
  def memory(self) -> int:
    """Steps that a network should remember, for --forget_bias=chrono."""
    return self.chunk_length

  @property
  def num_steps(self) -> int:
    """Steps that it sees at a time."""
    return self.chunk_length


Config = TaskConfig | CorpusConfig
# What a run may be given more of: with the larger it goes on.
BUDGETS = {TaskConfig: "max_updates", CorpusConfig: "max_epochs"}


class Hyper(NamedTuple):
  """Numbers of a configuration that may be traced; see `experiment`.

  Attributes:
    learning_rate: [].
    max_norm: threshold of Algorithm 1, []; inf never clips.
    omega_weight: α, [].
    omega_min_squared_norm: bound on |δ_t|², [].
  """

  learning_rate: float | Array
  max_norm: float | Array
  omega_weight: float | Array
  omega_min_squared_norm: float | Array


def hyper(config: Config) -> Hyper:
  """The numbers of a configuration that choose no program."""
  return Hyper(*[getattr(config, name) for name in Hyper._fields])


def program(config: Config) -> Config:
  """What a compiled program depends on; other fields have their defaults.

  Two runs of one program share a compilation. MSGD is MSGD-C with a threshold
  of infinity, see `program_numbers`.
  """
  others = {
    name: field.default
    for name, field in options.fields(config).items()
    if field.metadata["traced"] or field.metadata["host"]
  }
  if config.algorithm == "msgd":
    others["algorithm"] = "msgd_c"
  return options.replaced(config.resolved(), **others)


def program_numbers(config: Config) -> Hyper:
  """The numbers that the program of this run is given."""
  numbers = hyper(config)
  if config.algorithm == "msgd":
    numbers = numbers._replace(max_norm=float("inf"))
  return numbers


def without_unused(config: Config) -> Config:
  """The same run, with defaults where its algorithm does not look.

  Two configurations that differ there alone are one run.
  """
  unused = {
    name: field.default
    for name, field in options.fields(config).items()
    if config.algorithm in field.metadata["unused_by"]
  }
  return dataclasses.replace(config, **unused)


def fitting(defaults: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
  """Defaults but for a threshold where the rule that was chosen has none."""
  if chosen.get("clip", "by_norm") in BOUNDED:
    return defaults
  return {name: v for name, v in defaults.items() if name != "max_norm"}


def differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple]:
  """{field: (value in a, value in b)} where two configurations differ."""
  return {
    name: (a.get(name), b.get(name))
    for name in sorted(a.keys() | b.keys())
    if a.get(name) != b.get(name)
  }
