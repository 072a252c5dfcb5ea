"""What all launchers share, in one that does next to nothing."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from steadygrad import files
from steadygrad.runs import launch, signals

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "tests" / "launcher_example.py"
LIMIT = 60  # Seconds, for what takes less than one.


def start(*words, **options):
  options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
  return subprocess.Popen(
    [sys.executable, str(EXAMPLE), *words],
    text=True,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": "/home/me"},
    **options,
  )


def run(*words):
  process = start(*words)
  out, err = process.communicate(timeout=LIMIT)
  assert "Traceback" not in err
  return process.returncode, out, err


def test_the_last_line_alone_is_on_standard_output():
  status, out, err = run()
  assert (status, err) == (0, "told\n")
  assert json.loads(out) == {"run_dir": None, "sweeps": []}
  assert out.count("\n") == 1


@pytest.mark.parametrize(
  "words,run_dir,sweeps",
  [
    (["--run_dir=~/a", "--sweeps=~/b,c"], "/home/me/a", ["/home/me/b", "c"]),
    (["--run_dir", "~", "--sweeps", ""], "/home/me", []),
    (["--run_dir=./~/a", "--sweeps=a/~"], f"{os.getcwd()}/~/a", ["a/~"]),
    (["--run_dir=~root", "--sweeps=~root/x"], None, None),
  ],
)
def test_a_home_directory_is_found_in_every_path(words, run_dir, sweeps):
  _, out, _ = run(*words)
  root = os.path.expanduser("~root")
  expected = {
    "run_dir": run_dir or root,
    "sweeps": [f"{root}/x"] if sweeps is None else sweeps,
  }
  assert json.loads(out) == expected


@pytest.mark.parametrize("path", ["", "~nobody-of-this-name/x"])
def test_a_path_that_is_none_is_refused(path):
  with pytest.raises(ValueError, match="path must be .*, got"):
    files.expand(path)


MISTAKES = {
  "--run_dir=": ("run_dir must be a path", "got ''"),
  "--sweeps=~nobody-of-this-name/x": ("sweeps must be", "~nobody-of-this"),
  "--learning_rate=fast": ("learning_rate must be a number, got 'fast'",),
  "--learning_rate=1e-2,1e-3": ("must be a number, got '1e-2,1e-3'; sweep.py",),
  "--seeds=4,5": ("seeds must be an integer, got '4,5'; sweep.py takes",),
  "--do=a,b": ("do must be one value, got 'a,b'; sweep.py takes several",),
  "--seeds=1.5": ("seeds must be an integer, got '1.5'",),
  "--first_seed=-1": ("first_seed must be a non-negative integer, got '-1'",),
  "--figure=c": ("figure must be one of a, b, got 'c'",),
  "--progress=perhaps": ("progress must be true or false, got 'perhaps'",),
  "--noprogress=1": ("--noprogress=1 does not take an argument",),
  "--seed=3": ("no flag --seed", "--seeds or", "or --first_seed?"),
  "--learning-rate=3": ("no flag --learning-rate", "--learning_rate?"),
  "--rate=3": ("no flag --rate", "--learning_rate?"),
  "--xyzzy": ("there is no flag --xyzzy; --help",),
  "--seeds": ("Missing value for flag --seeds",),
  "word": ("unexpected arguments: word",),
  "--do=mistake": ("length must be at least 10, got 9",),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_sentence_and_status_one(mistake):
  status, out, err = run(mistake)
  assert (status, out, err.count("\n")) == (1, "", 1), err
  assert err.startswith("launcher_example.py: ")
  for part in MISTAKES[mistake]:
    assert part in err


ROOM = "With room for it the same command goes on"
PERMISSION = "Give permission to write it"


@pytest.mark.parametrize(
  "what,status,parts,others",
  [
    ("full", 1, ("No space left", "/there", ROOM), (PERMISSION,)),
    ("quota", 1, ("quota exceeded", "/there", ROOM), (PERMISSION,)),
    ("read_only", 1, ("Read-only", "/there", PERMISSION), (ROOM,)),
    ("forbidden", 1, ("denied", "/there", PERMISSION), (ROOM,)),
    ("directory", 1, ("Is a directory", "/there"), (ROOM, PERMISSION)),
    ("in_use", 75, ("in use by another process",), ()),
    ("memory", 1, ("out of memory", "37 GiB"), (ROOM,)),
    ("device", 1, ("out of memory", "RESOURCE_EXHAUSTED"), ("and more",)),
    ("stopped", 130, ("stopped at update 3",), ()),
  ],
)
def test_what_goes_wrong_is_a_sentence(what, status, parts, others):
  found, out, err = run(f"--do={what}")
  assert (found, out, err.count("\n")) == (status, "", 1), err
  assert all(part in err for part in parts), err
  assert not any(part in err for part in others), err


def test_a_bug_keeps_its_traceback():
  process = start("--do=bug")
  _, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 1 and "Traceback" in err


@pytest.mark.parametrize("word", ["--help", "--helpshort", "--helpfull"])
def test_help_is_no_failure(word):
  status, out, err = run(word)
  assert (status, err) == (0, "")
  assert "  --learning_rate" in out and "  --run_dir" in out


@pytest.mark.parametrize("word", ["--do=end", "--help"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_is_no_failure(word, stream):
  reader, writer = os.pipe()
  os.close(reader)
  process = start(word, **{stream: writer})
  os.close(writer)
  out, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 0
  assert "Broken pipe" not in f"{out}{err}" and "BrokenPipe" not in f"{err}"


def begun(*words):
  process = start(*words)
  assert process.stderr.readline() == "begun\n"
  return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_is_answered_and_obeyed(name):
  process = begun("--do=obedient")
  process.send_signal(signal.Signals[name])
  out, err = process.communicate(timeout=LIMIT)
  assert (process.returncode, out) == (130, "")
  assert err.splitlines() == [
    f"launcher_example.py: {name}: stopping in a while; once more stops now,"
    " and loses the work since update 3",
    f"launcher_example.py: stopped by {name} at update 3",
  ]


def test_the_second_signal_ends_a_loop_that_does_not_stop():
  process = begun("--do=deaf")
  process.send_signal(signal.SIGINT)
  assert "stopping in a while" in process.stderr.readline()
  process.send_signal(signal.SIGTERM)
  out, err = process.communicate(timeout=LIMIT)
  assert (process.returncode, out) == (130, "")
  assert err.splitlines() == [
    "launcher_example.py: SIGTERM: stopped now; the same command goes on from"
    " update 3"
  ]


def test_a_signal_that_comes_twice_at_once_is_one():
  """As of `timeout -s INT`, which sends it to the process and to its group."""
  process = begun("--do=obedient")
  for _ in range(2):
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)  # Signals that wait for a process are one.
  _, err = process.communicate(timeout=LIMIT)
  assert process.returncode == 130
  assert err.splitlines()[-1].endswith("stopped by SIGINT at update 3")


def test_outside_of_a_loop_one_signal_is_enough():
  process = begun("--do=sleeps")
  process.send_signal(signal.SIGINT)
  out, err = process.communicate(timeout=LIMIT)
  assert (process.returncode, out) == (130, "")
  assert err.splitlines() == [
    "launcher_example.py: stopped by SIGINT; the same command goes on from what"
    " is saved"
  ]


def test_handlers_come_back_after_a_loop():
  before = [signal.getsignal(s) for s in signals.SIGNALS]
  with signals.stopping(lambda: ("now", "here")) as received:
    signal.raise_signal(signal.SIGTERM)
    for _ in range(1000):
      if received:
        break
      signal.sigtimedwait([], 0.01)
  assert received == ["SIGTERM"]
  assert [signal.getsignal(s) for s in signals.SIGNALS] == before


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
  """As on macOS and Windows, before and since Python 3.13."""
  monkeypatch.delattr(os, "sched_getaffinity", raising=False)
  monkeypatch.setattr(os, "cpu_count", lambda: 7)
  monkeypatch.delattr(os, "process_cpu_count", raising=False)
  assert launch.cores() == 7
  monkeypatch.setattr(os, "cpu_count", lambda: None)
  assert launch.cores() == 1
  monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
  assert launch.cores() == 3
