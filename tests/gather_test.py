"""Collected records: nothing is lost, and unfinished runs go on elsewhere."""

import dataclasses
import json
import shutil

import jax
import pytest

from steadygrad import records, runs
from steadygrad.runs import directories, gather, grids
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name

TINY = {
  "length": 12,
  "hidden_size": 8,
  "batch_size": 4,
  "algorithm": "msgd_c",
  "learning_rate": [0.01, 3e38],
  "seeds": 2,
  "max_updates": 300,
  "check_every": 100,
  "check_size": 100,
  "test_size": 250,
}
# Those that are cut first.
RUNS = sorted(grids.expand([TINY], {}), key=lambda run: run.learning_rate)
NAMES = [run_name(run) for run in RUNS]


@pytest.fixture(scope="module")
def half_and_whole(tmp_path_factory):
  """Directories of two runs at update 200, and of all four at their end.

  Two are cut, two have diverged. On one device: each compiles its own.
  """
  half = tmp_path_factory.mktemp("half")
  whole = tmp_path_factory.mktemp("whole") / "sweep"
  shorter = [dataclasses.replace(run, max_updates=200) for run in RUNS[:2]]
  one = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    for home, configs in ((half, shorter), (whole, RUNS)):
      if home == whole:
        shutil.copytree(half, whole)
      with Directory(home) as directory:
        runs.sweep(configs, directory, progress=False)
  return half, whole


@pytest.fixture(scope="module")
def whole(half_and_whole):
  return half_and_whole[1]


@pytest.fixture(scope="module")
def half(half_and_whole):
  return half_and_whole[0]


def copy_parts(source, target, *parts):
  """Copies files of a sweep: "records/*.json", "states/*.safetensors"."""
  for part in parts:
    (target / part).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / part, target / part)


@pytest.fixture(scope="module")
def collect(server, tmp_path_factory):
  """(status, output, what is said) of collect.py."""
  place = tmp_path_factory.mktemp("place")

  def launched(out, *sweeps, states=None):
    words = [f"--records={','.join(map(str, sweeps))}", f"--out={out}"]
    words += [f"--states={states}"] if states else []
    return server.launch("collect.py", *words, cwd=place)[:3]

  return launched


@pytest.fixture(scope="module")
def collected(collect, whole, tmp_path_factory):
  out = tmp_path_factory.mktemp("collected") / "results" / "sweep.json"
  status, said, err = collect(out, whole)
  assert status == 0, err
  return out, json.loads(said.splitlines()[-1])


def test_one_file_holds_what_the_directory_holds(whole, collected):
  out, said = collected
  assert said == {
    "out": str(out),
    "runs": 4,
    "states": 0,
    "bytes": out.stat().st_size,
  }
  runs = gather.read(whole)
  assert gather.read(out) == runs
  assert set(runs) == set(NAMES)


def test_a_run_is_that_of_its_record(whole):
  runs = gather.read(whole)
  for name, config in zip(NAMES, RUNS, strict=True):
    record = records.read_json(whole / "records" / f"{name}.json")
    run = runs[name]
    assert run["config"] == record["config"]
    assert run["provenance"] == record["provenance"]
    diverges = config.learning_rate == 3e38
    assert run["outcome"] == ("diverged" if diverges else "cut")
    assert run["updates"] == (100 if diverges else 300)
    assert run["updates_to_solve"] is None
    assert [run["test_error"]] == record["results"]["test_error"]
    assert run["chance_error"] == 0.75
    assert [run["stability"]] == record["results"]["stability"]
    assert run["stability"]["updates"] == run["updates"]
    assert run["curves"]["update"] == record["curves"]["update"]
    for a, b in zip(
      run["curves"]["error"], record["curves"]["error"], strict=True
    ):
      assert float(a) == pytest.approx(float(b[0]), rel=5e-4, nan_ok=True)


def test_a_field_that_came_later_has_its_default(collected, tmp_path):
  out, _ = collected
  record = records.read_json(out)
  del record["config"]["solved_below"]
  older = tmp_path / "older.json"
  older.write_text(json.dumps(record))
  assert gather.read(older) == gather.read(out)


def test_what_runs_share_stands_once(collected):
  record = json.loads(collected[0].read_text())
  assert len(record["provenance"]) == 1
  for run in record["runs"].values():
    assert run["config"].keys() == {"learning_rate", "first_seed"}


def test_curves_are_thinned_to_the_last_check():
  long = {
    "update": list(range(1, 1001)),
    "loss": [[x / 7] for x in range(1000)],
  }
  thin = gather._thinned(long)
  assert len(thin["update"]) == gather.POINTS
  assert thin["update"][-1] == 1000
  assert thin["loss"][-1] == 142.7
  same = gather._thinned({"update": [5], "loss": [["nan"]]})
  assert same == {"update": [5], "loss": ["nan"]}


def test_the_run_that_got_furthest_is_taken(whole, collected, tmp_path):
  further = records.read_json(collected[0])
  further["runs"][NAMES[0]]["updates"] = 900
  path = tmp_path / "further.json"
  records.write_json(path, further)
  for order in ((path, whole), (whole, path)):
    assert gather.read(*order)[NAMES[0]]["updates"] == 900


def test_errors_at_other_lengths_come_along(whole, tmp_path):
  directory = tmp_path / "sweep"
  shutil.copytree(whole, directory)
  record = records.read_json(directory / "records" / f"{NAMES[0]}.json")
  tested = {"lengths": [50, 100], "size": 200}
  made = record | {"kind": "generalisation", "tested": tested}
  made["results"] = record["results"] | {"errors": [[0.25], [0.5]]}
  path = directory / "generalisation" / f"{NAMES[0]}.json"
  path.parent.mkdir()
  records.write_json(path, made)
  run = gather.read(directory)[NAMES[0]]
  assert run["generalisation"] == tested | {"errors": [0.25, 0.5]}
  # Of a network that has been trained on since.
  made["results"]["updates"] = [200]
  records.write_json(path, made)
  assert "generalisation" not in gather.read(directory)[NAMES[0]]


def test_runs_go_on_elsewhere_from_what_was_collected(
  server, collect, half, whole, tmp_path
):
  """One run ended, one stands at update 200, two have not begun."""
  here, there = tmp_path / "here", tmp_path / "there"
  copy_parts(
    whole, here, f"records/{NAMES[0]}.json", f"states/{NAMES[0]}.safetensors"
  )
  copy_parts(half, here, f"states/{NAMES[1]}.safetensors")
  out, carried = tmp_path / "sweep.json", tmp_path / "carried"
  status, said, err = collect(out, here, states=carried)
  assert status == 0, err
  assert json.loads(said.splitlines()[-1])["states"] == 1
  assert [p.stem for p in (carried / "states").iterdir()] == [NAMES[1]]
  flags = [
    f"--{k}={','.join(map(str, v)) if isinstance(v, list) else v}"
    for k, v in TINY.items()
  ]
  flags += [f"--done={out}", f"--merge={carried}", f"--sweep_dir={there}"]
  flags += ["--noprogress"]
  status, said, err, _ = server.launch("sweep.py", *flags, cwd=tmp_path)
  assert status == 0, err
  assert json.loads(said.splitlines()[-1])["runs"] == 3
  made = {p.stem: records.read_json(p) for p in (there / "records").iterdir()}
  assert set(made) == set(NAMES) - {NAMES[0]}
  for name, record in made.items():
    straight = records.read_json(whole / "records" / f"{name}.json")
    for part in ("config", "results", "curves"):
      assert record[part] == straight[part], part
  assert len(gather.read(out, there)) == len(RUNS)


def test_an_end_depends_on_the_budget(whole):
  runs = gather.read(whole)
  cut, diverged = RUNS[0], RUNS[-1]
  assert (cut.learning_rate, diverged.learning_rate) == (0.01, 3e38)
  assert gather.ended_in(runs, cut)
  more = dataclasses.replace(cut, max_updates=301)
  assert not gather.ended_in(runs, more)
  assert gather.ended_in(runs, dataclasses.replace(diverged, max_updates=301))
  assert not gather.ended_in({}, cut)


def test_states_that_are_carried_are_not_set_back(half, whole, tmp_path):
  state = f"states/{NAMES[0]}.safetensors"
  early, late, new = (tmp_path / name for name in ("early", "late", "new"))
  copy_parts(half, early, state)
  copy_parts(whole, late, state)
  assert directories.carry([early], late, {}) == 0
  assert (late / state).read_bytes() == (whole / state).read_bytes()
  assert directories.carry([early], new, {}) == 1
  assert directories.carry([late], new, {}) == 1
  assert (new / state).read_bytes() == (whole / state).read_bytes()
  assert directories.carry([late], tmp_path / "none", {NAMES[0]: {}}) == 0


def test_a_file_with_other_runs_is_not_overwritten(
  collect, collected, whole, tmp_path
):
  out = tmp_path / "sweep.json"
  shutil.copy(collected[0], out)
  part = tmp_path / "part"
  shutil.copytree(whole, part)
  (part / "records" / f"{NAMES[0]}.json").unlink()
  before = out.read_bytes()
  status, _, err = collect(out, part)
  assert status not in (0, None) and "Traceback" not in err
  assert f"{out} has 1 runs that records have not, such as {NAMES[0]}" in err
  assert out.read_bytes() == before


def test_what_is_no_sweep_is_refused(tmp_path):
  with pytest.raises(ValueError, match=f"records must be.*{tmp_path}"):
    gather.read(tmp_path)
  (tmp_path / "a.json").write_text('{"kind": "training"}')
  with pytest.raises(ValueError, match=f"records must be.*{tmp_path}/a.json"):
    gather.read(tmp_path / "a.json")
