"""Everything that decides the outcome of a training run, in one place.

Each field of `TrainConfig` is an absl flag of the launchers; its default, help
and what is allowed stand here and nowhere else.
"""

import dataclasses
import hashlib
import json
import math

from absl import flags

from steadygrad.activations import ACTIVATIONS
from steadygrad.initializers import INITIALIZERS
from steadygrad.tasks import TASKS

ALGORITHMS = ("msgd", "msgd_c", "msgd_cr")
MAX_SEEDS = 100_000


def _field(default, text, *, choices=None, low=None, above=None):
  limits = {"help": text, "choices": choices, "low": low, "above": above}
  return dataclasses.field(default=default, metadata=limits)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """A training run, but for the machine it runs on."""

  task: str = _field("temporal_order", "Task.", choices=tuple(TASKS))
  length: int = _field(50, "Sequence length, in steps.", low=1)
  max_length: int | None = _field(
    None,
    "If given, every update draws its length from --length to --max_length.",
    low=1,
  )
  form: str | None = _field(
    None,
    "State of the network: x before the activation (eq. 2), h after it (the"
    " authors' code). Default x, and h for --init=sigmoid.",
    choices=("x", "h"),
  )
  activation: str | None = _field(
    None,
    "Activation. Default tanh, and sigmoid for --init=sigmoid.",
    choices=tuple(ACTIVATIONS),
  )
  init: str = _field(
    "basic_tanh", "Initialisation.", choices=tuple(INITIALIZERS)
  )
  hidden_size: int = _field(50, "Units of the network, N.", low=1)
  algorithm: str = _field(
    "msgd_cr",
    "SGD alone (msgd), with clipping (msgd_c), with clipping and Omega"
    " (msgd_cr).",
    choices=ALGORITHMS,
  )
  batch_size: int = _field(20, "Sequences an update, B.", low=1)
  learning_rate: float = _field(0.01, "Learning rate, constant.", above=0)
  max_norm: float = _field(
    1.0,
    "Threshold of Algorithm 1 on the gradient's norm; inf never clips.",
    low=0,
  )
  omega_weight: float = _field(4.0, "Weight alpha of Omega.", low=0)
  omega_ratio: str = _field(
    "squared",
    "Ratio in Omega: of squared norms (the authors' code) or of norms (eq. 9).",
    choices=("squared", "norm"),
  )
  omega_reduction: str = _field(
    "mean",
    "Omega over time: mean (the authors' code) or sum (eq. 9).",
    choices=("mean", "sum"),
  )
  omega_min_squared_norm: float = _field(
    1e-20, "Error signals with a smaller squared norm do not count.", low=0
  )
  seeds: int = _field(
    4, "Number of seeds; each is a network of its own.", low=1
  )
  first_seed: int = _field(
    0, "Seeds are first_seed, first_seed + 1, ...", low=0
  )
  max_updates: int = _field(100_000, "Updates at which a seed is cut.", low=1)
  check_every: int = _field(
    1000, "Updates between two checks of the error.", low=1
  )
  check_size: int = _field(
    1000,
    "Fresh sequences at a check; only where their error passes is it measured"
    " on --test_size fresh ones, which decide.",
    low=1,
  )
  test_size: int = _field(
    10_000, "Fresh sequences that decide success and measure its error.", low=1
  )
  go_on: bool = _field(
    False,
    "Train on after the first success, up to --max_updates, and count the"
    " checks that fail again.",
  )

  def __post_init__(self):
    for field in dataclasses.fields(self):
      _check(field, getattr(self, field.name))
    if self.seeds > MAX_SEEDS:
      raise ValueError(f"seeds must be at most {MAX_SEEDS}, got {self.seeds}")
    for name in ("check_size", "test_size"):
      size = getattr(self, name)
      if size > 250 and size % 250:
        raise ValueError(
          f"{name} must be under 250 or a multiple of it, got {size}"
        )
    TASKS[self.task](self.length, self.max_length)

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
    text = json.dumps(dataclasses.asdict(self.resolved()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _check(field: dataclasses.Field, value) -> None:
  limits = field.metadata
  optional = field.default is None
  if value is None and optional:
    return
  choices, low, above = limits["choices"], limits["low"], limits["above"]
  if choices and value not in choices:
    raise ValueError(
      f"{field.name} must be one of {', '.join(choices)}; got {value!r}"
    )
  if isinstance(value, float) and math.isnan(value):
    raise ValueError(f"{field.name} must be a number, got nan")
  if low is not None and not value >= low:
    raise ValueError(f"{field.name} must be at least {low}, got {value}")
  if above is not None and not above < value < math.inf:
    raise ValueError(
      f"{field.name} must be greater than {above} and finite, got {value}"
    )


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """One absl flag for each field of `TrainConfig`."""
  for field in dataclasses.fields(TrainConfig):
    text, choices = field.metadata["help"], field.metadata["choices"]
    kinds = str(field.type)
    if choices:
      text = f"{text} One of: {', '.join(choices)}."
    define = flags.DEFINE_string
    if "int" in kinds:
      define = flags.DEFINE_integer
    elif "float" in kinds:
      define = flags.DEFINE_float
    elif "bool" in kinds:
      define = flags.DEFINE_bool
    define(field.name, field.default, text, flag_values=flag_values)


def from_flags(values: flags.FlagValues) -> TrainConfig:
  """The configuration on the command line.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  names = [field.name for field in dataclasses.fields(TrainConfig)]
  return TrainConfig(**{name: values[name].value for name in names})


def differences(a: dict, b: dict) -> dict[str, tuple]:
  """{field: (value in a, value in b)} where two configurations differ."""
  return {
    name: (a.get(name), b.get(name))
    for name in sorted(a.keys() | b.keys())
    if a.get(name) != b.get(name)
  }
