"""What settings are called in pictures and tables."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from steadygrad.transforms.clipping import BOUNDED

Config = Mapping[str, Any]

METHODS = {"msgd": "MSGD", "msgd_c": "MSGD-C", "msgd_cr": "MSGD-CR"}
INITS = {
  "sigmoid": "sigmoid",
  "basic_tanh": "basic tanh",
  "smart_tanh": "smart tanh",
}


def _text(field: str, text: str) -> Callable[[Config], str]:
  """Words for a field that is not None, 0 or empty; "" where it is."""
  return lambda config: text.format(config[field]) if config[field] else ""


def _length(config: Config) -> str:
  length, longest = config["length"], config["max_length"]
  return f"{length} to {longest}" if longest else str(length)


def _learning_rate(config: Config) -> str:
  half_life = config["learning_rate_half_life"]
  falling = f" halved every {half_life}" if half_life else ""
  return f"{config['learning_rate']:g}{falling}"


def _max_norm(config: Config) -> str:
  if config["algorithm"] == "msgd" or config["clip"] not in BOUNDED:
    return ""
  return f"{float(config['max_norm']):g}"  # Records have inf as a text.


def _omega_weight(config: Config) -> str:
  if config["algorithm"] != "msgd_cr":
    return ""
  return f"{config['omega_weight']:g}"


def _seeds(config: Config) -> str:
  return f"{config['seeds']} seed{'s' * (config['seeds'] != 1)}"


def _percent(config: Config) -> str:
  below = config["solved_below"]
  return f"until under {100 * below:g} %" if below else ""


def _solved_below(config: Config) -> str:
  text = _percent(config)
  return f"{text} wrong" if text else ""


def _unusual_init(config: Config) -> str:
  return "" if config["init"] == "basic_tanh" else _init(config)


def _init(config: Config) -> str:
  name: str = config["init"]
  return INITS.get(name, name)


def _start(config: Config) -> str:
  """The run that this one went on from, without the digest in its name."""
  name = (config["start"] or "").rpartition("-")[0]
  return f"going on from {name}" if name else ""


NETWORKS = {
  "elman": "Elman",
  "leaky": "leaky",
  "residual": "residual in time",
  "irnn": "IRNN",
  "highway": "highway",
  "layer_norm": "Elman with layer norm",
  "lstm": "LSTM",
  "gru": "GRU",
  "mingru": "minGRU",
  "lru": "LRU",
  "attention": "Elman with attention",
  "transformer": "transformer",
}
OPTIMIZERS = {"sgd": "SGD", "nesterov": "Nesterov", "adam": "Adam"}
OPTIMIZERS["adamw"] = "AdamW"


def _model(config: Config) -> str:
  """The network, and what of it is a choice."""
  model = config["model"]
  words = [NETWORKS[model]]
  if model in ("leaky", "residual"):
    words.append(f"rate {config['leak']:g}")
  if model in ("lstm", "gru", "mingru"):
    bias = config["forget_bias"]
    words.append("chrono bias" if bias == "chrono" else f"gate bias {bias}")
  if model in ("transformer", "mingru"):
    blocks = config["layers"]
    words.append(f"{blocks} block{'s' * (blocks > 1)}")
  if model == "transformer":
    words.append(config["positions"])
  return ", ".join(words)


def _optimizer(config: Config) -> str:
  """The optimiser, and what the algorithm puts before it."""
  words = [OPTIMIZERS[config["optimizer"]]]
  words += ["clip"] * (config["algorithm"] != "msgd")
  words += ["Ω"] * (config["algorithm"] == "msgd_cr")
  return " + ".join(words)


RULES = {
  "by_norm": "Algorithm 1",
  "value": "by value",
  "by_leaf": "by leaf",
  "agc": "AGC",
  "autoclip": "AutoClip",
  "zclip": "ZClip",
  "adagc": "AdaGC",
  "spam": "SPAM",
  "skip": "skip spikes",
  "normalise": "normalised",
  "none": "no clipping",
}


def _clip(config: Config) -> str:
  """The rule of clipping, where it is not the paper's."""
  rule = config["clip"]
  return "" if rule == "by_norm" else RULES[rule]


# {field: function of a configuration -> words, or "" where it says nothing}
WORDS: dict[str, Callable[[Config], str]] = {
  "algorithm": lambda config: METHODS[config["algorithm"]],
  "clip": _clip,
  "hidden_size": lambda config: str(config["hidden_size"]),
  "init": _init,
  "initial_state_scale": _text(
    "initial_state_scale", "initial states N(0, {:g})"
  ),
  "label_smoothing": _text("label_smoothing", "labels smoothed by {:g}"),
  "learning_rate": _learning_rate,
  "length": _length,
  "max_norm": _max_norm,
  "model": _model,
  "optimizer": _optimizer,
  "omega_weight": _omega_weight,
  "readout_learning_rate": _text(
    "readout_learning_rate", "readout apart at {:g}"
  ),
  "seeds": _seeds,
  "solved_below": _solved_below,
  "start": _text("start", "from a trained network"),
  "start_speed": _text("start_speed", "started {:g} times as fast"),
}
# Where there is less room: for cells of tables.
SHORT = WORDS | {
  "init": _unusual_init,
  "solved_below": _percent,
  "start": _start,
  "start_speed": _text("start_speed", "{:g} times as fast"),
}


def label(
  config: Config,
  fields: Iterable[str],
  *,
  words: Mapping[str, Callable[[Config], str]] = WORDS,
  breaks: Collection[str] = (),
) -> str:
  """The words for some fields of a configuration, with commas between them.

  Args:
    config: {field: value}, with all that `words` look at.
    fields: which, in this order. One without words is left out, such as the
      threshold of an algorithm that has none.
    words: {field: function of the configuration}.
    breaks: fields that begin a new line.

  Raises:
    KeyError: if `words` has no such field.
  """
  text = ""
  for field in fields:
    if said := words[field](config):
      comma = ",\n" if field in breaks else ", "
      text += f"{comma if text else ''}{said}"
  return text
