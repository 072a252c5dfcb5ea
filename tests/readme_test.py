"""Code, commands, links and tables of README and docs, as they stand there."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LAUNCHING = (ROOT / "docs" / "guides" / "launching.md").read_text()
OWN_TASK = (ROOT / "docs" / "guides" / "own_task.md").read_text()
PAGES = [
  ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = PYTHON.findall(README)
COMMANDS = re.findall(r"python (experiments/train\.py[^\n`]*)", README)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
@pytest.mark.usefixtures("own_tasks")
def test_code_runs_as_written(number, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})


@pytest.mark.parametrize(
  "page",
  [p for p in PAGES[1:] if PYTHON.search(p.read_text())],
  ids=lambda page: page.stem,
)
@pytest.mark.usefixtures("own_tasks", "promotion", "quickly")
def test_the_code_of_a_page_runs_as_written(page, tmp_path, monkeypatch):
  """The blocks of one page go on from each other."""
  monkeypatch.chdir(tmp_path)
  names = {}
  for number, block in enumerate(PYTHON.findall(page.read_text())):
    exec(compile(block, f"{page.name} block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES + NOTEBOOKS, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
  text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M)
  for link in re.findall(r"\]\(([^)\s]+)\)", text):
    path, _, heading = link.partition("#")
    if path.startswith(("http://", "https://")):
      continue
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), link
    assert target.is_relative_to(ROOT), link
    if heading:
      heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
      slugs = [re.sub(r"[^\w\s-]", "", h.lower()) for h in heads]
      assert heading in [s.replace(" ", "-") for s in slugs], link


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebooks_have_no_outputs(page):
  """The build of the docs runs them."""
  for cell in json.loads(page.read_text())["cells"]:
    assert not cell.get("outputs") and not cell.get("execution_count")


def test_the_readme_is_short():
  assert len(README.encode()) <= 9216
  assert README.splitlines().index("```python") < 60


def test_the_readmes_table_is_what_its_command_prints(server, tmp_path):
  command = re.search(r"draw\.py (--figure=front_table .*?)`", README)
  status, out, _, _ = server.launch("draw.py", *command[1].split(), cwd=ROOT)
  assert status == 0
  assert f"\n{out}" in README
  assert len(out.splitlines()) <= 2 + 8


def test_the_front_picture_is_drawn_from_committed_records(server, tmp_path):
  results = ROOT / "experiments" / "results"
  records = f"{results}/figure_7.json,{results}/analysis/training_dynamics.json"
  words = ("--figure=front", f"--records={records}", "--out=front.png")
  status, _, err, _ = server.launch("draw.py", *words, cwd=tmp_path)
  assert (status, err) == (0, "")
  assert 10_000 < (tmp_path / "front.png").stat().st_size < 500_000


def test_the_front_picture_needs_both_records(server, tmp_path):
  records = f"--records={ROOT}/experiments/results/figure_7.json"
  words = ("--figure=front", records, "--out=front.png")
  status, _, err, _ = server.launch("draw.py", *words, cwd=tmp_path)
  assert status == 1
  assert "--analysis=training_dynamics, got" in err


def test_a_task_of_your_own_is_one_of_the_launchers(tmp_path):
  (block,) = [b for b in PYTHON.findall(OWN_TASK) if "register_task(" in b]
  assert "experiments/train.py --task=my_tasks:first_bit" in OWN_TASK
  (tmp_path / "my_tasks.py").write_text(block.split("config = ")[0])
  done = subprocess.run(
    [
      *(sys.executable, str(ROOT / "experiments" / "train.py")),
      *("--task=my_tasks:first_bit", "--length=10"),
      *("--max_updates=2", "--check_every=2", "--check_size=10"),
      *("--test_size=10", f"--run_dir={tmp_path / 'run'}", "--noprogress"),
    ],
    env=os.environ
    | {"PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}", "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  record = json.loads((tmp_path / "run" / "record.json").read_text())
  assert record["config"]["task"] == record["results"]["task"] == "first_bit"
  assert record["config"]["length"] == 10


def test_the_three_stories_are_there():
  assert len(COMMANDS) >= 2
  assert len(BLOCKS) >= 4
  for words in ("add_omega_gradient(cell, weight=4.0)", "jax.vmap(run)"):
    assert any(words in block for block in BLOCKS)


@pytest.mark.usefixtures("quickly_launched")
@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs_as_written_but_shorter(command, tmp_path):
  words = shlex.split(command)
  short = ["--max_updates=2", "--check_every=2", "--check_size=10"]
  short += ["--test_size=10", f"--run_dir={tmp_path}", "--noprogress"]
  done = subprocess.run(
    [sys.executable, *words, *short],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": "src", "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "record.json").exists()


@pytest.mark.usefixtures("quickly_launched")
def test_commands_of_sweeps_run_as_written_but_shorter(tmp_path):
  script = r"python experiments/((?:sweep|evaluate|draw)\.py [^\n`]*)"
  grids = LAUNCHING.split("## Grids")[1].split("\n## ")[0]
  commands = re.findall(script, grids)
  assert [c.split(".")[0] for c in commands] == [
    "sweep", "evaluate", "draw", "draw", "sweep", "sweep",
  ]  # fmt: skip
  short = {
    "sweep": "--length=12 --init=basic_tanh --algorithm=msgd_c --seeds=1"
    " --max_updates=2 --check_every=2 --check_size=10 --test_size=10"
    " --noprogress",
    "evaluate": "--lengths=12 --size=10",
    "draw": "",
  }
  for command in commands:
    name = command.split(".")[0]
    plan = ["--plan"] if "--preset" in command else []
    done = subprocess.run(
      [
        sys.executable,
        str(ROOT / "experiments" / command.split()[0]),
        *shlex.split(command)[1:],
        *shlex.split(short[name]),
        *plan,
      ],
      cwd=tmp_path,
      env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr
  assert len(list((tmp_path / "runs" / "grid" / "records").iterdir())) == 1
  assert (tmp_path / "runs" / "grid.png").exists()


def test_pictures_are_there():
  for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README, re.DOTALL):
    assert (ROOT / path).stat().st_size < 1_000_000
