"""`gradient_report` of the gallery: models as people write them."""

import functools
import importlib
import math

import jax
import numpy as np
import pytest

from steadygrad import gradient_report
from tests.gallery import lru_block, scanned_transformer


@pytest.fixture(autouse=True)
def usual_modes(quickly_compiled, promotion):
  """Other people's code promotes shapes and types."""
  with jax.numpy_rank_promotion("allow"):
    yield


@functools.cache
def report_of(name):
  made = importlib.import_module(f"tests.gallery.{name}").make()
  return gradient_report(*made), made


def leaves_of(name, count=2):
  return [f"{name}[{i}]" for i in range(count)]


GALLERY = {  # Layers and verdicts; names of inputs, or why there are none.
  "flax_seq2seq": (
    leaves_of("Seq2Seq/encoder") + leaves_of("Seq2Seq/decoder"),
    {"vanishes"},
    ["batch[0]", "batch[1]"],
  ),
  "flax_char_rnn": (["CharRNN/RNN_0"], {"vanishes"}, "integers have no"),
  "nnx_rnn": (["scan_0", *leaves_of("scan_1")], {"vanishes"}, ["batch[0]"]),
  "equinox_rnn": (["scan_0"], {"vanishes"}, ["batch"]),
  "haiku_lstm": (leaves_of("scan_0"), {"vanishes"}, ["batch"]),
  "lru_block": (["scan_0"], {"vanishes"}, ["batch"]),
  "scanned_transformer": (["Transformer"], {"keeps"}, ["batch"]),
  "bidirectional_lstm": (
    leaves_of("Tagger/Bidirectional_0/RNN_1")
    + leaves_of("Tagger/Bidirectional_0/RNN_0"),
    {"vanishes"},
    ["batch['x']"],
  ),
  "gru_dropout": (
    [f"Stack/RNN_{i}" for i in range(3)], {"vanishes"}, ["batch['x']"],
  ),
  "plain_jax": (["scan_0"], {"vanishes"}, ["batch[0]"]),
}  # fmt: skip
EXTRA = {"haiku_lstm": "haiku", "equinox_rnn": "equinox"}  # No dependencies.
GATES = {
  "flax_seq2seq": {"LSTM"},
  "flax_char_rnn": {"GRU"},
  "nnx_rnn": {"GRU", "LSTM"},
  "bidirectional_lstm": {"LSTM"},
  "gru_dropout": {"GRU"},
}


@pytest.mark.parametrize("name", GALLERY)
def test_a_model_of_the_gallery(name):
  if name in EXTRA:
    pytest.importorskip(EXTRA[name])
  layers, verdicts, inputs = GALLERY[name]
  found, _ = report_of(name)
  assert [layer.name for layer in found.layers] == layers
  assert {layer.verdict for layer in found.layers} == verdicts
  for layer in found.layers:
    assert math.isfinite(layer.slope) and math.isfinite(layer.stderr)
    assert math.isfinite(layer.exponent) and layer.still == 0
    assert layer.over == ("layer" if "transformer" in name else "step")
  if isinstance(inputs, str):
    assert not found.inputs and inputs in found.notes[0]
  else:
    assert [one.name for one in found.inputs] == inputs and not found.notes
    assert all((one.signal > 0).all() for one in found.inputs)
  gates = {
    gate
    for gate in ("GRU", "LSTM")
    if any(f"of the {gate}'s gate" in line for line in found.advice)
  }
  assert gates == GATES.get(name, set())


def test_a_causal_transformer_against_its_gradient():
  """The growth by layer against a loop of layers in Python."""
  found, (loss_fn, params, x) = report_of("scanned_transformer")
  (layer,), (one,) = found.layers, found.inputs
  wanted = np.linalg.norm(jax.jit(jax.grad(loss_fn, 1))(params, x), axis=-1)
  np.testing.assert_allclose(one.signal, wanted.mean(0), rtol=1e-4)
  own = params["params"]

  @jax.jit
  def by_layers(x):  # dE/d(state) after each layer, from the last one on.
    states = [x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]]
    pulls = []
    for i in range(scanned_transformer.LAYERS):
      block = {"params": jax.tree.map(lambda p, i=i: p[i], own["blocks"])}
      step = lambda x, p=block: scanned_transformer.Block().apply(p, x, None)[0]
      after, pull = jax.vjp(step, states[-1])
      states.append(after)
      pulls.append(pull)

    def head(x):
      out = x[:, -1] @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"]
      return (out**2).mean()

    signals = [jax.grad(head)(states[-1])]
    for pull in pulls[:0:-1]:
      signals += pull(signals[-1])
    return signals

  norms = np.linalg.norm(np.stack(by_layers(x)), axis=(2, 3))
  np.testing.assert_allclose(layer.carried, norms.mean(1), rtol=1e-3)


def test_inputs_by_position_are_their_gradient():
  found, (loss_fn, params, batch) = report_of("plain_jax")
  (one,) = found.inputs
  gradient = jax.jit(jax.grad(loss_fn, 1))(params, batch)[0]
  wanted = np.linalg.norm(gradient, axis=-1).mean(1)
  assert (one.name, one.axis) == ("batch[0]", 0)
  np.testing.assert_allclose(one.signal, wanted, rtol=1e-4)
  (told,) = found.to_json()["inputs"]
  assert told["name"] == "batch[0]" and len(told["signal"]) == len(wanted)
  assert f"norm of dE/d(batch[0]): {one.signal[0]:.1e} at" in str(found)


def test_without_a_scan_the_inputs_remain(tmp_path):
  by_scan, _ = report_of("lru_block")
  other = lru_block.make(lru_block.by_associative_scan)
  found = gradient_report(*other, time_axis=0)
  assert not found.layers and "There is no scan with a state" in str(found)
  np.testing.assert_allclose(
    found.inputs[0].signal, by_scan.inputs[0].signal, rtol=1e-4
  )
  found.save(tmp_path / "report.html")
  assert "no verdict" in (tmp_path / "report.html").read_text()
  with pytest.raises(ValueError, match="hold a scan .* with time_axis="):
    gradient_report(*other)
