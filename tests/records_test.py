"""Records: what goes in comes out, atomically."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import records
from steadygrad.training import evaluation

RESULTS = pathlib.Path(__file__).parents[1] / "experiments" / "results"


def test_wilson_interval_against_known_values():
  # 0 and all of n have closed forms; 29 of 32 from R's binom::binom.wilson.
  z2 = 1.959964**2
  np.testing.assert_allclose(
    evaluation.wilson_interval(0, 5), (0, z2 / (5 + z2))
  )
  np.testing.assert_allclose(
    evaluation.wilson_interval(5, 5), (5 / (5 + z2), 1)
  )
  np.testing.assert_allclose(
    evaluation.wilson_interval(29, 32), (0.7578, 0.9676), atol=2e-4
  )


@pytest.mark.parametrize("successes,trials", [(-1, 5), (6, 5), (0, 0)])
def test_wilson_interval_refuses(successes, trials):
  with pytest.raises(ValueError, match=f"{successes} of {trials}"):
    evaluation.wilson_interval(successes, trials)


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


RECORD = {
  "kind": "training",
  "config": {"seeds": 2, "max_norm": "inf"},
  "results": {"solved": [True, False], "error": [0.25, 1e-5]},
  "curves": {"update": [100, 200], "loss": [[1.5], ["nan"]]},
}


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
  path = tmp_path / "record.json"
  records.write_json(path, RECORD)
  whole = path.read_bytes()
  refused = 0
  for place in range(8 * len(whole)):
    data = bytearray(whole)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    try:
      assert records.read_json(path) == RECORD
    except ValueError as e:
      assert str(e).startswith(str(path))
      refused += 1
  assert refused > 7 * len(whole)


def test_the_digest_is_of_the_rest_and_is_no_part_of_the_record(tmp_path):
  path = tmp_path / "record.json"
  records.write_json(path, RECORD)
  written = json.loads(path.read_text())
  assert len(written["sha256"]) == 64
  assert records.read_json(path) == RECORD
  # Laid out otherwise it is the same record.
  path.write_text(json.dumps(written, indent=3, sort_keys=True))
  assert records.read_json(path) == RECORD
  # One that is written again has a digest of its own.
  records.write_json(path, written | {"kind": "other"})
  assert records.read_json(path)["kind"] == "other"


def test_a_record_of_before_has_no_digest(tmp_path):
  path = tmp_path / "record.json"
  path.write_text(json.dumps(RECORD))
  assert records.read_json(path) == RECORD


def test_all_records_of_the_repository_are_read():
  found = sorted(RESULTS.rglob("*.json"))
  assert len(found) > 50
  for path in found:
    records.read_json(path, (dict, list))


NOT_A_RECORD = {
  "list": b"[1, 2]",
  "null": b"null",
  "number": b"3.5",
  "empty": b"",
  "nested lists": b"[" * 100_000,
  "nested dicts": b'{"a":' * 100_000,
  "not UTF-8": b'{"a": "\xff"}',
  "UTF-16": '{"a": 1}'.encode("utf-16"),
  "digits": b'{"a": ' + b"9" * 5000 + b"}",
  "NaN": b'{"a": NaN}',
  "digest that is no text": b'{"a": 1, "sha256": 5}',
  "another digest": b'{"a": 1, "sha256": "' + b"0" * 64 + b'"}',
}


@pytest.mark.parametrize("text", NOT_A_RECORD.values(), ids=NOT_A_RECORD)
def test_what_is_no_record_is_named(tmp_path, text):
  path = tmp_path / "record.json"
  path.write_bytes(text)
  with pytest.raises(ValueError, match="^[^ ]*record.json (is|must) "):
    records.read_json(path)


def test_a_directory_in_its_place_is_named(tmp_path):
  (tmp_path / "record.json").mkdir()
  with pytest.raises(ValueError, match="record.json must be a file"):
    records.read_json(tmp_path / "record.json")
  with pytest.raises(FileNotFoundError):
    records.read_json(tmp_path / "none.json")


SCHEMA = {
  "kind": "x",
  "n": int,
  "maybe": (int, None),
  "list": [float],
  "each": {str: {"a": bool}},
}
FITS = {
  "kind": "x",
  "n": 1,
  "maybe": None,
  "list": [1, 2.5, "nan"],
  "each": {"p": {"a": True}, "q": {"a": False}},
  "more": [],
}


@pytest.mark.parametrize(
  "change,said",
  [
    ({"kind": "y"}, "must hold 'x' at kind, got 'y'"),
    ({"n": True}, "must hold an integer at n, got True"),
    ({"n": 1.0}, "must hold an integer at n, got 1.0"),
    ({"n": None}, "must hold an integer at n, got None"),
    ({"maybe": "1"}, "must hold an integer or null at maybe, got '1'"),
    (
      {"list": []},
      "must hold a list of one or more at list, got a list, empty",
    ),
    ({"list": {}}, "must hold a list of one or more at list, got an object"),
    ({"list": [1, "x"]}, "must hold a number at list.1, got 'x'"),
    ({"each": {"p": {}}}, "must hold true or false at each.p.a, got nothing"),
    ({"each": {"p": []}}, "must hold an object at each.p, got a list"),
  ],
)
def test_a_schema_says_where_and_what(tmp_path, change, said):
  path = tmp_path / "record.json"
  records.write_json(path, FITS)
  assert records.read_json(path, SCHEMA) == FITS
  records.write_json(path, FITS | change)
  with pytest.raises(ValueError) as error:
    records.read_json(path, SCHEMA)
  assert f"{path} {said}" in str(error.value)


def test_a_missing_key_is_named(tmp_path):
  path = tmp_path / "record.json"
  for key in ("kind", "n", "maybe", "list", "each"):
    records.write_json(path, {k: v for k, v in FITS.items() if k != key})
    with pytest.raises(ValueError, match=f" at {key}, got nothing"):
      records.read_json(path, SCHEMA)
