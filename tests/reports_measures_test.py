"""`gradient_report`: positions, units, layers, norms; what a batch may be."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from steadygrad import GradientWatch, gradient_report, runs
from steadygrad.reports import (
  _advice,
  _batches,
  _jaxprs,
  _numbers,
  _ranges,
  _units,
)
from steadygrad.types import Batch

pytestmark = pytest.mark.usefixtures("quickly_compiled", "promotion")

T, B, N = 12, 4, 5
W = 0.7 * jnp.eye(N)
US = jax.random.normal(jax.random.key(0), (T, B, N))


def floats(*shape):
  return np.zeros(shape, np.float32)


def integers(*shape):
  return np.zeros(shape, np.int32)


@pytest.mark.parametrize(
  "batch, lengths, layers, wanted",
  [
    (floats(20, 4, 3), [20], False, [("batch", 0)]),
    (floats(4, 20, 3), [20], False, [("batch", 1)]),
    (floats(4, 21, 3), [20], False, [("batch", 1)]),  # Shifted by a step.
    (floats(20, 21, 3), [20], False, [("batch", 0)]),
    (floats(20, 20, 3), [20], False, "say time_axis="),
    (floats(20, 7, 3), [20, 7], False, "say time_axis="),
    (floats(4, 9, 3), [20], False, "say time_axis="),
    (floats(4, 9, 3), [], True, [("batch", 1)]),
    (floats(4, 9, 3), [], False, "say time_axis="),
    (floats(4, 20), [20], False, "no floating leaf of three axes"),
    (integers(4, 20, 3), [20], False, "integers have no gradient"),
    (
      {"x": floats(4, 20, 3), "y": integers(4, 20)},
      [20],
      False,
      [("batch['x']", 1)],
    ),
    (
      Batch(floats(20, 20, 3), floats(20, 20, 2)),
      [20],
      False,
      [("batch.us", 0)],
    ),
    (Batch(integers(20, 4, 3), floats(20, 4, 2)), [20], False, "no floating"),
  ],
)
def test_which_axis_of_a_batch_is_time(batch, lengths, layers, wanted):
  found, why = _batches.places(batch, lengths, layers, None)
  if isinstance(wanted, str):
    assert not found and wanted in why
  else:
    assert [(p.name, p.axis) for p in found] == wanted and not why


def test_the_time_axis_can_be_said():
  found, _ = _batches.places((floats(9, 9, 3), floats(4, 9)), [9], False, 1)
  assert [(p.leaf, p.axis) for p in found] == [(0, 1), (1, 1)]
  for axis in (2, -1):
    with pytest.raises(ValueError, match=f"time_axis must be .* got {axis}"):
      _batches.places(floats(9, 9), [9], False, axis)


def test_shares_of_units_by_hand():
  x = np.random.default_rng(0).uniform(-0.9, 0.9, (T, B, 8)).astype(np.float32)
  x[..., 0] = 0  # Dead, and so still.
  x[..., 1] = np.arange(B)[None] / 10  # Still: one number for each sequence.
  x[3, 2, 1] += 0  # As it was.
  x[1:, :, 2] = 0.5  # Moves once, after the first step.
  x[:, :, 3] = np.where(np.arange(T)[:, None] < 3, 0.991, 0.5)
  x[0, 0, 4] = -0.995
  found = _units.units(jnp.asarray(x), (-1.0, 1.0))
  assert found.still == pytest.approx(2 / 8)
  assert found.dead == pytest.approx(1 / 8)
  assert found.saturated == pytest.approx((3 * B + 1) / x.size)
  assert math.isnan(_units.units(jnp.asarray(x), None).saturated)
  outside = jnp.asarray(x).at[0, 0, 0].set(1.5)
  assert math.isnan(_units.units(outside, (-1.0, 1.0)).saturated)
  one = _units.units(jnp.asarray(x[:, 0]), (-1.0, 1.0))  # A sequence alone.
  assert one.still == pytest.approx(2 / 8)


SHARE = jax.nn.sigmoid
RANGES = {
  "tanh": (lambda x, u: jnp.tanh(x + u), (-1, 1)),
  "sigmoid": (lambda x, u: SHARE(x + u), (0, 1)),
  "product": (lambda x, u: SHARE(u) * jnp.tanh(x), (-1, 1)),
  "negative": (lambda x, u: -SHARE(x + u), (-1, 0)),
  "scaled": (lambda x, u: 3 * jnp.tanh(x + u) - 1, (-4, 2)),
  "gru": (lambda x, u: (1 - SHARE(u)) * jnp.tanh(x) + SHARE(u) * x, None),
  "gate": (lambda x, u: (z := SHARE(u)) * x + (1 - z) * jnp.tanh(u), (-1, 1)),
  "other": (lambda x, u: (n := jnp.tanh(u)) + SHARE(x) * (x - n), (-1, 1)),
  "leaky": (lambda x, u: 0.9 * x + 0.1 * jnp.tanh(x + u), (-1, 1)),
  "held": (lambda x, u: jnp.where(u > 0, jnp.tanh(u), x), (-1, 1)),
  "no share": (lambda x, u: u * x + (1 - u) * jnp.tanh(u), None),
  "beyond": (lambda x, u: (n := jnp.tanh(u)) + u * (x - n), None),
  "relu": (lambda x, u: jax.nn.relu(x + u), None),
  "residual": (lambda x, u: x + 0.1 * jnp.tanh(x + u), None),
  "linear": (lambda x, u: 0.9 * x + u, None),
  "decays": (lambda x, u: 0.9 * x, None),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_range_of_a_state(name):
  body, wanted = RANGES[name]
  step = lambda x, u: (body(x, u), None)
  run = lambda us: jax.lax.scan(step, jnp.zeros((B, N)), us)[0]
  program = _jaxprs.flattened(jax.make_jaxpr(run)(US))
  (eqn,) = [s.eqn for s in program.steps if _jaxprs.is_scan(s.eqn)]
  (found,) = _ranges.ranges(eqn)
  assert found == wanted


def test_saturated_and_dead_units_of_a_network():
  w = 2.0 * jax.random.normal(jax.random.key(1), (N, N))
  w = w.at[:, 0].set(0.0)

  def loss_fn(w, us):
    def step(c, u):
      x, y = c
      return (jnp.tanh(x @ w + u), jax.nn.relu(y @ w + u)), None

    (x, y), _ = jax.lax.scan(step, (jnp.zeros((B, N)),) * 2, us)
    return jnp.sum(x) + 1e-3 * jnp.sum(jnp.tanh(y))

  us = US.at[..., 0].set(-1.0)
  found = gradient_report(loss_fn, w, us)
  x, states = np.zeros((B, N)), []
  for u in np.asarray(us):
    states.append(x := np.tanh(x @ np.asarray(w, np.float64) + u))
  bounded, opened = found.layers
  share = float(np.mean(np.abs(states) > 0.99))
  assert 0.1 < share == pytest.approx(bounded.saturated)
  assert bounded.dead == 0 and bounded.still == pytest.approx(1 / N)
  assert opened.saturated is None
  assert opened.dead == opened.still == pytest.approx(1 / N)
  lines = str(found).splitlines()
  assert lines[3] == (
    "scan_0[0]: 20 % of its units never move;"
    f" {100 * share:.0f} % of its values are at an end of their range."
  )
  assert (
    lines[4] == "scan_0[1]: 20 % of its units never move (20 % are always 0)."
  )


def stacked(ws, x):
  return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]


def with_keys(ws, batch):
  def layer(x, given):
    w, key = given
    return x @ w + 0.0 * jax.random.normal(key, x.shape), None

  x, key = batch
  return jax.lax.scan(layer, x, (ws, jax.random.split(key, len(ws))))[0]


def over_time(w, us):
  return jax.lax.scan(lambda x, u: (x @ w + u, None), us[0], us)[0]


def of_a_closure(w, us):
  drive = US @ w  # Data that the function closes over.
  return jax.lax.scan(lambda x, u: (x + u, None), us[0], drive)[0]


def with_places(places, tokens):
  step = lambda x, row: (x + row[0] + row[1], None)
  return jax.lax.scan(step, jnp.zeros(B), (places, tokens))[0]


def without_rows(w, us):
  return jax.lax.fori_loop(0, 5, lambda i, x: x @ w, us[0])


@pytest.mark.parametrize(
  "fn, args, wanted",
  [
    (stacked, (jnp.stack([W] * 3), US[0]), True),
    (with_keys, (jnp.stack([W] * 3), (US[0], jax.random.key(0))), True),
    (with_keys, (jnp.stack([W] * 3), (US[0], jax.random.PRNGKey(0))), True),
    (over_time, (W, US), False),
    (of_a_closure, (W, US), False),
    (with_places, (jnp.ones(T), integers(T, B)), False),
    (without_rows, (W, US), False),
  ],
)
def test_a_scan_over_parameters_is_one_over_layers(fn, args, wanted):
  program = _jaxprs.flattened(jax.make_jaxpr(fn)(*args))
  leaves = len(jax.tree.leaves(args[0]))
  assert _jaxprs.over_layers(program, leaves) == [wanted]


def test_growth_by_layer():
  loss_fn = lambda ws, x: jnp.sum(stacked(ws, x))
  found = gradient_report(loss_fn, jnp.stack([0.5 * jnp.eye(N)] * 6), US[0])
  (layer,) = found.layers
  assert layer.over == "layer" and layer.verdict == "vanishes"
  assert layer.slope == pytest.approx(math.log(0.5), abs=1e-5)
  assert "x 0.5 a layer, VANISHES, half-life 1.0 layers" in str(found)
  assert found.advice == ("scan_0 halves its signal in 1.0 layers.",)


def test_norms_that_stand_out():
  usual = [1.0, 1.2] * 15
  mean, std = np.mean(usual), np.std(usual, ddof=1)
  assert _numbers.spikes([*usual, mean + 6.9 * std]) == []
  assert _numbers.spikes([*usual, mean + 7.1 * std, 1.0]) == [30]
  assert _numbers.spikes([*usual, 50.0, 50.0, math.inf]) == [30, 31, 32]
  assert _numbers.spikes([1.0] * 19 + [50.0]) == []  # Too few before it.
  assert _numbers.spikes([1.0] * 20 + [1.05, 1.08]) == [21]
  assert _numbers.spikes([math.nan, 1.0]) == [0]


def linear_loss(w, us):
  return jnp.sum(over_time(w, us))


class Foreign:
  """An array of another library."""

  def __init__(self, x):
    self.x = x

  def __array__(self, dtype=None, copy=None):
    return np.asarray(self.x, dtype)


class Loader:
  """What can be gone through again and again, and is no iterator."""

  def __iter__(self):
    return (Foreign(US * (1000 if i == 25 else 1 + i / 99)) for i in range(30))


def test_a_loader_of_data_and_its_spike(tmp_path):
  found = gradient_report(linear_loss, W, Loader())
  assert len(found.norms) == 30 and found.spikes == (25,)
  usual = np.delete(found.norms, 25)
  assert found.max_norm == pytest.approx(usual.mean())
  assert found.threshold.role == "guard"
  share = f"{100 * np.mean(usual > usual.mean()):.0f} %"
  said = str(found)
  assert "1 stands out (batch 25)" in said
  assert f"a guard: it rescales {share} of the others" in said
  told = found.to_json()
  assert told["spikes"] == [25] and told["role"] == "guard"
  found.save(tmp_path / "report.html")
  assert "a guard: it rescales" in (tmp_path / "report.html").read_text()


def test_a_list_is_one_batch():
  with pytest.raises(ValueError, match=r"a list is taken for one batch.*iter"):
    gradient_report(linear_loss, W, [US, US, US])
  with pytest.raises(ValueError, match="got the function .*; call it"):
    gradient_report(linear_loss, W, lambda: iter([US]))
  own = lambda w, both: linear_loss(w, both[0] + both[1])
  assert len(gradient_report(own, W, [US, US]).norms) == 1


def mapped(w, us):
  return jnp.sum(jax.lax.map(lambda own: over_time(w, own), us[:, :, None]))


def in_parts(w, us):
  def add(total, own):
    return total + jnp.sum(over_time(w, own)), None

  return jax.lax.scan(add, 0.0, us[:, :, None])[0]


@pytest.mark.parametrize("loss_fn", [mapped, in_parts])
def test_a_recursion_within_a_map_is_named(loss_fn):
  """Of what is mapped over, each of T parts has a sequence of B steps."""
  with pytest.raises(ValueError, match="of 12 steps carries no floating state"):
    gradient_report(loss_fn, W, US)
  both = lambda w, us: loss_fn(w, us) + linear_loss(w, us)
  found = gradient_report(both, W, US)
  (layer,) = found.layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-3)
  assert "which is not reported: use jax.vmap there" in str(found)


@pytest.mark.parametrize(
  "cell, layer, at, gate",
  [
    (nnx.GRUCell, "dense_i", slice(5, 10), "GRU"),
    (nnx.OptimizedLSTMCell, "dense_h", slice(5, 10), "LSTM"),
    (nnx.LSTMCell, "hf", slice(None), "LSTM"),
    (nnx.SimpleCell, "dense_i", slice(None), None),
  ],
)
def test_the_gates_of_nnx(cell, layer, at, gate):
  module = cell(3, 5, rngs=nnx.Rngs(0))
  bias = getattr(module, layer).bias
  bias[...] = jnp.zeros(bias.shape).at[at].set(3.0)
  found = _advice._biases(nnx.split(module, nnx.Param, ...)[1:])
  assert [name for name, _ in found] == ([gate] if gate else [])
  for _, leaf in found:
    np.testing.assert_array_equal(leaf, np.full(5, 3.0))
  # Its state moves by little where the gate keeps it.
  if gate:
    ones, lstm = jnp.ones((2, 5)), gate == "LSTM"
    first = (ones, 0 * ones) if lstm else ones
    after = module(first, jnp.zeros((2, 3)))[0]
    assert float((after[0] if lstm else after).min()) > 0.75


def test_a_watch_of_runs_reports_from_each_multiple_on():
  loss_fn = lambda params, us: linear_loss(params["w"], us)
  watch = GradientWatch(loss_fn, every=10)
  hook = watch.on_check(US)
  for step in (4, 8, 12, 16, 24, 28, 44):
    for run, factor in (("a", 1.0), ("b", 1.3)):
      check = runs.Check(
        {"run": run, "update": step}, {"w": np.asarray(factor * W)}
      )
      hook(check)
  wanted = [(run, step) for step in (12, 24, 44) for run in "ab"]
  assert [*watch.reports] == wanted
  for (run, _), found in watch.reports.items():
    factor = 0.7 if run == "a" else 0.7 * 1.3
    assert found.layers[0].slope == pytest.approx(math.log(factor), abs=1e-3)
  hook(runs.Check({"run": "c", "epoch": 10}, {"w": W}))
  assert ("c", 10) in watch.reports
  with pytest.raises(ValueError, match="batch must be one batch"):
    watch.on_check(iter([US]))
