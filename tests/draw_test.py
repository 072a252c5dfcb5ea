"""draw.py makes the committed tables and pictures from committed records."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
NATURAL = RESULTS / "natural"


@pytest.fixture
def draw(server, tmp_path):
  """draw(figure, records, *flags) -> its last line; it must not fail."""

  def drawn(figure, records, *flags):
    words = (f"--figure={figure}", f"--records={records}", *flags)
    status, out, err, _ = server.launch("draw.py", *words, cwd=tmp_path)
    assert (status, err) == (0, "")
    return out

  return drawn


def test_the_table_of_methods_is_the_documentations(draw):
  names = ("", "_32_seeds", "_msgd_c", "_msgd")
  paths = [f"{RESULTS}/temporal_order_50{name}.json" for name in names]
  page = ROOT / "docs" / "results" / "temporal_order.md"
  assert f"\n{draw('methods', ','.join(paths))}" in page.read_text()


def test_table_1_is_the_committed_one(draw, tmp_path):
  kinds = ("msgd*", "lstm", "adam", "ours", "longer", "rate")
  patterns = ",".join(f"{NATURAL}/*-{kind}.json" for kind in kinds)
  out = tmp_path / "table1.md"
  assert draw("table1", patterns, f"--out={out}") == f"{out}\n"
  assert out.read_text() == (NATURAL / "table1.md").read_text()


@pytest.mark.parametrize(
  "figure,records",
  [
    ("every_step", "every_step.json"),
    ("learning_curves", "natural/piano-msgd*.json"),
    ("corpus", "natural/piano-msgd.json"),
    ("signals", "natural/ptb-signals.json"),
    ("gpu", "benchmark/gpu.json"),
    ("update_cost", "benchmark/cpu.json"),
    ("waits", "waits.json"),
  ],
)
def test_a_picture_of_a_committed_record(draw, tmp_path, figure, records):
  out = tmp_path / "a.png"
  assert draw(figure, RESULTS / records, f"--out={out}") == f"{out}\n"
  assert 10_000 < out.stat().st_size < 500_000


def test_a_name_with_a_star_in_it_is_a_name(draw, tmp_path):
  (tmp_path / "[a]*.json").write_bytes((RESULTS / "waits.json").read_bytes())
  (tmp_path / "a.json").write_text("{}")
  draw("waits", "[a]*.json", "--out=a.png")
