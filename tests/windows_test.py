"""Windows of learning rates: what is drawn is what the runs say."""

import dataclasses

import pytest

from steadygrad import records
from steadygrad.figures import windows
from steadygrad.training.config import CorpusConfig, TaskConfig

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)


def run(seed, rate, learned, **fields):
  """A run as `gather.read` gives it."""
  config = TaskConfig(
    seeds=1, first_seed=seed, learning_rate=rate,
    **{"algorithm": "msgd_c", "model": "residual"} | fields,
  )  # fmt: skip
  seen = {"updates": 2000, "spikes": 2 * (seed + 1), "nonfinite": 0}
  seen |= {"largest_loss": 3.0 + seed, "clipped": 500, "skipped": 100}
  seen |= {"longest_recovery": 4, "recovering_for": 0}
  return {
    "config": records.plain(dataclasses.asdict(config.resolved())),
    "outcome": "cut",
    "stability": seen | {"learned_at": learned},
  }


def runs_of(pattern, **fields):
  """A rate for each word; a letter for each seed: x where it has learned."""
  return [
    run(seed, rate, 100 + seed if letter == "x" else None, **fields)
    for rate, word in zip(RATES, pattern.split(), strict=True)
    for seed, letter in enumerate(word)
  ]


@pytest.mark.parametrize(
  "pattern, rates, ends",
  [
    ("-- -- -- -- --", [], (False, False)),
    ("x- -x x- x- --", [], (False, False)),
    ("xx xx xx xx xx", list(RATES), (True, True)),
    ("-- xx xx x- xx", [0.03, 0.1], (False, False)),
    ("xx -- xx xx xx", [0.1, 0.3, 1.0], (False, True)),
    ("xx -- xx -- --", [0.01], (True, False)),
    ("xx xx -- xx xx", [0.01, 0.03], (True, False)),
  ],
)
def test_the_longest_stretch_at_which_all_seeds_learn(pattern, rates, ends):
  ((panel, rules),) = windows.windows(runs_of(pattern)).items()
  assert panel == ("residual in time, rate 0.1", "SGD")
  assert list(rules) == ["Algorithm 1 at 1"]
  window = rules["Algorithm 1 at 1"]
  assert (window.rates, window.open) == (rates, ends)


def several():
  runs = runs_of("-- xx xx -- --")
  runs += runs_of("-- -- xx xx xx", max_norm=6.0)
  runs += runs_of("x- -- -- -- --", clip="autoclip")
  runs += runs_of("xx xx xx -- --", clip="none")
  return runs + runs_of("-- xx -- -- --", optimizer="adamw")


def test_the_table():
  lines = windows.table(several()).splitlines()[2:]
  rows = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines]
  names = ["no clipping", "Algorithm 1 at 1", "Algorithm 1 at 6", "AutoClip"]
  by_name = {(row[1], row[2]): row[3:] for row in rows}
  assert [name for optimizer, name in by_name if optimizer == "SGD"] == names
  found = by_name["SGD", "Algorithm 1 at 1"]
  assert found[:3] == ["0.03 to 0.1 (2)", "5", "4 of 4, 51% to 100%"]
  # Seeds 0 and 1 have 2 and 4 spikes in 2,000 updates each.
  assert found[3:] == ["100 (100 to 101)", "1.5", "3.5", "30%"]
  assert by_name["SGD", "Algorithm 1 at 6"][0] == "0.1 to ≥ 1 (3)"
  assert by_name["SGD", "no clipping"][0] == "≤ 0.01 to 0.1 (3)"
  found = by_name["SGD", "AutoClip"]
  assert found[0] == "none" and found[2].startswith("1 of 2, ")
  assert by_name["AdamW", "Algorithm 1 at 1"][0] == "0.03 (1)"


def test_the_picture(tmp_path):
  windows.draw(several(), tmp_path / "a.png")
  assert (tmp_path / "a.png").stat().st_size > 10_000


def text(seed, rate, valid, **fields):
  """A run on text as `gather.read` gives it."""
  config = CorpusConfig(
    data="ptb", algorithm="msgd_c", model="lstm", seeds=1, first_seed=seed,
    learning_rate=rate, **fields,
  )  # fmt: skip
  return run(seed, rate, None) | {
    "config": records.plain(dataclasses.asdict(config.resolved())),
    "unit": "bits per character",
    "valid": valid,
  }


def test_a_text_is_learned_by_its_validation_error(tmp_path):
  found = [text(seed, 0.01, 2.4 + seed / 100) for seed in range(2)]
  found += [text(seed, 0.03, 2.3) for seed in range(2)]
  found += [text(0, 0.1, 2.2), text(1, 0.1, 2.5)]
  found += [text(seed, 0.3, "nan") for seed in range(2)]
  table = windows.table(found)
  assert "bits a character" in table.splitlines()[0]
  (row,) = table.splitlines()[2:]
  assert "≤ 0.01 to 0.03 (2)" in row and "2.350 (2.300 to 2.410)" in row
  windows.draw(found, tmp_path / "a.png")
  assert (tmp_path / "a.png").stat().st_size > 10_000
  found[0]["unit"] = "nats per step"
  with pytest.raises(ValueError, match="got some of music"):
    windows.table(found)


def test_what_cannot_be_compared_is_refused():
  runs = runs_of("xx xx xx xx xx")
  with pytest.raises(ValueError, match="differ in length"):
    windows.windows(runs + runs_of("xx xx xx xx xx", length=60))
  del runs[0]["stability"]
  with pytest.raises(ValueError, match="say when they learned"):
    windows.table(runs)
