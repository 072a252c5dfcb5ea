"""sweep.py on music: a search, its merge, and the table of it."""

import json
import shutil

import pytest

from steadygrad import records
from steadygrad.runs import gather, sweeps
from tests import corpora_cases

TINY = (
  "--data=jsb",
  "--nocheck_data",
  "--hidden_size=5",
  "--chunk_length=8",
  "--batch_size=2",
  "--eval_lanes=2",
  "--algorithm=msgd_c",
  "--learning_rate=1,0.5",
  "--max_epochs=3",
  "--seeds=1",
  "--noprogress",
)


@pytest.fixture(scope="module")
def sweep(server, tmp_path_factory):
  """sweep(directory, *flags) -> the ledger that is told."""
  home = tmp_path_factory.mktemp("data")
  corpora_cases.small_music(home / "JSB_Chorales.mat")

  def launched(directory, *flags):
    words = (*TINY, f"--data_dir={home}", f"--sweep_dir={directory}", *flags)
    status, out, err, _ = server.launch("sweep.py", *words, cwd=home)
    assert status == 0, err
    return json.loads(out)

  return launched


@pytest.fixture(scope="module")
def searched(sweep, tmp_path_factory):
  """A search over two rates: its directory, and what was told."""
  home = tmp_path_factory.mktemp("search")
  return home, sweep(home)


def deterministic(directory):
  found = {}
  for path in sweeps.records_in(directory):
    record = records.read_json(path)
    found[path.stem] = {k: v for k, v in record.items() if k != "provenance"}
  return found


def test_a_search_has_a_run_for_each_rate(searched):
  home, told = searched
  assert (told["runs"], told["cut"], told["updates_left"]) == (2, 2, 0)
  assert list(told["groups"]) == ["jsb 8 msgd_c"]
  made = deterministic(home).values()
  rates = sorted(record["config"]["learning_rate"] for record in made)
  assert rates == [0.5, 1]
  for record in made:
    # The paper's settings, where no flag gives one.
    assert record["config"]["init"] == "orthogonal"
    assert record["results"]["epochs"] == [3]
    assert len(record["data"]["sha256"]["JSB_Chorales.mat"]) == 64


def test_its_table_is_ordered_by_validation(server, searched, tmp_path):
  """Every combination once, and the test error in no column."""
  home, _ = searched
  words = ("draw.py", "--figure=validation", f"--records={home}")
  status, out, err, _ = server.launch(*words, cwd=tmp_path)
  assert status == 0, err
  header, _, *rows = [
    [word.strip() for word in line.strip("|").split("|")]
    for line in out.splitlines()
  ]
  assert header == ["learning rate", "validation error", "after pass", "run"]
  expected = sorted(
    (float(r["results"]["valid"][0]), f"{r['config']['learning_rate']}")
    for r in deterministic(home).values()
  )
  assert [(float(error.split()[0]), rate) for rate, error, *_ in rows] == [
    (pytest.approx(error, abs=1e-4), rate) for error, rate in expected
  ]
  assert all(row[-1] == "cut after 3" for row in rows)


def test_a_search_is_collected_as_it_is(server, searched, tmp_path):
  home, _ = searched
  words = ("collect.py", f"--records={home}", "--out=a.json")
  status, _, err, _ = server.launch(*words, cwd=tmp_path)
  assert status == 0, err
  assert gather.read(tmp_path / "a.json") == gather.read(home)


def test_two_searches_are_merged_and_go_on(sweep, searched, tmp_path):
  """One has a run that was cut before, the other a run that has ended."""
  whole, _ = searched
  other, mine = tmp_path / "other", tmp_path / "mine"
  assert sweep(other, "--max_epochs=2")["cut"] == 2
  first, second = sorted(deterministic(whole))
  for name in (first, second):
    sweeps.record_path(other, name).unlink()
  sweeps.state_path(other, first).unlink()
  (mine / "records").mkdir(parents=True)
  (mine / "states").mkdir()
  for where in (sweeps.record_path, sweeps.state_path):
    shutil.copy(where(whole, first), where(mine, first))
  left = sweep(mine, f"--merge={other}", "--plan")
  assert (left["cut"], left["updates_left"]) == (1, 1)
  assert sweep(mine)["updates_left"] == 0
  assert deterministic(mine) == deterministic(whole)
