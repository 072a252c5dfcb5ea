"""The launcher as a user meets it: one command, a kill, and mistakes."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from steadygrad import records
from steadygrad.runs import launch as launch_module
from steadygrad.runs import names, store
from steadygrad.training.config import CorpusConfig, TaskConfig
from tests import corpora_cases

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = (
  "--length=12",
  "--hidden_size=8",
  "--batch_size=4",
  "--seeds=3",
  "--max_updates=3000",
  "--check_every=100",
  "--check_size=250",
  "--test_size=500",
  "--noprogress",
)
LIMIT = 300  # Seconds; a launch takes ten, most of it compilation.


def start(*flags, script="train.py", cwd=None, first=None, stdout=None):
  """A process, with what is in the directory `first` in place of packages."""
  paths = [str(p) for p in (first, ROOT / "src") if p]
  env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
  command = [sys.executable, str(ROOT / "experiments" / script), *flags]
  return subprocess.Popen(
    command,
    stdout=stdout or subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=env,
    cwd=cwd,
  )


def launch(*flags, **options):
  """(exit status, standard output, standard error)."""
  process = start(*flags, **options)
  out, err = process.communicate(timeout=LIMIT)
  return process.returncode, out, err


def deterministic(run_dir):
  record = records.read_json(run_dir / "record.json")
  return {k: v for k, v in record.items() if k != "provenance"}


def states(run_dir):
  return sorted((run_dir / "states").glob("*.safetensors"))


def saved_at(run_dir):
  """When the newest state was written; 0 if there is none."""
  return max((p.stat().st_mtime_ns for p in states(run_dir)), default=0)


def wait_for_state(run_dir, process, since=0):
  deadline = time.monotonic() + LIMIT
  while time.monotonic() < deadline and process.poll() is None:
    with contextlib.suppress(FileNotFoundError):
      if saved_at(run_dir) > since:
        return
    time.sleep(0.005)
  pytest.fail(f"no state: {process.communicate()}")


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
  """An uninterrupted run: its directory, what it printed, and what it said."""
  run_dir = tmp_path_factory.mktemp("whole")
  status, out, err = launch(*TINY, f"--run_dir={run_dir}")
  assert status == 0, err
  return run_dir, out, err


@pytest.fixture(scope="module")
def whole(launched):
  """An uninterrupted run: its directory and what it printed."""
  return launched[:2]


def test_what_is_said_goes_to_standard_error(launched):
  run_dir, out, err = launched
  assert out.count("\n") == 1
  cores = launch_module.cores()
  said = err.splitlines()
  assert said[0] == (
    f"train.py: compiling for {cores} CPU core{'s' * (cores > 1)}, then 3 runs"
    " of temporal_order, up to 3000 updates each"
  )
  assert sum(" solved at " in line for line in said) == 3
  assert said[-1] == (
    "train.py: 3 of 3 seeds solved; record.json, training.png and"
    f" states/ are in {run_dir}"
  )


def test_a_reader_that_has_gone_does_not_end_the_run(whole, tmp_path):
  """As of `train.py | head -1`."""
  reader, writer = os.pipe()
  os.close(reader)
  process = start(*TINY, f"--run_dir={tmp_path}", stdout=writer)
  os.close(writer)
  _, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 0, err
  assert "ipe" not in err
  assert deterministic(tmp_path) == deterministic(whole[0])


def test_last_line_is_json_with_what_a_script_needs(whole):
  run_dir, out = whole
  summary = json.loads(out.splitlines()[-1])
  assert summary["task"] == "temporal_order"
  assert summary["algorithm"] == "msgd_cr"
  assert (summary["length"], summary["seeds"]) == (12, 3)
  for name in ("solved", "confirmed", "updates_to_solve", "test_error"):
    assert len(summary[name]) == 3
  assert summary["chance_error"] == 0.75
  assert summary["updates_per_second"] > 0
  assert summary["wall_seconds"] > 0
  assert pathlib.Path(summary["record"]) == run_dir / "record.json"
  assert (run_dir / "training.png").stat().st_size > 10_000


def test_record_holds_curves_configuration_and_provenance(whole):
  record = json.loads((whole[0] / "record.json").read_text())
  curves = record["curves"]
  assert {
    "loss",
    "error",
    "gradient_norm",
    "gradient_norm_max",
    "omega",
    "clipped",
    "spectral_radius",
  } <= curves.keys()
  for name, values in curves.items():
    assert len(values) == len(curves["update"]), name
  assert record["config"]["learning_rate"] == 0.01
  assert record["provenance"]["versions"]["jax"]
  command = record["provenance"]["command"]
  assert command.startswith("python experiments/train.py --length=12")
  assert command.endswith(f"--run_dir={whole[0].name}")
  low, high = record["results"]["success_interval"]
  assert 0 <= low <= record["results"]["success_rate"] <= high <= 1


def test_same_command_again_returns_the_record_untouched(again, whole):
  run_dir, out = whole
  before = (run_dir / "record.json").read_bytes()
  again = again(run_dir)[0]
  assert (run_dir / "record.json").read_bytes() == before
  assert again.splitlines()[-1] == out.splitlines()[-1]


@pytest.fixture
def again(server, tmp_path):
  """again(run_dir, *flags) -> (output, what is said) of train.py's success."""

  def launched(run_dir, *flags, words=TINY):
    words = (*words, *flags, f"--run_dir={run_dir}")
    status, *told, _ = server.launch("train.py", *words, cwd=tmp_path)
    assert status == 0, told
    return told

  return launched


def test_killed_and_started_again_gives_the_same_bits(again, whole, tmp_path):
  process = start(*TINY, f"--run_dir={tmp_path}")
  wait_for_state(tmp_path, process)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (tmp_path / "record.json").exists()
  begun = len(states(tmp_path))
  _, err = again(tmp_path)
  assert f", {begun} of them begun before\n" in err
  assert deterministic(tmp_path) == deterministic(whole[0])


def test_sigterm_saves_and_a_damaged_state_is_not_used(again, whole, tmp_path):
  process = start(*TINY, f"--run_dir={tmp_path}")
  wait_for_state(tmp_path, process)
  process.terminate()
  _, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 130, err
  assert "goes on from here" in err
  first, *others = states(tmp_path)
  assert len(others) == 2
  damaged = bytearray(first.read_bytes())
  damaged[len(damaged) // 2] ^= 16
  first.write_bytes(damaged)
  _, err = again(tmp_path)
  assert f"{first} is damaged" in err and "the run starts anew" in err
  assert first.with_suffix(".damaged").read_bytes() == damaged
  assert deterministic(tmp_path) == deterministic(whole[0])


def test_a_file_gives_the_configuration_and_what_is_measured_is_logged(
  again, whole, tmp_path
):
  """--config=FILE and --log=csv: the run again, and a row for each number."""
  run = tmp_path / "run"
  words = (f"--config={whole[0] / 'config.json'}", "--log=csv", "--noprogress")
  again(run, words=words)
  made = deterministic(run)
  assert made == deterministic(whole[0])
  expected = {}
  for seed in range(3):
    config = TaskConfig(**made["config"] | {"seeds": 1, "first_seed": seed})
    for name, curve in made["curves"].items():
      for when, values in zip(made["curves"]["update"], curve, strict=True):
        if name != "update" and values[seed] != "nan":
          key = names.run_name(config), str(when), name
          expected[key] = values[seed]
  with open(run / "log.csv", newline="") as file:
    header, *rows = csv.reader(file)
  assert header == ["run", "step", "name", "value"]
  told = {(*key,): records.plain(np.float32(x)) for *key, x in rows}
  assert told == expected and len(rows) == len(expected)
  # A flag goes before what the file says.
  more = ("--max_updates=2", "--noprogress")
  again(tmp_path / "other", *more, words=words[:1])
  config = records.read_json(tmp_path / "other" / "config.json")
  assert config == made["config"] | {"max_updates": 2}


def test_a_task_of_your_own_is_a_flag(again, tmp_path):
  (tmp_path / "my_tasks.py").write_text(
    "from steadygrad.tasks import temporal_order\n\n"
    "def first_bit(length, max_length=None):\n"
    "  task = temporal_order(length, max_length)\n"
    "  return task._replace(name='first_bit')\n"
  )
  few = ("--max_updates=2", "--check_every=2")
  again(tmp_path / "run", "--task=my_tasks:first_bit", *few)
  record = records.read_json(tmp_path / "run" / "record.json")
  assert record["config"]["task"] == record["results"]["task"] == "first_bit"


def read_until(process, part):
  """Reads what the process says up to a line with this part; all of it."""
  said = ""
  for line in process.stderr:
    said += line
    if part in line:
      return said
  pytest.fail(f"{part!r} was not said: {said}")


def test_a_signal_is_answered_in_a_long_chunk_and_obeyed(tmp_path):
  """In one of a million updates, twice: what was made is not lost."""
  long = ("--check_every=1000000", "--max_updates=2000000")
  made = [0]
  for _ in range(2):
    before = saved_at(tmp_path)
    process = start(*TINY, *long, f"--run_dir={tmp_path}")
    wait_for_state(tmp_path, process, since=before)
    process.send_signal(signal.SIGINT)
    said = read_until(process, "once more stops now")
    assert (
      "SIGINT: stopping" in said and "loses the work since each run" in said
    )
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "stopped by SIGINT; the same command goes on" in said
    found = [store.read_arrays(path).arrays for path in states(tmp_path)]
    made.append(max(int(x["state.sums['updates']"].item()) for x in found))
  assert 0 < made[1] < made[2] < 1000000


def test_the_second_signal_stops_now(tmp_path):
  long = ("--check_every=1000000", "--max_updates=2000000", "--length=2000")
  process = start(*TINY, *long, "--batch_size=100", f"--run_dir={tmp_path}")
  wait_for_state(tmp_path, process)
  process.send_signal(signal.SIGTERM)
  read_until(process, "SIGTERM: stopping")
  process.send_signal(signal.SIGINT)
  _, said = process.communicate(timeout=LIMIT)
  assert process.returncode == 130, said
  assert "Traceback" not in said
  # The part may have come to its end between the two.
  assert "SIGINT: stopped now" in said or "stopped by SIGTERM" in said


def test_a_signal_during_imports_ends_at_once(tmp_path):
  (tmp_path / "jax.py").write_text(
    "import sys, time\nprint('importing', file=sys.stderr, flush=True)\n"
    "time.sleep(1000)\n"
  )
  for script in ("train.py", "sweep.py", "evaluate.py", "analyse.py"):
    process = start(script=script, first=tmp_path)
    read_until(process, "importing")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (130, "")
    assert said == (
      f"{script}: stopped by SIGINT; the same command goes on from what is"
      " saved\n"
    )


def test_a_signal_during_compilation_ends_at_once(tmp_path):
  process = start(*TINY, "--hidden_size=9", f"--run_dir={tmp_path}")
  read_until(process, "compiling")
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate(timeout=LIMIT)
  assert process.returncode == 130, said
  assert "stopped by SIGTERM" in said and "Traceback" not in said


def test_of_two_processes_one_trains_and_the_other_says_so(whole, tmp_path):
  """Begun together, and one while the other trains or has ended."""
  flags = (*TINY, f"--run_dir={tmp_path}")
  pair = [start(*flags) for _ in range(2)]
  ends = [process.communicate(timeout=LIMIT) for process in pair]
  told = sorted(
    (process.returncode, err)
    for process, (_, err) in zip(pair, ends, strict=True)
  )
  assert told[0][0] == 0, told
  # A late one finds the record.
  assert told[1][0] in (0, 75), told
  if told[1][0] == 75:
    assert told[1][1] == (
      f"train.py: run_dir {tmp_path} is in use by another process; name"
      " another\n"
    )
  assert deterministic(tmp_path) == deterministic(whole[0])


@pytest.mark.parametrize(
  "script,flag,words",
  [
    ("train.py", "run_dir", TINY),
    ("train.py", "run_dir", ("--data=jsb", "--nocheck_data", "--data_dir=.")),
    ("sweep.py", "sweep_dir", ("--length=12", "--hidden_size=8")),
  ],
)
def test_a_directory_in_use_has_its_own_status(
  server, tmp_path, script, flag, words
):
  corpora_cases.small_music(tmp_path / "JSB_Chorales.mat")
  words = (*words, f"--{flag}={tmp_path / 'run'}")
  with store.lock(tmp_path / "run", flag):
    told = server.launch(script, *words, cwd=tmp_path)
  assert told == (
    75,
    "",
    f"{script}: {flag} {tmp_path / 'run'} is in use by another process; name"
    " another\n",
    0,
  )
  assert {p.name for p in (tmp_path / "run").iterdir()} == {".lock"}


FULL = "No space left on device"
RESULTS = ROOT / "experiments" / "results"


@pytest.mark.parametrize(
  "full,script,words",
  [
    ("training.png", "train.py", ("--run_dir={run}", *TINY)),
    ("a.png", "draw.py",
     ("--figure=training", "--records={run}", "--out=a.png")),
    ("a.md", "draw.py",
     ("--figure=tasks", f"--records={RESULTS}/tasks.json", "--out=a.md")),
    ("a.json", "collect.py",
     (f"--records={RESULTS}/figure_7.json", "--out=a.json")),
    ("maps.png", "analyse.py",
     ("--analysis=maps", "--draw_only", "--out={run}")),
    ("generalisation.json", "evaluate.py",
     ("--test=lengths", "--runs={run}", "--lengths=12", "--size=10")),
    ("ledger.json", "sweep.py",
     ("--sweep_dir={run}", *TINY)),  # Its seeds are runs of a sweep.
  ],
)  # fmt: skip
def test_a_full_disk_is_a_sentence(
  server, whole, tmp_path, full, script, words
):
  run = tmp_path / "run"
  shutil.copytree(whole[0], run)
  shutil.copy(RESULTS / "analysis" / "maps.json", run)
  (run / "training.png").unlink()
  words = [word.format(run=run) for word in words]
  status, out, err, _ = server.launch(script, *words, cwd=tmp_path, full=full)
  assert (status, out, err.count(FULL)) == (1, "", 1), err
  assert "Traceback" not in err
  for part in (f"{script}: ", FULL, full, "the same command goes on"):
    assert part in err.splitlines()[-1]
  status, out, err, _ = server.launch(script, *words, cwd=tmp_path)
  assert status == 0, err
  assert deterministic(run) == deterministic(whole[0])


def test_a_finished_run_is_shown_again_where_nothing_can_be_written(
  server, whole, tmp_path
):
  """Nobody is root everywhere: each write fails in this process."""
  run_dir, out = whole
  files = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
  told = server.launch(
    "train.py", *TINY, f"--run_dir={run_dir}", cwd=tmp_path, full="*"
  )
  assert told[:2] == (0, out)
  assert {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")} == files


def test_a_name_has_neither_budget_nor_seeds_in_it():
  """Of the default directory: what is gone on with finds it."""
  for kind, more in ((TaskConfig, "max_updates"), (CorpusConfig, "max_epochs")):
    same = [kind(), kind(**{more: 7}), kind(seeds=9), kind(first_seed=5)]
    assert len({names.stem(config) for config in same}) == 1
    assert names.stem(kind(learning_rate=0.5)) != names.stem(kind())


def test_one_of_several_processes_is_refused(monkeypatch):
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(ValueError, match="process of its own, got one of 2"):
    launch_module.one_process()
  monkeypatch.setattr(jax, "process_count", lambda: 1)
  launch_module.one_process()


def test_another_configuration_in_the_directory_is_refused(
  server, whole, tmp_path
):
  run_dir, _ = whole
  before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
  flags = (*TINY, "--learning_rate=0.02", f"--run_dir={run_dir}")
  status, _, err, _ = server.launch("train.py", *flags, cwd=tmp_path)
  assert status != 0
  assert "learning_rate: 0.01 there, 0.02 asked for" in err
  assert "Traceback" not in err
  assert {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")} == before


def test_help_explains_every_flag(server, tmp_path):
  status, out, err, _ = server.launch("train.py", "--help", cwd=tmp_path)
  assert (status, err) == (0, "")
  for name in ("task", "length", "init", "algorithm", "hidden_size",
               "batch_size", "learning_rate", "max_norm", "omega_weight",
               "seeds", "max_updates", "check_every", "run_dir"):  # fmt: skip
    assert f"  --{name}\n" in out
