"""Flags of evaluate.py: which test has which."""

import re

import pytest

FLAGS = {
  "lengths": ["lengths", "size"],
  "every_step": ["steps", "size", "out"],
  "waits": ["size", "out"],
  "lags": ["size", "out"],
  "signals": ["lags", "windows", "out", "data_dir", "check_data"],
  "samples": ["sample", "seed", "out", "data_dir", "check_data"],
  "threshold": [],
}
ALL = sorted({flag for own in FLAGS.values() for flag in own})


@pytest.fixture(scope="module")
def launch(server, tmp_path_factory):
  """(status, output, what is said) of evaluate.py."""
  place = tmp_path_factory.mktemp("place")
  return lambda *words: server.launch("evaluate.py", *words, cwd=place)[:3]


def test_help_names_the_tests_of_each_flag(launch):
  status, said, _ = launch("--help")
  assert status == 0
  for flag in ALL:
    pattern = rf"\n  --(?:\[no\])?{flag}\n.*?Of\s+--test=(.*?\))\."
    owners = re.search(pattern, said, re.DOTALL)[1]
    assert re.findall(r"(\w+)\s+\(default", owners) == [
      test for test, own in FLAGS.items() if flag in own
    ]


@pytest.mark.parametrize("flag", ALL)
@pytest.mark.parametrize("test", FLAGS)
def test_a_flag_of_other_tests_is_refused(launch, test, flag):
  """One of the test's own is not: there the missing run is what is wrong."""
  value = "true" if flag == "check_data" else "7"
  status, out, err = launch(f"--test={test}", f"--{flag}={value}")
  said = f"{flag} is no flag of --test={test}, which has "
  said += ", ".join(["runs", *FLAGS[test]])
  if flag in FLAGS[test]:
    said = "runs must name at least one run, got none"
  assert (status, out, err) == (1, "", f"evaluate.py: {said}\n")
