"""Records: what goes in comes out, atomically."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import records


def test_wilson_interval_against_known_values():
  # 0 and all of n have closed forms; 29 of 32 from R's binom::binom.wilson.
  z2 = 1.959964**2
  np.testing.assert_allclose(records.wilson_interval(0, 5), (0, z2 / (5 + z2)))
  np.testing.assert_allclose(records.wilson_interval(5, 5), (5 / (5 + z2), 1))
  np.testing.assert_allclose(
    records.wilson_interval(29, 32), (0.7578, 0.9676), atol=2e-4
  )


@pytest.mark.parametrize("successes,trials", [(-1, 5), (6, 5), (0, 0)])
def test_wilson_interval_refuses(successes, trials):
  with pytest.raises(ValueError, match=f"{successes} of {trials}"):
    records.wilson_interval(successes, trials)


def test_round_trip_with_arrays_and_non_finite_numbers(tmp_path):
  value = {
    "a": jnp.array([1.5, jnp.inf, jnp.nan, -jnp.inf]),
    "b": np.array([True, False]),
    "c": {"n": np.int64(3), "none": None, "third": np.float32(1 / 3)},
    "d": (1, 2.5),
  }
  path = tmp_path / "record.json"
  records.write_json(path, value)
  read = records.read_json(path)
  assert read["b"] == [True, False]
  assert read["c"] == {"n": 3, "none": None, "third": 0.333333}
  np.testing.assert_array_equal(
    records.numbers(read["a"]), [1.5, np.inf, np.nan, -np.inf]
  )
  json.loads(path.read_text(), parse_constant=pytest.fail)
  assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "record.json"
  records.write_json(path, {"a": 1})
  with pytest.raises(TypeError):
    records.write_json(path, {"a": object()})
  assert records.read_json(path) == {"a": 1}
  assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_half_a_file_is_named(tmp_path):
  path = tmp_path / "record.json"
  path.write_text('{"a": ')
  with pytest.raises(ValueError, match="record.json is not a whole JSON"):
    records.read_json(path)


def test_provenance_names_what_a_reader_needs():
  found = records.provenance("python x.py", jax.devices())
  assert found["versions"]["jax"] == jax.__version__
  assert found["command"] == "python x.py"
  assert found["devices"] == len(jax.devices())
  assert found["commit"]
