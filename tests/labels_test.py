"""What pictures and tables call a setting."""

import dataclasses

import pytest

from steadygrad import records
from steadygrad.figures.labels import METHODS, SHORT, WORDS, label
from steadygrad.training.config import ALGORITHMS, TaskConfig


def config(**fields):
  made = TaskConfig(**{"seeds": 1} | fields).resolved()
  return records.plain(dataclasses.asdict(made))


def test_every_method_has_a_name():
  assert set(METHODS) == set(ALGORITHMS)


@pytest.mark.parametrize(
  "field,fields,said,short",
  [
    ("algorithm", {"algorithm": "msgd_c"}, "MSGD-C", "MSGD-C"),
    ("hidden_size", {"hidden_size": 7}, "7", "7"),
    ("init", {}, "basic tanh", ""),
    ("init", {"init": "orthogonal"}, "orthogonal", "orthogonal"),
    ("initial_state_scale", {}, "", ""),
    ("initial_state_scale", {"initial_state_scale": 0.5},
     "initial states N(0, 0.5)", "initial states N(0, 0.5)"),
    ("label_smoothing", {"label_smoothing": 0.1},
     "labels smoothed by 0.1", "labels smoothed by 0.1"),
    ("learning_rate", {}, "0.01", "0.01"),
    ("learning_rate", {"learning_rate_half_life": 9},
     "0.01 halved every 9", "0.01 halved every 9"),
    ("length", {"length": 60}, "60", "60"),
    ("length", {"length": 60, "max_length": 70}, "60 to 70", "60 to 70"),
    ("max_norm", {"max_norm": float("inf")}, "inf", "inf"),
    ("max_norm", {"algorithm": "msgd"}, "", ""),
    ("omega_weight", {"omega_weight": 2.0}, "2", "2"),
    ("omega_weight", {"algorithm": "msgd_c"}, "", ""),
    ("readout_learning_rate", {"readout_learning_rate": 10.0},
     "readout apart at 10", "readout apart at 10"),
    ("seeds", {"seeds": 1}, "1 seed", "1 seed"),
    ("seeds", {"seeds": 2}, "2 seeds", "2 seeds"),
    ("solved_below", {}, "", ""),
    ("solved_below", {"solved_below": 1e-4},
     "until under 0.01 % wrong", "until under 0.01 %"),
    ("start", {}, "", ""),
    ("start", {"start": "copy-50-0123"},
     "from a trained network", "going on from copy-50"),
    ("start_speed", {"start": "a-b", "start_speed": 1.5},
     "started 1.5 times as fast", "1.5 times as fast"),
  ],
)  # fmt: skip
def test_the_words_for_a_field(field, fields, said, short):
  assert label(config(**fields), (field,)) == said
  assert label(config(**fields), (field,), words=SHORT) == short


def test_fields_come_in_order_and_break_lines_where_they_say_something():
  fields = ("init", "solved_below", "algorithm", "label_smoothing", "seeds")
  breaks = ("init", "solved_below", "label_smoothing")
  found = label(config(label_smoothing=0.1), fields, breaks=breaks)
  assert found == "basic tanh, MSGD-CR,\nlabels smoothed by 0.1, 1 seed"


def test_words_of_the_callers_own():
  words = WORDS | {"length": lambda c: f"at {c['length']}"}
  assert label(config(), ("seeds", "length"), words=words) == "1 seed, at 50"
  with pytest.raises(KeyError, match="lenth"):
    label(config(), ("lenth",))
