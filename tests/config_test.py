"""Configurations: each wrong value is named, with what is allowed."""

import dataclasses

import pytest
from absl import flags

from steadygrad.training import config as configuration
from steadygrad.training import options
from steadygrad.training.config import CorpusConfig, TaskConfig

WRONG = [
  ("task", "temporal", "temporal_order"),
  ("length", 9, "at least 10"),
  ("length", 0, "at least 1"),
  ("max_length", 40, "at least length=50"),
  ("init", "xavier", "basic_tanh"),
  ("model", "perceptron", "elman, leaky"),
  ("algorithm", "adam", "msgd_cr"),
  ("optimizer", "lion", "sgd, nesterov, adam, adamw"),
  ("weight_decay", -0.1, "at least 0"),
  ("clip", "by_luck", "by_norm"),
  ("average", 0.0, "greater than 0"),
  ("activation", "gelu", "tanh"),
  ("form", "z", "x, h"),
  ("hidden_size", 0, "at least 1"),
  ("batch_size", -3, "at least 1"),
  ("learning_rate", 0.0, "greater than 0"),
  ("learning_rate", float("inf"), "finite"),
  ("learning_rate", float("nan"), "a number"),
  ("max_norm", -1.0, "greater than 0"),
  ("max_norm", float("nan"), "a number"),
  ("omega_weight", -4.0, "at least 0"),
  ("omega_ratio", "cubed", "squared"),
  ("omega_reduction", "max", "mean"),
  ("omega_weight", float("inf"), "finite"),
  ("omega_min_squared_norm", float("inf"), "finite"),
  ("seeds", 0, "at least 1"),
  ("first_seed", 2**32 - 3, "at most 4294967292"),
  ("first_seed", -1, "at least 0"),
  ("max_updates", 0, "at least 1"),
  ("check_every", 0, "at least 1"),
  ("check_size", 300, "multiple"),
  ("test_size", 10001, "multiple"),
  ("solved_below", 0.0, "greater than 0"),
  ("readout_learning_rate", 0.0, "greater than 0"),
  ("learning_rate_half_life", 0, "at least 1"),
  ("start_speed", 0.0, "greater than 0"),
  ("label_smoothing", -0.1, "at least 0"),
  ("label_smoothing", 1.0, "under 1"),
  ("precision", "float32", "one of highest, tf32x3, tf32, bfloat16"),
  ("checkpoint_every", "root", "sqrt, a number of steps"),
  ("checkpoint_every", 0, "sqrt, a number of steps"),
  ("checkpoint_every", "07", "sqrt, a number of steps"),
]


@pytest.mark.parametrize("name,value,allowed", WRONG)
def test_a_wrong_value_names_field_value_and_what_is_allowed(
  name, value, allowed
):
  with pytest.raises(ValueError) as error:
    TaskConfig(**{name: value})
  for part in (name, str(value), allowed):
    assert part in str(error.value)


@pytest.mark.parametrize(
  "values, said",
  [
    ({"algorithm": "msgd", "clip": "zclip"}, "clip must be by_norm or none"),
    ({"clip": "agc", "max_norm": 2.0}, "max_norm must be 1.0 for --clip=agc"),
    ({"clip": "none", "max_norm": 2.0}, "--clip=none, which has no threshold"),
    (
      {"clip": "value", "readout_learning_rate": 1.0},
      "readout_learning_rate must be none for --clip=value",
    ),
  ],
)
def test_what_does_not_go_with_a_rule_of_clipping(values, said):
  with pytest.raises(ValueError, match=said):
    TaskConfig(**values)


def test_two_names_of_algorithm_1_are_one_run():
  runs = [TaskConfig(clip=clip, max_norm=2.0) for clip in ("norm", "by_norm")]
  assert runs[0].resolved() == runs[1].resolved()
  assert runs[0].digest() == runs[1].digest()
  assert TaskConfig(clip="by_norm").digest() == TaskConfig().digest()
  assert TaskConfig(clip="value").digest() != TaskConfig().digest()


def no_defaults(data, algorithm):
  return {}


def parsed(*words, several=False):
  values = flags.FlagValues()
  options.define_flags(values, several=several)
  values(["train.py", *words])
  return values


def read(*words, defaults=no_defaults, base=None):
  return options.from_flags(parsed(*words), defaults, base)


def test_every_field_is_a_flag_with_help():
  config = read("--length=60", "--max_norm=inf", "--go_on")
  assert config == TaskConfig(length=60, max_norm=float("inf"), go_on=True)
  values = parsed()
  for field in (
    *dataclasses.fields(TaskConfig),
    *dataclasses.fields(CorpusConfig),
  ):
    flag = values[field.name]
    assert field.metadata["help"] in flag.help
    assert field.default is None or f"{field.default}" in flag.help
    assert flag.default is None  # So that it shows who was asked for what.
  assert "Default 50, with --data 300." in values["hidden_size"].help
  assert "With --data; default mean." in values["cost"].help


def test_a_flag_stands_under_the_part_that_has_it():
  found = parsed().flags_by_module_dict()
  names = {group: {f.name for f in flags} for group, flags in found.items()}
  assert names.keys() == options.GROUPS.keys()
  assert "model" in names["Network"] and "seeds" in names["Seeds"]
  assert "length" in names["Runs on a task"]
  assert "cost" in names["Runs on music and text"]


def test_data_chooses_the_kind_and_its_presets():
  asked = []

  def preset(data, algorithm):
    asked.append((data, algorithm))
    return dict(hidden_size=7, batch_size=3)

  words = "--data=ptb", "--algorithm=msgd", "--batch_size=9"
  config = read(*words, defaults=preset)
  assert asked == [("ptb", "msgd")]
  assert config == CorpusConfig(
    data="ptb", algorithm="msgd", hidden_size=7, batch_size=9
  )
  # A threshold of the presets is none of a rule that has none.
  config = read(
    "--data=ptb", "--clip=agc", defaults=lambda d, a: {"max_norm": 45.0}
  )
  assert config == CorpusConfig(data="ptb", clip="agc")
  # A file has every value: no preset goes over them.
  base = dataclasses.asdict(CorpusConfig(hidden_size=5, chunk_length=50))
  config = read("--chunk_length=60", defaults=preset, base=base)
  assert config == CorpusConfig(hidden_size=5, chunk_length=60)
  assert len(asked) == 1
  base = dataclasses.asdict(TaskConfig(length=60))
  assert read("--model=lstm", base=base) == TaskConfig(length=60, model="lstm")


@pytest.mark.parametrize(
  "words, said",
  [
    (["--data=jsb", "--task=copy"], "task.*copy and jsb"),
    (["--cost=sum"], "cost is for runs with --data, got sum"),
    (["--data=jsb", "--length=9"], "length is for runs without --data, got 9"),
    (["--data=bach"], "data must be one of piano.*'bach'"),
    (["--task=no_such:f"], "task must be.*module:function.*no_such:f"),
    (["--task=math:nothing"], "task must be.*module:function.*math:nothing"),
  ],
)
def test_flags_that_do_not_go_together_are_named(words, said):
  with pytest.raises(ValueError, match=said):
    read(*words)


def test_several_values_of_a_flag():
  words = "--length=60, 70", "--max_norm=inf,1", "--go_on=true,False"
  found = options.lists_from_flags(
    parsed(*words, "--max_length=none,80", "--model=lstm", several=True)
  )
  assert found == {
    "length": [60, 70],
    "max_norm": [float("inf"), 1.0],
    "go_on": [True, False],
    "max_length": [None, 80],
    "model": ["lstm"],
  }
  with pytest.raises(ValueError, match="length must be an integer, got '6.5'"):
    options.lists_from_flags(parsed("--length=60,6.5", several=True))


def test_defaults_are_the_issue_of_the_first_run():
  config = TaskConfig().resolved()
  assert config.task == "temporal_order"
  assert (config.length, config.init) == (50, "basic_tanh")
  assert (config.hidden_size, config.batch_size, config.seeds) == (50, 20, 4)
  assert (config.learning_rate, config.max_norm) == (0.01, 1.0)
  assert (config.omega_weight, config.max_updates) == (4.0, 100_000)
  assert (config.algorithm, config.form) == ("msgd_cr", "x")


def test_sigmoid_initialisation_means_sigmoid_units_in_the_h_form():
  config = TaskConfig(init="sigmoid").resolved()
  assert (config.activation, config.form) == ("sigmoid", "h")
  assert TaskConfig(init="sigmoid", form="x").resolved().form == "x"


def test_digest_tells_configurations_apart():
  assert TaskConfig().digest() == TaskConfig(form="x").digest()
  assert TaskConfig().digest() != TaskConfig(length=51).digest()
  assert TaskConfig().digest() != TaskConfig(solved_below=0.01).digest()
  # Records that are there keep their names.
  assert TaskConfig().digest() == "72702f14"
  assert configuration.differences({"a": 1, "b": 2}, {"a": 1, "c": 3}) == {
    "b": (2, None),
    "c": (None, 3),
  }


def test_a_speed_is_that_of_a_start():
  assert TaskConfig(start="a", start_speed=2.0).start_speed == 2.0
  with pytest.raises(ValueError, match="start_speed.*without a start.*2.0"):
    TaskConfig(start_speed=2.0)


@pytest.mark.parametrize(
  "changes, said",
  [
    ({"use_bias": False}, "use_bias must be true for --model=lstm, got False"),
    ({"initial_state_scale": 0.5}, "initial_state_scale.*lstm, got 0.5"),
  ],
)
def test_what_an_lstm_has_not(changes, said):
  assert TaskConfig(**changes)
  with pytest.raises(ValueError, match=said):
    TaskConfig(model="lstm", **changes)


@pytest.mark.parametrize(
  "changes, said",
  [
    ({"algorithm": "msgd_cr"}, "algorithm must be msgd or msgd_c.*got msgd_cr"),
    ({"hidden_size": 50}, "hidden_size must be a multiple of 4 .*got 50"),
    (
      {"hidden_size": 12, "positions": "rotary"},
      "hidden_size must be a multiple of 8 .*rotary.*got 12",
    ),
    ({"leak": 0.2}, "leak must be 0.1 for --model=transformer.*got 0.2"),
    ({"precision": "tf32"}, "precision must be None for --model=transformer"),
  ],
)
def test_what_a_transformer_has_not(changes, said):
  right = dict(model="transformer", algorithm="msgd_c", hidden_size=8)
  assert TaskConfig(**right).positions == "sinusoidal"
  with pytest.raises(ValueError, match=said):
    TaskConfig(**right | changes)


def test_weight_decay_is_of_adamw():
  made = TaskConfig(optimizer="adamw")
  assert made.resolved().weight_decay == 1e-4
  given = dataclasses.replace(made, weight_decay=1e-4)
  assert made.digest() == given.digest()
  assert made.digest() != dataclasses.replace(made, weight_decay=0.0).digest()
  said = "weight_decay must be none for --optimizer=adam, .* got 0.0"
  with pytest.raises(ValueError, match=said):
    TaskConfig(optimizer="adam", weight_decay=0.0)


def test_minimal_units_have_two_layers_at_least():
  for given, used in ((1, 2), (2, 2), (3, 3)):
    config = TaskConfig(model="mingru", layers=given)
    assert config.resolved().layers == used
  assert TaskConfig(model="mingru", layers=2).digest() == (
    TaskConfig(model="mingru").digest()
  )
  with pytest.raises(ValueError, match="layers must be 1 for --model=lru"):
    TaskConfig(model="lru", layers=2)


def test_what_a_program_depends_on():
  """Runs that differ in numbers and budget alone share a compilation."""
  same = dict(learning_rate=0.3, max_norm=2.0, seeds=1, max_updates=5)
  program = configuration.program
  assert program(TaskConfig(**same)) == program(TaskConfig())
  assert program(TaskConfig(init="smart_tanh")) == program(TaskConfig())
  assert program(TaskConfig(length=51)) != program(TaskConfig())
  assert program(TaskConfig(model="lstm")) != program(TaskConfig())
  msgd, clipped = [TaskConfig(algorithm=a) for a in ("msgd", "msgd_c")]
  assert program(msgd) == program(clipped)
  assert configuration.program_numbers(msgd).max_norm == float("inf")
  assert configuration.program_numbers(clipped).max_norm == 1.0


def test_smoothed_labels_are_of_classes():
  assert TaskConfig(label_smoothing=0.1).label_smoothing == 0.1
  with pytest.raises(ValueError, match="label_smoothing.*addition.*0.1"):
    TaskConfig(task="addition", label_smoothing=0.1)
