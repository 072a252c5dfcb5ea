"""Wrong commands of all launchers: a sentence, before anything is compiled.

It names the argument, its value, and what is allowed.
"""

import pathlib

import pytest

from tests import corpora_cases

RECORDS = pathlib.Path(__file__).parents[1] / "experiments" / "results"
FIGURE_7 = RECORDS / "figure_7.json"
RUN = RECORDS / "temporal_order_50.json"
TOO_LARGE = ("must fit into memory", "GB; this machine has")

# (launcher, arguments, parts of what is said)
MISTAKES = [
  ("train.py", "--task=temporal_ordr", ("task", "temporal_ordr", "adding")),
  ("train.py", "--length=9", ("length must be at least 10", "got 9")),
  ("train.py", "--length=ten", ("length must be an integer, got 'ten'",)),
  ("train.py", "--length=50.5", ("length must be an integer, got '50.5'",)),
  ("train.py", "--length=1e2", ("length must be an integer, got '1e2'",)),
  ("train.py", "--length=", ("length must be an integer, got ''",)),
  ("train.py", "--length=50,100", ("length", "'50,100'", "sweep.py takes")),
  ("train.py", "--length=3000000000", ("length", "3000000000", "2147483647")),
  ("train.py", "--max_length=40", ("max_length must be at least", "got 40")),
  ("train.py", "--max_norm=-1", ("max_norm must be greater than 0", "-1")),
  ("train.py", "--max_norm=nan", ("max_norm must be", "got nan")),
  ("train.py", "--learning_rate=0", ("learning_rate", "than 0", "got 0")),
  ("train.py", "--learning_rate=inf", ("learning_rate", "finite", "inf")),
  ("train.py", "--learning_rate=1e-50", ("learning_rate", "1e-50")),
  ("train.py", "--learning_rate=1e-2,1e-3", ("1e-2,1e-3", "sweep.py takes")),
  ("train.py", "--init=sigmoid,basic_tanh", ("init must be one", "sweep")),
  ("train.py", "--omega_weight=-2", ("omega_weight", "at least 0", "-2")),
  ("train.py", "--label_smoothing=1", ("label_smoothing", "under 1", "got 1")),
  ("train.py", "--solved_below=0", ("solved_below", "greater than 0", "0")),
  ("train.py", "--seeds=0", ("seeds must be at least 1", "got 0")),
  ("train.py", "--seeds=1000000", ("seeds must be at most", "1000000")),
  ("train.py", "--first_seed=-1", ("first_seed must be at least 0", "-1")),
  ("train.py", "--check_size=1001", ("check_size", "multiple", "1001")),
  ("train.py", "--check_every=0", ("check_every must be at least 1", "0")),
  ("train.py", "--go_on=perhaps", ("go_on must be true or false", "perhaps")),
  ("train.py", "--nogo_on=true", ("--nogo_on=true does not take",)),
  ("train.py", "--start=a-run", ("start must be none here", "a-run", "sweep")),
  ("train.py", "--start_speed=2", ("start_speed must be none", "got 2")),
  ("train.py", "--seed=3", ("--seed", "--seeds", "--first_seed")),
  ("train.py", "--sedes=4", ("--sedes", "did you mean --seeds")),
  ("train.py", "--hidden-size=4", ("--hidden-size", "--hidden_size")),
  ("train.py", "--units=4", ("there is no flag --units", "--help")),
  ("train.py", "--length", ("Missing value", "--length")),
  ("train.py", "temporal_order", ("unexpected arguments: temporal_order",)),
  ("train.py", "--run_dir=", ("run_dir must be a path", "got ''")),
  ("train.py", "--run_dir=~nobody-here/a", ("run_dir", "~nobody-here/a")),
  ("train.py", "--run_dir=/dev/null/a", ("run_dir", "/dev/null/a", "written")),
  ("train.py", "--run_dir=a.txt", ("run_dir", "a.txt", "directory")),
  ("train.py", "--hidden_size=1000000", ("hidden_size", *TOO_LARGE)),
  ("train.py", "--length=1000000000", ("length", "1000000000", *TOO_LARGE)),
  ("train.py", "--max_length=1000000000", ("max_length", *TOO_LARGE)),
  ("train.py", "--batch_size=1000000000", ("batch_size", *TOO_LARGE)),
  ("train.py", "--task=addition --length=2147483647", ("length", *TOO_LARGE)),
  ("train.py", "--data=jbs", ("data must be one of piano", "jbs")),
  ("train.py", "--data=jsb,piano", ("data", "sweep.py takes")),
  ("train.py", "--data=jsb --task=adding", ("task", "adding", "jsb")),
  ("train.py", "--data=jsb --length=9", ("length is for", "without --data")),
  ("train.py", "--cost=sum", ("cost is for", "with --data", "sum")),
  ("train.py", "--data=jsb --preset=ours2", ("preset must be", "'ours2'")),
  ("train.py", "--data=jsb --average=2", ("average must be at most 1", "2")),
  ("train.py", "--data=jsb --min_gain=1", ("min_gain must be under 1", "1")),
  ("train.py", "--data=jsb --max_epochs=0", ("max_epochs", "at least 1", "0")),
  ("train.py", "--data=jsb --data_dir=nowhere", ("data_dir nowhere has no",)),
  ("train.py", "--data=jsb --data_dir=.", ("JSB_Chorales.mat", "sha256")),
  ("train.py", "--data=jsb --data_dir=. --nocheck_data --hidden_size=1000000",
   ("hidden_size", "1000000", *TOO_LARGE)),
  ("train.py",
   "--data=jsb --data_dir=. --nocheck_data --chunk_length=1000000000",
   ("chunk_length", "1000000000", *TOO_LARGE)),
  ("train.py", "--data=ptb --data_dir=. --nocheck_data --batch_size=100000",
   ("batch_size 100000", "too large")),
  ("train.py", "--data=jsb jsb", ("unexpected arguments: jsb",)),
  ("train.py", "--config=nowhere.json", ("nowhere.json",)),
  ("train.py", "--config=a.txt", ("a.txt",)),
  ("train.py", "--config=a-run/record.json", ("record.json", "configuration")),
  ("train.py", "--task=nowhere:first_bit", ("task", "nowhere:first_bit")),
  ("train.py", "--task=math:first_bit", ("task", "math:first_bit")),
  ("train.py", "--task=math:pi", ("task", "math:pi", "function")),
  ("train.py", "--log=json", ("log must be one of csv", "'json'")),
  ("sweep.py", "--data=jsb --model=gruu", ("model", "lstm", "gruu")),
  ("sweep.py", "--data=jsb --preset=ours2", ("preset must be", "ours2")),
  ("sweep.py", "--data=jsb --length=50", ("length is for", "without --data")),
  ("sweep.py", "--data=jsb --data_dir=nowhere", ("data_dir nowhere has no",)),
  ("evaluate.py", "--test=signals", ("runs must name at least one",)),
  ("evaluate.py", "--test=signals --runs=nowhere",
   ("runs must have ended", "nowhere")),
  ("evaluate.py", "--test=signals --runs=a --lags=1",
   ("lags must be", "[2", "'1'")),
  ("sweep.py", "--length=50,9", ("length must be at least 10", "got 9")),
  ("sweep.py", "--length=50,ten", ("length must be an integer", "'ten'")),
  ("sweep.py", "--learning_rate=fast", ("learning_rate must be a number",)),
  ("sweep.py", "--seeds=1,2", ("seeds must be one number", "[1, 2]")),
  ("sweep.py", "--preset=fig8", ("one of", "'fig8'")),
  ("sweep.py", "--slots=0", ("slots must be", "'0'")),
  ("sweep.py", "--sweep_dir=/dev/null/x", ("sweep_dir", "/dev/null/x")),
  ("sweep.py", "--merge=nowhere", ("merge must be", "nowhere")),
  ("sweep.py", "--done=nowhere", ("nowhere",)),
  ("sweep.py", "--start=a-run", ("starts must be", "a-run-0")),
  ("sweep.py", "--start=a-run --plan", ("starts must be", "a-run-0")),
  ("sweep.py", "--hidden_size=8,1000000", ("hidden_size", *TOO_LARGE)),
  ("sweep.py", "--length=50,1000000000", ("length", *TOO_LARGE)),
  ("evaluate.py", "", ("test must be given: one of lengths, every_step",)),
  ("evaluate.py", "--test=wait", ("test must be one of lengths", "'wait'")),
  ("evaluate.py", "--test=waits --runs=a --lags=9",
   ("lags is no flag of --test=waits, which has runs, size, out",)),
  ("evaluate.py", "--test=lengths --nocheck_data",
   ("check_data is no flag of --test=lengths",)),
  ("evaluate.py", "--test=lengths", ("runs must name at least one",)),
  ("evaluate.py", "--test=lengths --runs=nowhere",
   ("runs must have ended", "nowhere")),
  ("evaluate.py", "--test=lengths --runs=nowhere --lengths=",
   ("lengths must be",)),
  ("evaluate.py", "--test=lengths --runs=nowhere --lengths=1,x",
   ("lengths", "got 1,x")),
  ("evaluate.py", "--test=lengths --runs=nowhere --size=0",
   ("size must be", "'0'")),
  ("evaluate.py", "--test=waits --runs=nowhere --out=a.jpg",
   ("out must be a file *.png",)),
  ("evaluate.py", "--test=waits --runs=a --out=/dev/null/a.png",
   ("out", "/dev/null/a.png")),
  ("evaluate.py", "--test=every_step --runs=nowhere", ("nowhere",)),
  ("evaluate.py", "--test=every_step --runs=nowhere --size=251",
   ("size must be under 250 or a multiple of it, got 251",)),
  ("evaluate.py", "--test=every_step --runs=nowhere --steps=0",
   ("steps must be", "'0'")),
  ("analyse.py", "", ("analysis must be given: one of bifurcation",)),
  ("analyse.py", "--analysis=maps2", ("analysis must be one of", "'maps2'")),
  ("analyse.py", "--analysis=maps --cell=lstm", ("maps", "lstm")),
  ("analyse.py", "--analysis=maps --out=a.txt", ("out", "directory", "a.txt")),
  ("draw.py", "--records=a", ("figure must be given: one of", "training")),
  ("draw.py", "--figure=success_rate", ("records must name at least one",)),
  ("draw.py", "--figure=tasks --records=nowhere", ("records", "nowhere")),
  ("draw.py", f"--figure=success_rate --records={FIGURE_7}",
   ("out must be a file *.png, got None",)),
  ("draw.py", f"--figure=tasks --records={FIGURE_7} --where=length",
   ("where must be field=value", "'length'")),
  ("draw.py", f"--figure=training --records={FIGURE_7} --out=a.png",
   ("figure_7.json", "training")),
  ("draw.py", "--figure=training --records=nowhere --out=a.png",
   ("records must be files or directories", "nowhere")),
  ("draw.py", "--figure=training --records=. --out=a.png",
   ("records must be of runs that ended", "record.json")),
  ("draw.py", "--figure=corpus --records=a-run,a.txt --out=a.png",
   ("records must be one for --figure=corpus", "a-run, a.txt")),
  ("draw.py", "--figure=success_rate --records=a-run --out=a.png",
   ("records must be directories of sweep.py", "a-run", "--figure=training")),
  ("draw.py", "--figure=waits --records=a-run --where=length=9 --out=a.png",
   ("where must be left out", "length=9", "--figure=waits")),
  ("draw.py", "--figure=waits --records=a-run --out=a.png",
   ("record.json", "'waits'", "'training'")),
  ("draw.py", "--figure=table1 --records=a-run",
   ("records must be on music or text", "record.json")),
  ("draw.py", f"--figure=validation --records={FIGURE_7}",
   ("music and text alone",)),
  ("draw.py", "--figure=methods --records=*.json", ("records", "*.json")),
  ("draw.py", f"--figure=update_cost --records={FIGURE_7} --out=a.png",
   ("figure_7.json", "a list")),
  ("draw.py", "--figure=learning_curves --records=a-run", ("*.png", "None")),
  ("collect.py", "--out=a.json", ("records must name at least one",)),
  ("collect.py", "--records=a", ("out must be a file *.json, got None",)),
  ("collect.py", "--records=a --out=/dev/null/a.json", ("out", "/dev/null")),
  ("benchmark.py", "--seeds=8", ("of must be given: one of update, epoch",)),
  ("benchmark.py", "--of=update --seeds=0", ("seeds must be at least 1", "0")),
  ("benchmark.py", "--of=update --lengths=5", ("lengths", "at least 10", "5")),
  ("benchmark.py", "--of=update --algorithms=adam", ("algorithms", "adam")),
  ("benchmark.py", "--of=update --implementations=cudnn",
   ("implementations", "cudnn", "naive_jax")),
  ("benchmark.py", "--of=update --problem=art", ("problem must be", "'art'")),
  ("benchmark.py", "--of=update --problem=text",
   ("problem must be left out with --of=update", "seconds", "got text")),
  ("benchmark.py", "--of=update --seconds=nan", ("seconds must be", "'nan'")),
  ("benchmark.py", "--of=update --json=a.txt", ("json must be", "a.txt")),
  ("benchmark.py", "--of=epoch --seeds=8,64",
   ("seeds must be left out with --of=epoch", "problem", "got 8,64")),
  ("benchmark.py", "--of=epoch --units=8,9", ("units must be one", "8,9")),
  ("benchmark.py", "--of=epoch --implementations=",
   ("implementations must be among", "steadygrad_omega", "none")),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Where the commands run: a text, a run of train.py, data of music."""
  directory = tmp_path_factory.mktemp("place")
  (directory / "a.txt").write_text("a\n")
  (directory / "a-run").mkdir()
  (directory / "a-run" / "record.json").write_text(RUN.read_text())
  corpora_cases.small_music(directory / "JSB_Chorales.mat")
  corpora_cases.small_text(directory)
  return directory


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: " ".join(m[:2]))
def test_a_mistake_is_a_sentence(server, place, mistake):
  script, words, parts = mistake
  words = words.split()
  before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
  status, out, err, compiled = server.launch(script, *words, cwd=place)
  assert (status, out, compiled) == (1, "", 0), err
  assert "Traceback" not in err and err.count("\n") == 1, err
  assert err.startswith(f"{pathlib.Path(script).name}: ")
  for part in parts:
    assert part in err
  after = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
  left = {p.name for p in after if after[p] != before.get(p)}
  made = {"s", "runs", "sweep", "analysis", ".lock", "records", "states"}
  assert left <= made, left
