"""Configurations: each wrong value is named, with what is allowed."""

import dataclasses

import pytest
from absl import flags

from steadygrad import config as configuration
from steadygrad.training.config import TaskConfig

WRONG = [
  ("task", "temporal", "temporal_order"),
  ("length", 9, "at least 10"),
  ("length", 0, "at least 1"),
  ("max_length", 40, "at least length=50"),
  ("init", "xavier", "basic_tanh"),
  ("algorithm", "adam", "msgd_cr"),
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
]


@pytest.mark.parametrize("name,value,allowed", WRONG)
def test_a_wrong_value_names_field_value_and_what_is_allowed(
  name, value, allowed
):
  with pytest.raises(ValueError) as error:
    TaskConfig(**{name: value})
  for part in (name, str(value), allowed):
    assert part in str(error.value)


def test_every_field_is_a_flag_with_help():
  values = flags.FlagValues()
  configuration.define_flags(flag_values=values)
  values(["train.py", "--length=60", "--max_norm=inf", "--go_on"])
  config = configuration.from_flags(values)
  assert config == TaskConfig(length=60, max_norm=float("inf"), go_on=True)
  for field in dataclasses.fields(TaskConfig):
    assert len(values[field.name].help) > 4
    assert values[field.name].default == field.default


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


def test_smoothed_labels_are_of_classes():
  assert TaskConfig(label_smoothing=0.1).label_smoothing == 0.1
  with pytest.raises(ValueError, match="label_smoothing.*addition.*0.1"):
    TaskConfig(task="addition", label_smoothing=0.1)
