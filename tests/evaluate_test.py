"""Flags of evaluate.py: which test has which."""

import re

import evaluate
import pytest
from launchers_test import launch

FLAGS = {
  "lengths": ["lengths", "size"],
  "every_step": ["steps", "size", "out"],
  "waits": ["size", "out"],
  "signals": ["lags", "windows", "out", "data_dir", "check_data"],
  "samples": ["sample", "seed", "out", "data_dir", "check_data"],
}


def test_each_test_has_its_flags():
  assert {t: list(evaluate.options_of(t)) for t in evaluate.TESTS} == FLAGS


def test_help_names_the_tests_of_each_flag():
  _, said, _ = launch("--help", script="evaluate.py")
  said = " ".join(said.split())
  for flag in {flag for own in FLAGS.values() for flag in own}:
    pattern = rf"--(?:\[no\])?{flag}: .*? Of --test=(.*?\))\."
    assert re.findall(r"(\w+) \(default", re.search(pattern, said)[1]) == [
      test for test, own in FLAGS.items() if flag in own
    ]


@pytest.mark.parametrize("test", FLAGS)
def test_flags_of_other_tests_are_refused(test, monkeypatch):
  """Whatever the test: those that are its own pass."""
  everyone = {flag for own in FLAGS.values() for flag in own}
  for flag in everyone:
    monkeypatch.setattr(evaluate.flags.FLAGS[flag], "present", 0)
  for flag in sorted(everyone):
    monkeypatch.setattr(evaluate.flags.FLAGS[flag], "present", 1)
    if flag in FLAGS[test]:
      assert list(given(test)) == [flag]
    else:
      said = f"{flag} is no flag of --test={test}, which has runs"
      with pytest.raises(ValueError, match=f"{said}, {', '.join(FLAGS[test])}"):
        given(test)
    monkeypatch.setattr(evaluate.flags.FLAGS[flag], "present", 0)


def given(test):
  if not evaluate.flags.FLAGS.is_parsed():
    evaluate.flags.FLAGS(["test"], known_only=True)
  return evaluate.given(test)
