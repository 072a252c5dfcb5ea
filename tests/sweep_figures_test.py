"""Figures and tables of sweeps: what they draw is what the runs say."""

import dataclasses
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from steadygrad import records
from steadygrad.figures import (
  costs,
  error_curves,
  generalisation,
  groups,
  matrix,
  rates,
  solving,
  success_rate,
  tables,
)
from steadygrad.figures import updates_to_solve as dots
from steadygrad.plots import style
from steadygrad.runs import gather
from steadygrad.training import evaluation
from steadygrad.training.config import TaskConfig

OUTCOMES = {
  # (init, algorithm, length): updates to solve, or what became of it, by seed.
  ("basic_tanh", "msgd", 50): ("cut", "cut", "diverged"),
  ("basic_tanh", "msgd_cr", 50): (4000, 6000, 28000),
  ("basic_tanh", "msgd_cr", 100): (16000, "cut"),
  ("smart_tanh", "msgd_cr", 50): (9000, 9000, "cut"),
}
FLOAT = 1e-12  # Sums and quotients of a few float64 numbers.


def run(seed, outcome, **fields):
  """A run as `gather.read` gives it."""
  config = TaskConfig(seeds=1, first_seed=seed, **fields).resolved()
  solved = isinstance(outcome, int)
  ended = {"cut": config.max_updates, "diverged": 1000}
  return {
    "config": records.plain(dataclasses.asdict(config)),
    "outcome": "solved" if solved else outcome,
    "updates": outcome if solved else ended[outcome],
    "updates_to_solve": outcome if solved else None,
    "test_error": 0.002 if solved else 0.5 + seed / 100,
    "relapses": 0,
    "chance_error": 0.75,
    "chance_loss": 1.38629,
    "curves": {"update": []},
    "provenance": {},
  }


def runs_of(outcomes=OUTCOMES):
  return [
    run(seed, outcome, init=init, algorithm=algorithm, length=length)
    for (init, algorithm, length), seeds in outcomes.items()
    for seed, outcome in enumerate(seeds)
  ]


@pytest.fixture
def drawn(monkeypatch):
  """draw(function, runs) -> the figure, before it is written."""
  kept = []
  monkeypatch.setattr(style, "save", lambda figure, path: kept.append(figure))

  def draw(function, runs):
    function(runs, "nowhere.png")
    return kept[-1]

  yield draw
  plt.close("all")


def test_success_rates_and_their_intervals(drawn):
  figure = drawn(success_rate.draw, runs_of())
  basic, smart = figure.axes
  assert (basic.get_title(), smart.get_title()) == ("basic tanh", "smart tanh")
  expected = {
    (0, "MSGD"): [(50, 0, 3)],
    (0, "MSGD-CR"): [(50, 3, 3), (100, 1, 2)],
    (1, "MSGD-CR"): [(50, 2, 3)],
  }
  found = {}
  for panel, axis in enumerate(figure.axes):
    for bars in axis.containers:
      line, _, (spread,) = bars.lines
      found[panel, bars.get_label()] = line.get_xydata(), spread.get_segments()
  assert found.keys() == expected.keys()
  for key, (points, spreads) in found.items():
    for (x, y), ends, (length, number, of) in zip(
      points, spreads, expected[key], strict=True
    ):
      assert abs(x - length) <= 5
      assert y == pytest.approx(number / of, abs=FLOAT)
      interval = evaluation.wilson_interval(number, of)
      np.testing.assert_allclose(ends[:, 1], interval, atol=FLOAT)
  text = figure.get_suptitle()
  for part in ("2 to 3 seeds", "100000", "75% wrong", "10000 fresh"):
    assert part in text


def test_every_seed_is_a_dot_and_cut_runs_are_hollow(drawn):
  figure = drawn(dots.draw, runs_of())
  marks = [
    (line.get_ydata()[0], line.get_marker(), line.get_markerfacecolor())
    for line in itertools.chain(*(axis.lines for axis in figure.axes))
    if len(line.get_xdata()) == 1
  ]
  assert len(marks) == len(runs_of())
  cut = [y for y, marker, face in marks if (marker, face) == ("v", "none")]
  assert cut == [100_000] * 4
  assert [y for y, marker, _ in marks if marker == "x"] == [1000]
  solved = sorted(y for y, marker, _ in marks if marker == "^")
  assert solved == [4000, 6000, 9000, 9000, 16000, 28000]
  medians = sorted(
    line.get_ydata()[0]
    for line in itertools.chain(*(axis.lines for axis in figure.axes))
    if len(line.get_xdata()) == 2
  )
  assert medians == [6000, 9000, 16000]


def with_errors(seed, errors, **fields):
  found = {"lengths": [50, 500, 5000], "size": 10_000, "errors": errors}
  return run(seed, 5000, **fields) | {"generalisation": found}


def test_errors_against_length_with_zero_at_the_floor(drawn):
  errors = [0.0, 0.001, 0.5], [0.0, 0.0, 0.02]
  runs = [with_errors(i, e, max_length=200) for i, e in enumerate(errors)]
  figure = drawn(generalisation.draw, [*runs, run(2, "cut", max_length=200)])
  (axis,) = figure.axes
  lines = [line for line in axis.lines if len(line.get_xdata()) == 3]
  assert [list(line.get_xdata()) for line in lines] == [[50, 500, 5000]] * 2
  assert [list(line.get_ydata()) for line in lines] == [
    [5e-5, 0.001, 0.5],
    [5e-5, 5e-5, 0.02],
  ]
  said = {text.get_text() for text in axis.texts}
  assert said == {"chance 0.75", "solved .01", "0 of 10000"}
  (name,) = [text.get_text() for text in figure.legends[0].get_texts()]
  assert name == "MSGD-CR, basic tanh, trained at 50 to 200, 2 seeds"
  longer = with_errors(0, [0] * 3, max_length=200, solved_below=1e-4)
  figure = drawn(generalisation.draw, [*runs, longer])
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert names[0] == name
  assert names[1].endswith("1 seed,\nuntil under 0.01 % wrong")
  settled = {"start": "a", "initial_state_scale": 0.5, "max_updates": 7}
  settled = with_errors(0, [0] * 3, max_length=200, go_on=True, **settled)
  figure = drawn(generalisation.draw, [*runs, settled])
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert names[1].endswith(
    "1 seed,\n7 updates from a trained network, initial states N(0, 0.5)"
  )
  assert figure.get_suptitle().endswith("at most 100000 updates")
  fast = {"start": "a", "start_speed": 3.0}
  fast = with_errors(0, [0] * 3, max_length=200, **fast)
  figure = drawn(generalisation.draw, [*runs, fast])
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert "\nstarted 3 times as fast" in names[1]
  smooth = with_errors(0, [0] * 3, max_length=200, label_smoothing=0.1)
  figure = drawn(generalisation.draw, [*runs, smooth])
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  assert (
    names[1] == f"{name.replace('2 seeds', '1 seed')},\nlabels smoothed by 0.1"
  )


def with_curve(seed, outcome, errors, **fields):
  updates = [1000 * (i + 1) for i in range(len(errors))]
  curves = {"update": updates, "error": errors}
  return run(seed, outcome, **fields) | {"curves": curves}


def test_error_curves_show_every_seed_of_every_setting(drawn):
  falling = {"learning_rate_half_life": 500}
  runs = [
    with_curve(0, "cut", [0.7, 0.5]),
    with_curve(1, 2000, [0.6, 0.002]),
    with_curve(0, 1000, [0.0], **falling),
    with_curve(0, "cut", [0.4], task="addition", max_length=200, **falling),
  ]
  figure = drawn(error_curves.draw, runs)
  constant, fall = ("MSGD-CR: 50, 0.01, 1, 4", "MSGD-CR: 50, 0.01 halved ")
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  colours = {
    constant: style.MORE_LINES[names.index(constant)]["color"],
    fall: style.MORE_LINES[1 - names.index(constant)]["color"],
  }
  assert names[1 - names.index(constant)].startswith(fall)

  def lines(axis, marker):
    return sorted(
      (line.get_color(), list(np.atleast_1d(line.get_ydata())))
      for line in axis.lines
      if line.get_color() in colours.values()
      and line.get_marker() == marker
      and len(np.atleast_1d(line.get_ydata()))
    )

  addition, order = figure.axes
  assert addition.get_title(loc="left") == "addition, 50 to 200 steps"
  assert order.get_title(loc="left") == "temporal order, 50 steps"
  assert lines(addition, "None") == [(colours[fall], [0.4])]
  # None wrong of 1000 is drawn at half of one; what is solved ends in a dot.
  assert lines(order, "None") == sorted(
    [
      (colours[constant], [0.7, 0.5]),
      (colours[constant], [0.6, 0.002]),
      (colours[fall], [0.0005]),
    ]
  )
  assert lines(order, "o") == sorted(
    [(colours[constant], [0.002]), (colours[fall], [0.0005])]
  )
  many = [with_curve(0, "cut", [0.4], max_norm=i) for i in range(1, 6)]
  with pytest.raises(ValueError, match="at most 4 settings, got 5.*--where"):
    error_curves.draw(many, "nowhere.png")


def test_what_cannot_be_drawn_is_named():
  with pytest.raises(ValueError, match="--test=lengths has tested"):
    generalisation.draw(runs_of(), "nowhere.png")
  mixed = [with_errors(0, [0] * 3), with_errors(0, [0] * 3, task="addition")]
  with pytest.raises(ValueError, match="one task"):
    generalisation.draw(mixed, "nowhere.png")
  faster = run(0, "cut", length=100, learning_rate=0.1)
  for draw in (success_rate.draw, dots.draw):
    with pytest.raises(ValueError, match="differ in learning_rate.*--where"):
      draw([*runs_of(), faster], "nowhere.png")
    with pytest.raises(ValueError, match="fixed length"):
      draw([run(0, "cut", max_length=200)], "nowhere.png")


def test_what_an_algorithm_does_not_look_at_is_no_difference():
  groups.check_same(
    [
      run(0, "cut", algorithm="msgd"),
      run(1, "cut", algorithm="msgd", max_norm=6.0, omega_weight=1.0),
    ]
  )
  with pytest.raises(ValueError, match="max_norm"):
    groups.check_same(
      [
        run(0, "cut", algorithm="msgd_c"),
        run(1, "cut", algorithm="msgd_c", max_norm=6.0),
      ]
    )


def cells(table):
  """[{column: cell}] of a Markdown table."""
  lines = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in table.splitlines()
  ]
  return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_table_of_learning_rates():
  runs = [
    run(seed, outcome, learning_rate=rate, algorithm="msgd_c")
    for rate, seeds in {0.1: ("diverged", 3000), 0.01: ("cut", "cut")}.items()
    for seed, outcome in enumerate(seeds)
  ]
  slow, fast = cells(tables.learning_rates(runs))
  assert (slow["learning rate"], fast["learning rate"]) == ("0.01", "0.1")
  assert slow["solved, 95 % interval"] == "0, 0% to 66%"
  assert slow["updates to solve, median (range)"] == "none"
  found = slow["error of the unsolved, median (range)"]
  assert found == "50.5% (50.0% to 51.0%)"
  assert fast["solved, 95 % interval"] == "1, 9% to 91%"
  assert fast["updates to solve, median (range)"] == "3000"
  assert fast["diverged"] == "1"
  assert (fast["seeds"], fast["cut at"]) == ("2", "100000")
  assert fast["chance"] == "75.000%"


@pytest.mark.parametrize(
  "table,values",
  [
    (tables.omega_modes, {"form": "h", "omega_ratio": "norm"}),
    (tables.thresholds, {"max_norm": float("inf")}),
  ],
)
def test_tables_have_a_row_for_each_setting(table, values):
  runs = [run(s, 1000, **v) for s in range(2) for v in ({}, values)]
  rows = cells(table(runs))
  assert len(rows) == 2
  for field, value in values.items():
    column = [row[field.replace("_", " ")] for row in rows]
    assert str(value) in column and len(set(column)) == 2


def test_table_of_tasks_has_chance_and_the_papers_claim():
  runs = [
    run(0, "cut", task="random_permutation", algorithm="msgd"),
    run(0, 2000, task="addition", max_length=200, max_norm=6.0),
    run(0, 2000, task="copy", init="smart_tanh"),
    run(0, 2000, task="copy", init="smart_tanh", solved_below=1e-4),
  ]
  addition, *copies, permutation = cells(tables.tasks(runs))
  key = "units, rate, threshold, weight"
  assert addition["length"] == "50 to 200"
  assert addition[key] == "50, 0.01, 6, 4"
  assert addition["paper, MSGD-CR"].startswith("5 of 5")
  assert [copy["paper, MSGD-CR"] for copy in copies] == ["not in it"] * 2
  assert [copy[key].partition("smart tanh")[2] for copy in copies] == [
    "",
    ", until under 0.01 %",
  ]
  assert permutation["method"] == "MSGD"
  assert permutation[key] == "50, 0.01"
  assert permutation["paper, MSGD-CR"] == "2 of 5"
  assert permutation["loss without input"] == "1.386"


def test_table_of_tasks_tells_what_is_not_the_papers():
  apart = {"readout_learning_rate": 10.0}
  runs = [run(i, 2000, **c) for i, c in enumerate([{}, apart])]
  runs.append(run(0, 2000, **apart, label_smoothing=0.1))
  runs.append(run(0, 2000, learning_rate_half_life=500))
  runs.append(run(0, 2000, start="a-b", start_speed=2.0))
  found = [
    r["units, rate, threshold, weight"] for r in cells(tables.tasks(runs))
  ]
  assert found == [
    "50, 0.01, 1, 4",
    "50, 0.01 halved every 500, 1, 4",
    "50, 0.01, 1, 4, readout apart at 10",
    "50, 0.01, 1, 4, readout apart at 10, labels smoothed by 0.1",
    "50, 0.01, 1, 4, going on from a, 2 times as fast",
  ]


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
  path = tmp_path_factory.mktemp("collected") / "sweep.json"
  runs = runs_of()
  named = {f"{i}": r | {"provenance": {}} for i, r in enumerate(runs)}
  records.write_json(path, gather.pack(named))
  return path


@pytest.mark.parametrize(
  "flags,said",
  [
    (("--figure=tasks",), "| temporal order | 100 | MSGD-CR |"),
    (("--figure=tasks", "--where=length=51"), "no run with length=51 among"),
    (("--figure=tasks", "--where=lenth=50"), "where must be field=value"),
    (("--figure=success_rate",), "out must be a file *.png, got None"),
  ],
)
def test_launcher(server, collected, flags, said):
  words = ("draw.py", *flags, f"--records={collected}")
  status, out, err, _ = server.launch(*words, cwd=collected.parent)
  assert (status == 0) == said.startswith("|")
  assert said in out + err and "Traceback" not in err


@pytest.mark.parametrize("figure", ["success_rate", "updates_to_solve"])
def test_pictures_are_written_and_small(server, collected, figure, tmp_path):
  out = tmp_path / "a.png"
  flags = (f"--figure={figure}", f"--records={collected}", f"--out={out}")
  status, _, err, _ = server.launch("draw.py", *flags, cwd=tmp_path)
  assert status == 0, err
  assert 10_000 < out.stat().st_size < 200_000


def test_fields_of_where_are_those_of_the_configuration():
  runs = {str(i): r for i, r in enumerate(runs_of())}
  assert len(gather.keep(runs, ["algorithm=msgd_cr", "length=50"])) == 6
  # MSGD looks at no threshold.
  assert len(gather.keep(runs, ["algorithm=msgd", "max_norm=6"])) == 3
  free = run(0, "cut", max_norm=float("inf"))
  assert gather.keep({"a": free}, ["max_norm=inf"]) == [free]
  runs = {name: r for name, r in runs.items() if "_cr" in str(r["config"])}
  for name in (f.name for f in dataclasses.fields(TaskConfig)):
    with pytest.raises(ValueError, match=f"{name} must be|no run with {name}"):
      gather.keep(runs, [f"{name}=987654"])


def test_rates_are_shares_of_solved_seeds(drawn):
  outcomes = {
    ("sgd", "msgd", 0.1): (500, 500, 750, "cut"),
    ("sgd", "msgd", 1.0): ("diverged",) * 4,
    ("sgd", "msgd_c", 0.1): ("cut", "cut", 750, "cut"),
    ("adam", "msgd_c", 0.001): (500, 500),
  }
  runs = [
    run(seed, outcome, optimizer=o, algorithm=a, learning_rate=r)
    for (o, a, r), seeds in outcomes.items()
    for seed, outcome in enumerate(seeds)
  ]
  left, right = drawn(rates.draw, runs).axes
  assert [axis.get_title() for axis in (left, right)] == ["SGD", "Adam"]
  plain, clipped = (bar.lines[0] for bar in left.containers)
  assert [*plain.get_ydata()] == [0.75, 0]
  assert [*clipped.get_ydata()] == [0.25]
  assert [float(x) for x in plain.get_xdata()] == pytest.approx([0.1, 1], 0.1)
  low, high = evaluation.wilson_interval(3, 4)
  (bars,) = left.containers[0].lines[2]
  np.testing.assert_allclose(
    np.array(bars.get_segments()[0], float)[:, 1], [low, high]
  )
  with pytest.raises(ValueError, match="differ in length"):
    rates.draw([*runs, run(0, 500, length=60)], "a.png")


def cost_rows():
  """Two sizes, all states kept and some."""
  rows = []
  for name, length, kept, some, ratio in (
    ("elman", 100, 2.0, 0.5, 2.0),
    ("lstm", 1000, 30.0, 3.0, 1.5),
  ):
    for again, mib, seconds in ((False, kept, 0.1), (True, some, 0.1 * ratio)):
      rows.append(
        {"model": name, "length": length, "omega": False, "checkpoint": again}
        | {"mib": mib, "seconds": [seconds] * 3, "units": 8, "parameters": 5}
      )
  return rows


def test_the_table_of_checkpointing_has_both_memories_and_their_ratios():
  table = costs.checkpointing([cost_rows()]).splitlines()
  assert table[2] == "| Elman | 100 | no | 2.0 | 0.5 | × 0.25 | × 2.0 |"
  assert table[3] == "| LSTM | 1000 | no | 30.0 | 3.0 | × 0.10 | × 1.5 |"
  assert len(table) == 4


def test_the_picture_of_checkpointing_has_a_line_for_each_memory(drawn):
  without, omega = drawn(costs.draw_checkpointing, [cost_rows()]).axes
  lines = {x.get_label(): [*x.get_ydata()] for x in without.lines}
  assert lines == {
    "Elman, all kept": [2.0],
    "Elman, some kept": [0.5],
    "LSTM, all kept": [30.0],
    "LSTM, some kept": [3.0],
  }
  assert not omega.lines


def test_the_table_of_networks_is_in_milliseconds():
  row = costs.networks([cost_rows()[:1]]).splitlines()[2]
  assert row == "| elman | 100 | 8 | 5 | 100.00 (100.00 to 100.00) | 2.00 |"


def test_a_dot_is_a_seed_that_solved_and_the_rest_are_counted(drawn):
  outcomes = {
    ("elman", 100): ("cut", 4000, "cut"),
    ("elman", 50): (500, 1000, 1500),
    ("lstm", 50): (250, 250, "diverged"),
  }
  runs = [
    run(seed, outcome, model=model, length=length, algorithm="msgd_c")
    for (model, length), seeds in outcomes.items()
    for seed, outcome in enumerate(seeds)
  ]
  short, long = drawn(solving.draw, runs).axes
  assert short.get_title(loc="right") == (
    "temporal order, 50 (chance: 75% wrong)"
  )
  assert long.get_title(loc="right").startswith("temporal order, 100 ")
  names = [text.get_text() for text in short.get_yticklabels()]
  assert [n.split(",")[0] for n in names] == ["LSTM", "Elman"]
  dots = [sorted(x.get_xdata()) for x in short.lines if x.get_marker() == "o"]
  assert dots == [[250, 250], [500, 1000, 1500]]
  same = next(
    x.get_ydata() for x in short.lines if list(x.get_xdata()) == [250] * 2
  )
  assert len(set(same)) == 2  # Apart, or one would hide the other.
  assert [t.get_text() for t in short.texts] == ["2 of 3", "3 of 3"]
  assert [t.get_text() for t in long.texts] == ["1 of 3"]


def test_a_field_is_as_dark_as_the_share_of_seeds_that_solved(drawn):
  outcomes = {
    ("elman", 100): ("cut", 4000, "cut"),
    ("elman", 50): (500, 1000, 1500),
    ("lstm", 50): ("cut", "cut", "diverged"),
  }
  runs = [
    run(seed, outcome, model=model, length=length, algorithm="msgd_c")
    for (model, length), seeds in outcomes.items()
    for seed, outcome in enumerate(seeds)
  ]
  (axis,) = drawn(matrix.draw, runs).axes
  shares = np.ma.filled(axis.images[0].get_array(), np.nan)
  np.testing.assert_array_equal(shares, [[1, 1 / 3], [0, np.nan]])
  said = {
    (int(t.get_position()[1]), int(t.get_position()[0])): t.get_text()
    for t in axis.texts
  }
  assert said == {
    (0, 0): "3/3\n1000", (0, 1): "1/3\n4000", (1, 0): "0/3", (1, 1): "–",
  }  # fmt: skip
  names = [t.get_text() for t in axis.get_xticklabels()]
  assert names[0] == "temporal order, 50\n(chance 75% wrong)"


def test_lengths_are_told_by_network(drawn):
  def tested(seed, model, errors):
    made = run(seed, 500, model=model, length=100, algorithm="msgd_c")
    lengths = [100, 200, 1000][: len(errors)]
    told = {"lengths": lengths, "size": 1000, "errors": errors}
    return made | {"generalisation": told}

  runs = [
    tested(0, "elman", [0.0, 0.3, 0.75]),
    tested(1, "elman", [0.005, 0.009, 0.5]),
    tested(0, "lstm", [0.02, 0.0]),
    run(2, "cut", model="lstm", length=100, algorithm="msgd_c"),
  ]
  (axis,) = drawn(matrix.draw_lengths, runs).axes
  said = {
    (int(t.get_position()[1]), int(t.get_position()[0])): t.get_text()
    for t in axis.texts
  }
  assert said == {
    (0, 0): "2/2\n0.2%", (0, 1): "1/2\n15.4%", (0, 2): "0/2\n62.5%",
    (1, 0): "0/1\n2.0%", (1, 1): "1/1\n0.0%", (1, 2): "–",
  }  # fmt: skip
  other = run(3, 500, length=50, algorithm="msgd_c")
  other["generalisation"] = runs[0]["generalisation"]
  for wrong in ([*runs, other], runs[3:]):
    with pytest.raises(ValueError, match="tested runs of one problem"):
      drawn(matrix.draw_lengths, wrong)
