"""Cases of a test that show what its other cases show."""

import pytest


def nightly(*cases):
  """The cases, each a value or a tuple of some, as `parametrize` takes them."""
  return [
    pytest.param(
      *(case if isinstance(case, tuple) else (case,)),
      marks=pytest.mark.nightly,
    )
    for case in cases
  ]
