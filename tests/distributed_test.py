"""Several processes of one run, and jobs of SLURM as docs/launch.md has them.

tests/long/processes.py kills each of two and of four.
"""

import os
import pathlib
import random
import re
import shlex
import signal
import stat
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from steadygrad import records, runs
from steadygrad.runs import corpora, hosts, names, sharded
from steadygrad.training.config import CorpusConfig, TaskConfig
from tests import corpora_cases
from tests.long import processes, races
from tests.nightly import nightly

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "launch.md").read_text()
JOBS = {
  re.search(r"--job-name=(\S+)", block)[1]: block
  for block in re.findall(r"^```bash\n(#!.*?)^```", PAGE, re.DOTALL | re.M)
}
SRUN = """#!/bin/bash
for ((i = 0; i < SLURM_NTASKS; i++)); do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" > "$OUT/$i.out" 2> "$OUT/$i.err" &
  pids[$i]=$!
  echo $! > "$OUT/$i.pid"
done
for ((i = 0; i < SLURM_NTASKS; i++)); do
  wait ${pids[$i]}
  echo $? > "$OUT/$i.status"
done
"""


class Job:
  """A job of SLURM: its script, and what SLURM's variables would be."""

  def __init__(self, name, home, *more, tasks=2, array=None):
    self.home, self.tasks = home, tasks
    folder = home / f"bin-{array}"
    for path in (folder, home / f"out-{array}"):
      path.mkdir(parents=True, exist_ok=True)
    self.out = home / f"out-{array}"
    python = f'#!/bin/bash\nexec {sys.executable} "$@" {shlex.join(more)}\n'
    for tool, text in (("srun", SRUN), ("python", python)):
      (folder / tool).write_text(text)
      (folder / tool).chmod(stat.S_IRWXU)
    number = str(random.Random(os.getpid()).randrange(10**6))
    env = {
      "PATH": f"{folder}:{os.environ['PATH']}",
      "PYTHONPATH": str(ROOT / "src"),
      "JAX_NUM_CPU_DEVICES": "1",
      "OUT": str(self.out),
      "SLURM_JOB_ID": number,
      "SLURM_NTASKS": str(tasks),
      "SLURM_STEP_NODELIST": "localhost",
      "SLURM_STEP_NUM_NODES": "1",
    }
    if array is not None:
      task, count = array
      env |= {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(count),
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_STEP": "1",
      }
    script = home / f"{name}.sh"
    script.write_text(JOBS[name])
    self.process = subprocess.Popen(
      ["bash", str(script)], cwd=ROOT, env=os.environ | env
    )

  def pid(self, task):
    return int((self.out / f"{task}.pid").read_text())

  def end(self):
    """[(status, last line of standard output, what it said) of each task]."""
    self.process.wait(processes.SECONDS)
    return [
      (
        int((self.out / f"{i}.status").read_text()),
        *[(self.out / f"{i}.{end}").read_text() for end in ("out", "err")],
      )
      for i in range(self.tasks)
    ]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_short_and_slurm_reads_it(name):
  lines = JOBS[name].splitlines()
  assert len(lines) <= 10
  options = [w for line in lines if line[:7] == "#SBATCH" for w in line.split()]
  assert all(
    re.fullmatch("--[a-z-]+(=.+)?", w) for w in options[1:] if "#" not in w
  )
  assert "--signal=TERM@60" in options  # With time to save.


def test_jobs_are_all_of_the_ways():
  assert set(JOBS) == {"sweep-shared", "sweep-shards", "train-seeds"}


def test_the_job_of_seeds_dies_with_a_process_and_goes_on(tmp_path):
  """The first process is killed; the same job comes to the same bits."""
  alone = processes.launch(tmp_path / "alone", *processes.APART, devices=2)
  more = (*processes.APART, f"--run_dir={tmp_path / 'run'}", "--length=10")
  assert races.end(alone)[0] == 0
  job = Job("train-seeds", tmp_path, *more)
  deadline = time.monotonic() + processes.SECONDS
  while len(list((tmp_path / "run").glob("states/*"))) < 2:
    assert job.process.poll() is None and time.monotonic() < deadline
    time.sleep(0.01)
  os.kill(job.pid(0), signal.SIGKILL)
  began = time.monotonic()
  (first, _, _), (status, out, said) = job.end()
  assert (first, status, out) == (128 + signal.SIGKILL, 75, "")
  assert time.monotonic() - began < 60
  assert said.splitlines()[-1].startswith("train.py: ")
  assert hosts.ADVICE in said.splitlines()[-1]
  job = Job("train-seeds", tmp_path, *more)
  (first, out, said), (status, nothing, other) = job.end()
  assert (first, status, nothing) == (0, 0, ""), said
  assert '"seeds": 4' in out
  assert "begun before" in said + other  # Of whoever had saved a state.
  assert races.left(tmp_path / "run") == races.left(tmp_path / "alone")
  assert (tmp_path / "run" / "training.png").exists()


def test_the_jobs_of_sweeps_take_their_parts(tmp_path):
  """What each task has to do; that they do it is in shared_sweep_test."""
  tiny = ("--plan", "--length=10", "--seeds=3", "--algorithm=msgd,msgd_c")
  counts = []
  jobs = [
    Job(
      "sweep-shards",
      tmp_path,
      *tiny,
      f"--sweep_dir={tmp_path}/{task}",
      tasks=1,
      array=(task, 2),
    )
    for task in range(2)
  ]
  shared = Job("sweep-shared", tmp_path, *tiny, f"--sweep_dir={tmp_path}/all")
  for job in (*jobs, shared):
    for status, out, said in job.end():
      assert status == 0, said
      counts.append(int(re.search(r'"runs": (\d+)', out)[1]))
  *parts, one, other = counts
  assert one == other == sum(parts) and max(parts) - min(parts) <= 1


TASK = TaskConfig(
  length=10,
  max_length=14,
  hidden_size=8,
  batch_size=4,
  seeds=1,
  max_updates=20,
  check_every=5,
  check_size=20,
  test_size=20,
)
MUSIC = CorpusConfig(
  data="jsb",
  model="lstm",
  algorithm="msgd_cr",
  hidden_size=5,
  chunk_length=8,
  batch_size=2,
  eval_lanes=2,
  max_epochs=2,
  seeds=2,
)
CASES = {
  "elman": TASK,
  "transformer": TaskConfig(
    **vars(TASK) | {"model": "transformer", "algorithm": "msgd_c"}
  ),
  "music": MUSIC,
}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
  home = tmp_path_factory.mktemp("data")
  corpora_cases.small_music(home / "JSB_Chorales.mat")
  return corpora.loader(home, check=False)


@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.parametrize("name", ["elman", "music", *nightly("transformer")])
def test_a_batch_over_two_devices_is_the_whole_batch(
  load, tmp_path, monkeypatch, name
):
  """Loss, norms and Omega of each check, and the parameters at the end."""
  config = CASES[name]
  options = {"corpora": load, "progress": False}
  both = runs.train(config, tmp_path / "two", shard_batch=True, **options)
  devices = jax.devices()
  monkeypatch.setattr(jax, "devices", lambda: devices[:1])
  one = runs.train(config, tmp_path / "one", **options)
  assert both["provenance"]["devices"] == 2
  assert both["curves"].keys() == one["curves"].keys()
  for curve in one["curves"]:
    x, y = (np.asarray(r["curves"][curve], float) for r in (both, one))
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5, err_msg=curve)
  if "cr" in config.resolved().algorithm:
    assert np.all(np.asarray(one["curves"]["omega"], float) > 0)
  found = [
    jax.tree.leaves(runs.load(tmp_path / x).params) for x in ("two", "one")
  ]
  for x, y in zip(*found, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("quickly_compiled")
def test_each_device_has_half_of_the_batch():
  """In the compiled program; and devices add up a few times an update."""
  config = TaskConfig(**vars(TASK) | {"batch_size": 6, "hidden_size": 11})
  fleet = sharded.Sharded(hosts.ONE)
  compiled, _ = fleet._program(config.resolved()).advance.result()
  text = compiled.as_text()
  assert re.search(r"f32\[(\d+,)?3,11\]", text)
  assert 1 <= len(re.findall(r" all-reduce(?:-start)?\(", text)) < 20


def test_a_batch_that_cannot_be_spread_is_refused(tmp_path):
  config = TaskConfig(**vars(TASK) | {"batch_size": 3})
  with pytest.raises(ValueError) as error:
    runs.train(config, tmp_path / "run", shard_batch=True)
  assert "batch_size must be a multiple of the 2 devices" in str(error.value)
  assert "got 3" in str(error.value)
  assert not (tmp_path / "run").exists()


def test_two_processes_train_one_network(tmp_path):
  words = (*processes.TOGETHER, "--seeds=2", "--max_updates=60")
  for status, said in processes.end(
    processes.several([tmp_path / "two"] * 2, *words)
  ):
    assert status == 0, said
  single = [w for w in words if w != "--shard_batch"]
  alone = processes.launch(tmp_path / "one", *single)
  assert races.end(alone)[0] == 0
  gap = processes.differ(tmp_path / "two", tmp_path / "one")
  assert gap < processes.ROUNDING
  made = records.read_json(tmp_path / "two" / "record.json")
  assert made["provenance"]["devices"] == 2
  assert len(made["results"]["updates"]) == 2
  assert made["config"]["seeds"] == len(names.of_seeds(TaskConfig(seeds=2)))
