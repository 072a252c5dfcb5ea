"""Table 1, samples and error signals, from small runs."""

import sys
import types

import jax
import numpy as np
import pytest

from steadygrad import records, runs, training
from steadygrad.evaluations import lengths, midi, samples, signals
from steadygrad.figures import learning_curves, piano_roll, table1
from steadygrad.figures import signals as signals_figure
from steadygrad.plots import corpus as corpus_figure
from steadygrad.programs import presets
from steadygrad.runs import corpora, sweeps
from steadygrad.runs.names import run_name
from steadygrad.training.config import CorpusConfig
from tests import corpora_cases

pytestmark = pytest.mark.usefixtures("quickly_compiled")

LARGER_THAN_EMPTY = 8_000  # Bytes of a picture with something in it.
# float32 against float64 over 8 steps of 5 units.
FLOAT32 = 1e-4
PAPER = presets.paper


def record(
  data="nottingham", algorithm="msgd_c", first_seed=0, model="elman",
  optimizer="sgd", init="orthogonal", **results,
):  # fmt: skip
  seeds = len(next(iter(results.values()))) if results else 2
  floors = {k: 5.0 for k in ("train", "test", "valid")}
  floors |= {f"{k}_per_piece": 5.5 for k in ("train", "test")}
  config = {"data": data, "model": model, "algorithm": algorithm}
  config |= {"first_seed": first_seed, "seeds": seeds}
  config |= dict.fromkeys(
    ("hidden_size", "init", "optimizer", "batch_size", "learning_rate",
     "max_norm", "omega_weight", "omega_decay", "go_back"), "x",
  ) | {"optimizer": optimizer, "init": init}  # fmt: skip
  rate = presets.paper(data, algorithm)["learning_rate"]
  config["learning_rate"] = rate
  default = {"train": [3.0, 3.2], "test": [3.5, 3.7], "valid": [3.4, 3.6]}
  default |= {"test_per_piece": [4.0, 4.0], "epochs": [9, 9]}
  default |= {"best_epoch": [3, 4], "status": ["stopped"] * seeds}
  made = default | {"parameters": 7, "floors": {"first_order": floors}}
  return {"kind": "corpus", "config": config, "results": made | results}


def markdown(found):
  return table1.markdown(found, paper=PAPER)


def row(text, start):
  (found,) = [x for x in text.splitlines() if x.startswith(start)]
  return [word.strip() for word in found.strip("|").split("|")]


def test_table_1_puts_the_papers_numbers_beside_ours():
  text = markdown([record(), record(algorithm="msgd_cr")])
  words = row(text, "| Nottingham | test |")
  ours = "3.60 ± 0.14 (2)"
  assert words[2:8] == ["3.80", "–", "3.48", ours, "3.36", ours]
  assert words[8:] == ["3.43", "2.31", "5.00"]
  words = row(text, "| Nottingham | test, mean of pieces |")
  assert words[2:6] == ["–", "–", "–", "4.00 ± 0.00 (2)"]


def test_records_of_other_seeds_are_put_together():
  text = markdown([record(), record(first_seed=2, test=[3.0, 3.0])])
  words = row(text, "| Nottingham | test |")
  assert words[5] == "3.30 ± 0.36 (4)"


def test_text_that_was_trained_longer_or_at_another_rate_stands_apart():
  preset = presets.paper("ptb", "msgd_cr")
  names = ("learning_rate", "max_epochs", "min_gain")
  usual = {name: preset[name] for name in names}
  others = ({}, {"max_epochs": 90, "min_gain": 0.001}, {"learning_rate": 0.25})
  others += ({"average": 0.01},)
  runs = [
    record("ptb", "msgd_cr", init=preset["init"], test=[error])
    for error in (1.0, 0.5, 0.25, 0.125)
  ]
  for run, other in zip(runs, others, strict=True):
    run["config"] |= usual | other
  text = markdown(runs)
  words = row(text, "| Penn Treebank, next character | test |")
  assert words[7] == "1.000 (1)"
  start = (
    "| Penn Treebank, next character | the paper's network, SGD, clipped, Ω"
  )
  start += f", from {preset['init']}, "
  longer = start + "up to 90 passes, rate halved under a gain of 0.1% |"
  assert row(text, longer)[-1] == "0.500 (1)"
  assert row(text, start + "rate 0.25 |")[-1] == "0.250 (1)"
  averaged = start + "weights averaged by 0.01 an update |"
  assert row(text, averaged)[-1] == "0.125 (1)"


def test_other_networks_and_optimisers_stand_apart_from_the_papers():
  others = [
    record(optimizer="adam", test=[3.0, 3.0]),
    record(init="sigmoid", test=[2.0, 2.0]),
    record(model="lstm", optimizer="adam", algorithm="msgd_cr"),
  ]
  text = markdown([record(), *others])
  assert row(text, "| Nottingham | test |")[5] == "3.60 ± 0.14 (2)"
  words = row(
    text, "| Nottingham | the paper's network, Adam, clipped, from orthogonal |"
  )
  assert words[2:] == [
    "7",
    "3.10 ± 0.14 (2)",
    "3.50 ± 0.14 (2)",
    "3.00 ± 0.00 (2)",
  ]
  assert (
    row(text, "| Nottingham | LSTM, Adam, clipped, Ω, from orthogonal |")[5]
    == "3.60 ± 0.14 (2)"
  )
  words = row(
    text, "| Nottingham | the paper's network, SGD, clipped, from sigmoid |"
  )
  assert words[5] == "2.00 ± 0.00 (2)"
  assert "the paper's network" not in markdown([record()])


def test_learning_curves_end_and_are_marked_where_their_seeds_were(
  tmp_path, monkeypatch
):
  """The lines of the picture itself, with a seed that ended earlier."""
  kept = []
  monkeypatch.setattr(
    learning_curves.style, "save", lambda figure, path: kept.append(figure)
  )
  curves = {"epoch": [1, 2, 3], "valid": [[5, 4], [3.5, 3.6], ["nan", 3.4]]}
  made = record(best_epoch=[2, 3]) | {"curves": curves}
  made["results"]["unit"] = "nats per step"
  learning_curves.draw([made], tmp_path / "c.png", paper=PAPER)
  (axis, *_) = kept[0].axes
  assert axis.get_title() == "Nottingham"
  lines = [line.get_xydata().tolist() for line in axis.lines]
  assert lines[1] == [[2, 3.5]] and lines[3] == [[3, 3.4]]
  assert lines[2] == [[1, 4], [2, 3.6], [3, 3.4]]
  np.testing.assert_array_equal(lines[0], [[1, 5], [2, 3.5], [3, np.nan]])
  low, high = axis.get_ylim()
  assert low < 3.4 and high > 3.5
  with pytest.raises(ValueError, match="paper's network"):
    learning_curves.draw(
      [record(model="lstm")], tmp_path / "c.png", paper=PAPER
    )


def test_the_same_seed_twice_is_refused():
  with pytest.raises(ValueError, match="same seed twice"):
    markdown([record(), record(test=[3.0, 3.0])])
  other = record(first_seed=2)
  other["config"]["batch_size"] = "y"
  with pytest.raises(ValueError, match="msgd_c differ in batch_size"):
    markdown([record(), other])


def test_divergence_stands_in_the_table():
  text = markdown([record(test=["nan", 3.5])])
  assert row(text, "| Nottingham | test |")[5] == "3.50 (1, 1 diverged)"
  text = markdown([record(test=["nan", "nan"])])
  assert row(text, "| Nottingham | test |")[5] == "diverged (2)"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  directory = tmp_path_factory.mktemp("data")
  corpora_cases.small_music(directory / "JSB_Chorales.mat")
  corpora_cases.small_text(directory)
  return directory


def trained(data, data_dir, run_dir, **changes):
  config = CorpusConfig(
    data=data, hidden_size=5, chunk_length=8, max_epochs=2, batch_size=2,
    eval_lanes=2, **changes,
  )  # fmt: skip
  load = corpora.loader(data_dir, check=False)
  runs.train(config, run_dir, corpora=load, progress=False)
  return str(run_dir)


@pytest.fixture
def given(data_dir, tmp_path):
  """Where the data are, and where a test writes."""
  out = str(tmp_path / "out")
  return {"out": out, "data_dir": str(data_dir), "check_data": False}


def test_signals_and_samples_of_music(given, data_dir, tmp_path, monkeypatch):
  run = trained("jsb", data_dir, tmp_path / "run")
  saved = []
  monkeypatch.setattr(midi, "write", lambda roll, path: saved.append(roll))
  said = signals.evaluate([run], lags=8, windows=3, **given)
  made = records.read_json(tmp_path / "out" / "jsb-signals.json")
  assert said == made["results"]
  assert made["curves"].keys() == {"elman-msgd_cr"}
  for low, middle, high in made["curves"].values():
    assert len(middle) == 8 and low[0] == middle[0] == high[0] == 1
    assert np.all(np.array(low) <= middle) and np.all(np.array(middle) <= high)
  assert (tmp_path / "out" / "jsb-signals.png").exists()
  said = samples.evaluate([run], sample=30, **given)
  names = ["jsb-elman-msgd_cr.png", "jsb-elman-msgd_cr.mid"]
  assert said == {"files": {"elman-msgd_cr": names}}
  assert (tmp_path / "out" / names[0]).stat().st_size > LARGER_THAN_EMPTY
  assert saved[0].shape == (30, 88) and set(np.unique(saved[0])) <= {0, 1}
  picture = tmp_path / "again.png"
  corpus_figure.draw(records.read_json(f"{run}/record.json"), picture)
  assert picture.stat().st_size > LARGER_THAN_EMPTY


def test_signals_and_samples_of_text(given, data_dir, tmp_path):
  run = trained("ptb", data_dir, tmp_path / "run", use_bias=False)
  made = records.read_json(f"{run}/record.json")["results"]
  assert made["unit"] == "bits per character" and "test_per_piece" not in made
  assert 0 < made["test"][0] < 8
  signals.evaluate([run], lags=8, windows=3, **given)
  said = samples.evaluate([run], sample=30, **given)
  assert said == {"files": {"elman-msgd_cr": ["ptb-elman-msgd_cr.txt"]}}
  text = (tmp_path / "out" / "ptb-elman-msgd_cr.txt").read_text()
  assert len(text) == 31
  for evaluate in (signals.evaluate, samples.evaluate):
    with pytest.raises(ValueError, match="got two of elman-msgd_cr"):
      evaluate([run, run], **given)
    with pytest.raises(ValueError, match="must have ended.*record.json"):
      evaluate([str(tmp_path)], **given)
  with pytest.raises(ValueError, match="must be of train.py or sweep.py.*run"):
    lengths.check(run, [50], 10)
  config = runs.load(run).config
  state = sweeps.state_path(run, run_name(config))
  for path in (state, tmp_path / "run" / "record.json"):
    name = path.name
    whole = path.read_bytes()
    for data in (whole.replace(b"1", b"3", 1), whole[:-9], b"[]", b"{}"):
      path.write_bytes(data)
      with pytest.raises(ValueError, match=name):
        runs.load(run)
    path.write_bytes(whole)
  runs.load(run)


def test_error_signals_are_the_products_of_jacobians(data_dir, tmp_path):
  """|dE_t/dx_k| of a sigmoid network, by the chain rule in float64."""
  config = CorpusConfig(data="jsb", hidden_size=5, init="basic_tanh")
  corpus = corpora.load(config, data_dir, check=False)
  exp = training.experiment(config, corpus=corpus)
  params = exp.model.init(jax.random.key(0))
  got = signals.error_signals(exp, params, corpus, 8, 1)
  cell, readout = ({k: np.float64(v) for k, v in params[p].items()}
                   for p in ("cell", "readout"))  # fmt: skip
  stream, h, hs = corpus.streams["test"], np.zeros(5), []
  begin = signals.begins(corpus, 8, 1)[0]
  for t in range(8):
    pre = h @ cell["w_rec"] + stream.rows[begin + t] @ cell["w_in"] + cell["b"]
    hs.append(h := 1 / (1 + np.exp(-pre)))
  p = 1 / (1 + np.exp(-(h @ readout["w_out"] + readout["b_out"])))
  delta = (p - stream.rows[begin + 8]) @ readout["w_out"].T
  norms = [np.linalg.norm(delta)]
  for h in hs[:0:-1]:
    delta = (delta * h * (1 - h)) @ cell["w_rec"].T
    norms.append(np.linalg.norm(delta))
  np.testing.assert_allclose(got[:, 0], norms / norms[0], rtol=FLOAT32)


class Message(types.SimpleNamespace):
  def __init__(self, kind, **values):
    super().__init__(kind=kind, **values)


class File:
  last = None

  def __init__(self, **options):
    self.options, self.tracks = options, []
    File.last = self

  def save(self, path):
    self.path = path


def test_midi_holds_each_note_from_its_start_to_its_end(monkeypatch):
  """By a stand-in for mido; the real one is an extra."""
  fake = types.SimpleNamespace(MidiTrack=list, Message=Message, MidiFile=File)
  monkeypatch.setitem(sys.modules, "mido", fake)
  roll = np.zeros((4, 88), np.uint8)
  roll[0:2, 39] = roll[3, 0] = 1
  midi.write(roll, "a.mid")
  events, now = [], 0
  for message in File.last.tracks[0]:
    now += message.time
    events.append((now // midi.TICKS_PER_STEP, message.kind, message.note))
  assert events == [
    (0, "note_on", 60), (2, "note_off", 60), (3, "note_on", 21),
    (4, "note_off", 21),
  ]  # fmt: skip


def test_midi_without_mido_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "mido", None)
  with pytest.raises(ValueError, match=r"a.mid needs mido.*\[music\]"):
    midi.write(np.zeros((2, 88), np.uint8), "a.mid")


def test_midi_by_mido_itself(tmp_path):
  mido = pytest.importorskip("mido")
  roll = np.zeros((4, 88), np.uint8)
  roll[1:3, 39] = 1
  midi.write(roll, tmp_path / "a.mid")
  notes = [m for m in mido.MidiFile(tmp_path / "a.mid") if not m.is_meta]
  assert [(m.type, m.note, m.time) for m in notes] == [
    ("note_on", 60, 0.25), ("note_off", 60, 0.5),
  ]  # fmt: skip


def test_pictures_of_silence_and_of_vanished_signals(tmp_path):
  silence = np.zeros((5, 88), np.uint8)
  real = silence.copy()
  real[2, 40] = 1
  piano_roll.draw(silence, real, tmp_path / "roll.png")
  curves = {"elman-msgd": [[1, 0], [1, 0], [1, 1e-30]]}
  signals_figure.draw({"data": "jsb", "curves": curves}, tmp_path / "s.png")
  for name in ("roll.png", "s.png"):
    assert (tmp_path / name).stat().st_size > LARGER_THAN_EMPTY
