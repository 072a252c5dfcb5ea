"""train.py on music: what it prints, writes, and survives."""

import json
import pathlib
import signal

import numpy as np
import pytest

from tests import corpora_cases
from tests.launchers_test import (
  deterministic,
  launch,
  start,
  wait_for_state,
)

TINY = (
  "--data=jsb",
  "--nocheck_data",
  "--hidden_size=5",
  "--chunk_length=8",
  "--batch_size=2",
  "--max_epochs=5",
  "--seeds=3",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  directory = tmp_path_factory.mktemp("data")
  corpora_cases.small_music(directory / "JSB_Chorales.mat")
  corpora_cases.small_text(directory)
  return directory


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
  """An uninterrupted run: its directory and what it printed."""
  run_dir = tmp_path_factory.mktemp("whole")
  status, out, err = launch(
    *TINY, f"--data_dir={data_dir}", f"--run_dir={run_dir}"
  )
  assert status == 0, err
  return run_dir, out


def test_last_line_and_record_hold_what_a_script_needs(whole):
  run_dir, out = whole
  summary = json.loads(out.splitlines()[-1])
  record = json.loads((run_dir / "record.json").read_text())
  for name in ("train", "valid", "test", "test_per_piece", "best_epoch"):
    assert len(summary[name]) == 3
    assert summary[name] == record["results"][name]
  assert summary["unit"] == "nats per step"
  assert summary["status"] == ["cut"] * 3
  assert summary["floors"]["first_order"]["test"] > 0
  assert pathlib.Path(summary["record"]) == run_dir / "record.json"
  assert len(record["data"]["sha256"]["JSB_Chorales.mat"]) == 64
  curves = record["curves"]
  assert {"valid", "loss", "rate", "gradient_norm", "omega"} <= curves.keys()
  assert curves["epoch"] == [1, 2, 3, 4, 5]
  valid = np.array(curves["valid"])
  np.testing.assert_allclose(valid.min(0), summary["valid"], rtol=1e-5)
  assert (run_dir / "corpus.png").stat().st_size > 10_000
  assert len(list((run_dir / "states").iterdir())) == 3


def test_killed_and_started_again_gives_the_same_bits(
  server, whole, data_dir, tmp_path
):
  flags = (*TINY, f"--data_dir={data_dir}", f"--run_dir={tmp_path}")
  process = start(*flags)
  wait_for_state(tmp_path, process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (tmp_path / "record.json").exists()
  status, _, err, _ = server.launch("train.py", *flags, cwd=tmp_path)
  assert status == 0, err
  assert "of them begun before" in err
  assert deterministic(tmp_path) == deterministic(whole[0])
  before = (tmp_path / "record.json").read_bytes()
  assert server.launch("train.py", *flags, cwd=tmp_path)[0] == 0
  assert (tmp_path / "record.json").read_bytes() == before


def test_sigterm_saves_and_other_data_are_refused(server, data_dir, tmp_path):
  run_dir = tmp_path / "run"
  flags = (*TINY, f"--run_dir={run_dir}", "--max_epochs=1000000")
  flags += ("--patience=1000000", "--max_halvings=1000000")
  process = start(*flags, f"--data_dir={data_dir}")
  wait_for_state(run_dir, process)
  process.terminate()
  _, err = process.communicate()
  assert process.returncode == 130, err
  assert "goes on from here" in err
  corpora_cases.small_music(
    tmp_path / "JSB_Chorales.mat",
    testdata=corpora_cases.cells(corpora_cases.small_pieces(9, (8, 8))),
  )
  status, _, err, _ = server.launch(
    "train.py", *flags, f"--data_dir={tmp_path}", cwd=tmp_path
  )
  assert status == 1 and "data differ" in err and "Traceback" not in err
