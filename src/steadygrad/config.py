"""Everything that decides the outcome of a training run, in one place.

Each field of `TrainConfig` is an absl flag of the launchers; its default, help
and what is allowed stand here and nowhere else.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from steadygrad import losses, options
from steadygrad.activations import ACTIVATIONS
from steadygrad.initializers import INITIALIZERS
from steadygrad.options import option
from steadygrad.tasks import TASKS, make_task

ALGORITHMS = ("msgd", "msgd_c", "msgd_cr")
# A run holds the networks of all its seeds and moves them together; ten
# thousand give a success rate to within 1 %.
MAX_SEEDS = 10_000
MAX_SEED = 2**32 - 1  # A key is made of 32 bits.
_DEFINE = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_bool,
  str: flags.DEFINE_string,
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """A training run, but for the machine it runs on."""

  task: str = option("temporal_order", "Task.", choices=TASKS)
  length: int = option(50, "Sequence length, in steps.", low=1)
  max_length: int | None = option(
    None,
    "If given, every update draws its length from --length to --max_length.",
    kind=int,
    low=1,
  )
  form: str | None = option(
    None,
    "State of the network: x before the activation (eq. 2), h after it (the"
    " authors' code). Default x, and h for --init=sigmoid.",
    kind=str,
    choices=("x", "h"),
  )
  activation: str | None = option(
    None,
    "Activation. Default tanh, and sigmoid for --init=sigmoid.",
    kind=str,
    choices=ACTIVATIONS,
  )
  init: str = option("basic_tanh", "Initialisation.", choices=INITIALIZERS)
  start: str | None = option(
    None,
    "Name of a sweep's run without its seed: every seed begins with the"
    " parameters that it has there, in place of --init. sweep.py only, which"
    " finds it among its own runs, made first, or in --starts.",
    kind=str,
    later=True,
  )
  start_speed: float | None = option(
    None,
    "If given, the network of --start begins so many times as fast: W_rec - I,"
    " W_in and the biases of its cell are multiplied by it. For --form=x.",
    kind=float,
    above=0,
    later=True,
  )
  hidden_size: int = option(50, "Units of the network, N.", low=1)
  algorithm: str = option(
    "msgd_cr",
    "SGD alone (msgd), with clipping (msgd_c), with clipping and Omega"
    " (msgd_cr).",
    choices=ALGORITHMS,
  )
  batch_size: int = option(20, "Sequences an update, B.", low=1)
  learning_rate: float = option(
    0.01, "Learning rate, constant without --learning_rate_half_life.", above=0
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
    "Threshold of Algorithm 1 on the gradient's norm; inf never clips.",
    above=0,
    infinite=True,
  )
  omega_weight: float = option(4.0, "Weight alpha of Omega.", low=0)
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
  seeds: int = option(
    4,
    "Number of seeds; each is a network of its own.",
    low=1,
    high=MAX_SEEDS,
  )
  first_seed: int = option(
    0, "Seeds are first_seed, first_seed + 1, ...", low=0, high=MAX_SEED
  )
  max_updates: int = option(100_000, "Updates at which a seed is cut.", low=1)
  check_every: int = option(
    1000, "Updates between two checks of the error.", low=1
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
    options.check_fields(self)
    check_seeds(self)
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
    task = make_task(self.task, self.length, self.max_length)
    if self.label_smoothing and task.loss is not losses.cross_entropy:
      raise ValueError(
        f"label_smoothing must be 0 for {self.task}, whose answer is no class;"
        f" got {self.label_smoothing}"
      )

  def resolved(self) -> "TrainConfig":
    """The same run with the defaults that depend on `init` written out."""
    sigmoid = self.init == "sigmoid"
    return dataclasses.replace(
      self,
      form=self.form or ("h" if sigmoid else "x"),
      activation=self.activation or ("sigmoid" if sigmoid else "tanh"),
    )

  def digest(self) -> str:
    """Eight hexadecimal digits that name this configuration."""
    return options.digest(self.resolved())


def check_seeds(config) -> None:
  """ValueError where the last seed is too large for a key of 32 bits."""
  if config.first_seed > (most := MAX_SEED + 1 - config.seeds):
    raise ValueError(
      f"first_seed must be at most {most} with {config.seeds} seeds, got"
      f" {config.first_seed}"
    )


def define_flags(
  flag_values: flags.FlagValues = flags.FLAGS,
  kind: type = TrainConfig,
  *,
  unset: bool = False,
) -> None:
  """One absl flag for each field of a configuration.

  Args:
    flag_values: where they are defined.
    kind: the dataclass, its fields made by `option`.
    unset: whether flags that are not given are None instead of the default.
  """
  for field in dataclasses.fields(kind):
    text, choices = field.metadata["help"], field.metadata["choices"]
    if choices:
      text = f"{text} One of: {', '.join(choices)}."
    default = None if unset else field.default
    define = _DEFINE[field.metadata["kind"]]
    define(field.name, default, text, flag_values=flag_values)


def from_flags(values: flags.FlagValues) -> TrainConfig:
  """The configuration on the command line.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  names = [field.name for field in dataclasses.fields(TrainConfig)]
  given: dict[str, Any] = {name: values[name].value for name in names}
  return TrainConfig(**given)


def integers(name: str, words: Sequence[str], low: int = 1) -> list[int]:
  """The integers of a flag that takes a list of them.

  Raises:
    ValueError: if there is none, or a word is not one of low to 2^31 - 1.
  """
  if not words:
    raise ValueError(f"{name} must be at least one integer, got none")
  try:
    found = [int(word) for word in words]
  except ValueError:
    raise ValueError(
      f"{name} must be integers, got {','.join(words)}"
    ) from None
  for number in found:
    if not low <= number <= options.INT32:
      raise ValueError(
        f"{name} must be at least {low} and at most {options.INT32}, got"
        f" {number}"
      )
  return found


def differences(a: dict, b: dict) -> dict[str, tuple]:
  """{field: (value in a, value in b)} where two configurations differ."""
  return {
    name: (a.get(name), b.get(name))
    for name in sorted(a.keys() | b.keys())
    if a.get(name) != b.get(name)
  }
