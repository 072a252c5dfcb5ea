"""`gradient_report`: what it finds in models that nobody wrote for it."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from steadygrad import GradientWatch, adjoints, cells, gradient_report, models
from steadygrad.reports import _numbers, _taps
from steadygrad.tasks import temporal_order

pytestmark = pytest.mark.usefixtures("quickly_compiled", "promotion")

T, B, M, N = 30, 6, 6, 8
TASK = temporal_order(length=T)


@functools.cache
def batch(size=B):
  return TASK.sample(jax.random.key(1), size)


def made(cell, **options):
  return models.recurrent(
    cell, models.linear_readout(N, TASK.output_size, **options)
  )


CELLS = {
  "elman_x": lambda: cells.elman(M, N),
  "elman_h": lambda: cells.elman(M, N, form="h"),
  "gru": lambda: cells.gru(M, N),
  "lstm": lambda: cells.lstm(M, N),
  "leaky": lambda: cells.leaky(M, N),
  "lru": lambda: cells.lru(M, N),
  "stack": lambda: cells.stack([cells.lstm(M, N), cells.gru(N, N)]),
}


RAGGED = (30, 12, 1, 0, 30, 29)


@pytest.mark.parametrize(
  "name, lengths",
  [*((name, None) for name in CELLS), ("gru", RAGGED), ("elman_x", RAGGED)],
)
def test_total_signals_are_the_adjoints(name, lengths):
  model = made(CELLS[name]())
  params = model.init(jax.random.key(0))
  given = batch()._replace(
    lengths=None if lengths is None else jnp.asarray(lengths)
  )

  def loss_fn(params, given):
    return TASK.loss(model.apply(params, given.us, given.lengths), given)

  _, total, _, *_ = _taps.gradients(loss_fn, params, given)
  _, _, seen = jax.jit(adjoints(model, TASK.loss))(params, given)
  wanted = jax.tree.leaves(seen.deltas)
  mask = np.ones((T, B), bool) if seen.mask is None else np.asarray(seen.mask)
  for got, leaf in zip(total[0].own, wanted, strict=True):
    # Beyond a length a scan hands its state on; the adjoints end there.
    got = np.asarray(got) * mask[..., None]
    largest = float(np.abs(leaf).max())
    # At its last step a held state has the signals of all that hold it.
    if lengths is None:
      np.testing.assert_allclose(got, leaf, rtol=1e-5, atol=1e-6 * largest)
    else:
      before = mask & np.roll(mask, -1, 0)
      before[-1] = False
      np.testing.assert_allclose(
        got[before], np.asarray(leaf)[before], rtol=1e-5, atol=1e-6 * largest
      )


@pytest.mark.parametrize("name", CELLS)
def test_of_a_loss_on_the_last_step_what_is_carried_is_all(name):
  model = made(CELLS[name]())
  params = model.init(jax.random.key(0))
  loss_fn = lambda p, b: TASK.loss(model.apply(p, b.us), b)
  _, total, carried, *_ = _taps.gradients(loss_fn, params, batch())
  for one, other in zip(
    jax.tree.leaves(total), jax.tree.leaves(carried), strict=True
  ):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-9)


def test_of_a_loss_on_every_step_the_last_steps_error_is_carried():
  model = made(CELLS["gru"](), reads="every")
  params = model.init(jax.random.key(0))
  targets = jnp.zeros((T, B), jnp.int32)

  def loss_fn(params, us, weights):
    logits = model.apply(params, us)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses * weights[:, None])

  us = batch().us
  _, total, carried, *_ = _taps.gradients(loss_fn, params, us, jnp.ones(T))
  last = jnp.zeros(T).at[-1].set(1.0)
  _, alone, _, *_ = _taps.gradients(loss_fn, params, us, last)
  np.testing.assert_allclose(
    carried[0].own[0], alone[0].own[0], rtol=1e-3, atol=1e-9
  )
  assert np.abs(total[0].own[0][0]).max() > 5 * np.abs(alone[0].own[0][0]).max()


@pytest.mark.parametrize("tenths", range(50, 151))
def test_a_linear_network_has_the_slope_of_its_factor(tenths):
  """W = c I: slope ln c, and the verdict of a bound ln 2 over T - 1 steps."""
  c = tenths / 100

  def norms(steps):
    return np.repeat((c ** np.arange(steps))[:, None], 4, 1)

  found = _numbers.layer("w", norms(60), norms(60), 0.0)
  assert found.slope == pytest.approx(math.log(c), abs=1e-9)
  bound = math.log(2) / 59
  wanted = "keeps" if abs(math.log(c)) <= bound else "vanishes"
  if math.log(c) > bound:
    wanted = "explodes"
  assert found.verdict == wanted
  if wanted == "vanishes":
    assert found.half_life == pytest.approx(math.log(2) / -math.log(c))


@functools.cache
def linear_report():
  def loss_fn(w, us):
    step = lambda x, u: (x @ w + u, None)
    return jnp.sum(jax.lax.scan(step, jnp.zeros((B, N)), us)[0] ** 2)

  watch = GradientWatch(loss_fn, 1)
  return lambda c: watch(
    0, c * jnp.eye(N), jax.random.normal(jax.random.key(0), (60, B, N))
  )


@pytest.mark.parametrize(
  "c", [0.5, 0.9, 0.985, 0.99, 1.0, 1.01, 1.015, 1.1, 1.5]
)
def test_a_linear_network_through_the_whole_report(c):
  (layer,) = linear_report()(c).layers
  assert layer.exponent == pytest.approx(math.log(c), abs=1e-4)
  assert layer.slope == pytest.approx(math.log(c), abs=1e-4)
  inside = abs(math.log(c)) <= math.log(2) / 59
  wanted = "keeps" if inside else ("explodes" if c > 1 else "vanishes")
  assert layer.verdict == wanted


def report_of(cell, length, size=16, units=32):
  task = temporal_order(length=length)
  model = models.recurrent(cell, models.linear_readout(units, 4))
  params = model.init(jax.random.key(0))
  given = task.sample(jax.random.key(1), size)
  return gradient_report(model, params, given, loss=task.loss)


def test_a_gru_without_a_bias_vanishes_and_the_bias_is_named():
  found = report_of(cells.gru(M, 32, forget_bias=0.0), 200)
  (layer,) = found.layers
  assert layer.verdict == "vanishes" and 1.5 < layer.half_life < 4
  assert layer.reach is not None and layer.reach < 100
  assert any(
    "GRU" in line and "is 0 in the mean" in line for line in found.advice
  )
  better = report_of(cells.gru(M, 32, forget_bias=3.0), 200)
  assert better.layers[0].half_life > 4 * layer.half_life
  assert not any("bias" in line for line in better.advice)


def test_a_residual_connection_explodes_and_a_leak_keeps_for_its_time():
  (grown,) = report_of(cells.residual(M, 32), 200).layers
  assert grown.verdict == "explodes" and grown.margin > 1
  (leaky,) = report_of(cells.leaky(M, 32), 11).layers
  assert leaky.verdict == "keeps"
  assert report_of(cells.leaky(M, 32), 200).layers[0].half_life > 15


W = 0.7 * jnp.eye(N)


def scanned(body, w=W):
  def loss_fn(w, us):
    step = lambda x, u: (body(w, x, u), None)
    return jnp.sum(jax.lax.scan(step, jnp.ones((B, N)), us)[0])

  return loss_fn, w, jnp.ones((20, B, N))


@pytest.mark.parametrize(
  "body",
  [
    lambda w, x, u: x @ w + u,
    jax.checkpoint(lambda w, x, u: x @ w + u),
    jax.jit(lambda w, x, u: x @ w + u),
    lambda w, x, u: jax.nn.relu(x @ w + u),
  ],
  ids=["plain", "remat", "jit", "custom_jvp"],
)
def test_calls_inside_a_body(body):
  (layer,) = gradient_report(*scanned(body)).layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)


def test_remat_around_a_scan():
  loss_fn, w, x = scanned(lambda w, x, u: x @ w + u)
  (layer,) = gradient_report(jax.checkpoint(loss_fn), w, x).layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)


def test_a_reversed_scan_is_told_from_its_own_end():
  def loss_fn(w, us):
    step = lambda x, u: (x @ w + u, None)
    x, _ = jax.lax.scan(step, jnp.zeros((B, N)), us, reverse=True)
    return jnp.sum(x)

  (layer,) = gradient_report(loss_fn, W, jnp.ones((20, B, N))).layers
  assert layer.name == "scan_0 backward"
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)


def test_a_network_of_two_directions_has_a_side_that_is_not_read():
  def loss_fn(w, us):
    step = lambda x, u: ((x := x @ w + u), x)
    both = [
      jax.lax.scan(step, jnp.zeros((B, N)), us, reverse=reverse)[1]
      for reverse in (False, True)
    ]
    return jnp.sum(both[0][-1] + both[1][-1])

  found = gradient_report(loss_fn, W, jnp.ones((20, B, N)))
  forth, back = found.layers
  assert forth.verdict == "vanishes"
  # It ends at the first step, and the loss reads the last.
  assert back.verdict == "unread" and math.isnan(back.slope)
  assert "scan_1 backward  the loss does not read its last step" in str(found)


def test_scans_in_a_scan():
  """Layers in a scan, each with a scan over time in its body."""

  def loss_fn(ws, us):
    def layer(ys, w):
      step = lambda x, y: ((z := x @ w + y), z)
      return jax.lax.scan(step, jnp.zeros((B, N)), ys)[1], None

    return jnp.sum(jax.lax.scan(layer, us, ws)[0][-1])

  ws, x = jnp.stack([W, 0.9 * W]), jnp.ones((20, B, N))
  scans, total, _, *_ = _taps.gradients(loss_fn, ws, x)
  (outer,) = scans
  assert outer.length == 2 and [s.length for s in outer.inner] == [20]
  assert total[0].inner[0].own[0].shape == (2, 20, B, N)
  # The gradient in the upper layer's states, by hand.
  upper = total[0].inner[0].own[0][1]
  np.testing.assert_allclose(
    upper[:, 0, 0], (0.9 * 0.7) ** np.arange(19, -1, -1), rtol=1e-5
  )


@jax.custom_vjp
def _custom(w, us):
  return jnp.sum(jax.lax.scan(lambda x, u: (x @ w + u, None), us[0], us)[0])


_custom.defvjp(
  lambda w, us: (_custom(w, us), (w, us)), lambda r, g: (r[0], r[1])
)


def _while(w, us):
  return jnp.sum(jax.lax.while_loop(
    lambda c: c[0] < 3, lambda c: (c[0] + 1, jax.lax.scan(
      lambda x, u: (x @ w, None), c[1], us)[0]), (0, us[0]))[1])  # fmt: skip


def _cond(w, us):
  run = lambda: jnp.sum(jax.lax.scan(lambda x, u: (x @ w, None), us[0], us)[0])
  return jax.lax.cond(us[0, 0, 0] > 0, run, lambda: 0.0)


DATA = jnp.ones((5, B, N))
LINEAR = scanned(lambda w, x, u: x @ w)[0]
BROKEN = W.at[0, 0].set(jnp.nan)
BAD = {
  "no scan": (lambda w, us: jnp.sum(us @ w), W, DATA, "hold a scan"),
  "one step": (LINEAR, W, DATA[:1], "at least two steps"),
  "integer": (lambda w, us: jnp.int32(1), W, DATA, "one floating number"),
  "a vector": (lambda w, us: jnp.ones(3), W, DATA, "one floating number"),
  "nan": (LINEAR, BROKEN, DATA, "params must be finite"),
  "nan loss": (
    lambda w, us: jnp.log(-1.0) + LINEAR(w, us),
    W,
    DATA,
    "must be finite",
  ),
  "custom_vjp": (_custom, W, DATA, "custom_vjp"),
  "while": (_while, W, DATA, "while_loop"),
  "cond": (_cond, W, DATA, "cond"),
  "no function": (3, W, DATA, "function or Model"),
  "no batch": (LINEAR, W, iter([]), "got none"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_reported_is_said_in_a_sentence(name):
  loss_fn, params, given, said = BAD[name]
  with pytest.raises(ValueError, match=said):
    gradient_report(loss_fn, params, given)


def test_a_while_loop_is_named_where_there_is_no_scan():
  def loss_fn(w, us):
    body = lambda c: (c[0] + 1, c[1] @ w)
    return jnp.sum(jax.lax.while_loop(lambda c: c[0] < 5, body, (0, us[0]))[1])

  with pytest.raises(ValueError, match="1 while_loop, which has no gradient"):
    gradient_report(loss_fn, W, DATA)


def test_a_complex_state():
  factor = 0.8 * jnp.exp(0.5j)

  def loss_fn(w, us):
    step = lambda x, u: (w * x + u, None)
    x, _ = jax.lax.scan(step, jnp.zeros((B, N), jnp.complex64), us)
    return jnp.sum(jnp.abs(x) ** 2)

  (layer,) = gradient_report(loss_fn, factor, DATA.repeat(4, 0)).layers
  assert layer.slope == pytest.approx(math.log(0.8), abs=1e-3)


def test_a_fori_loop_of_fixed_steps_is_a_scan():
  def loss_fn(w, us):
    return jnp.sum(jax.lax.fori_loop(0, 9, lambda i, x: x @ w + us[0], us[0]))

  (layer,) = gradient_report(loss_fn, W, DATA).layers
  assert layer.length == 9
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)


def test_names_are_as_many_as_scans():
  with pytest.raises(ValueError, match="names must be 1, got 2"):
    gradient_report(*scanned(lambda w, x, u: x @ w), names=["a", "b"])


def test_a_batch_of_one_has_no_error_bar():
  loss_fn, w, _ = scanned(lambda w, x, u: x @ w + u)
  one = lambda w, us: loss_fn(w, us)
  (layer,) = gradient_report(one, w, jnp.ones((20, 1, N))).layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)

  def of_one(w, us):
    step = lambda x, u: (x @ w + u, None)
    return jnp.sum(jax.lax.scan(step, jnp.ones((1, N)), us)[0])

  (layer,) = gradient_report(of_one, w, jnp.ones((20, 1, N))).layers
  assert math.isnan(layer.stderr) and not layer.borderline


def test_an_iterator_gives_norms_and_a_threshold():
  loss_fn, w, x = scanned(lambda w, x, u: x @ w + u)
  batches = (x * scale for scale in np.linspace(0.5, 2, 40))
  found = gradient_report(loss_fn, w, batches)
  norms = [
    float(jnp.linalg.norm(jax.grad(loss_fn)(w, x * s)))
    for s in np.linspace(0.5, 2, 40)
  ]
  np.testing.assert_allclose(found.norms, norms, rtol=1e-5)
  assert found.max_norm == pytest.approx(np.mean(norms), rel=1e-5)
  assert "norms of 40 batches" in str(found)
  assert gradient_report(loss_fn, w, x).max_norm is None


def test_it_is_saved_as_page_picture_record_and_text(tmp_path):
  found = gradient_report(*scanned(lambda w, x, u: x @ w + u))
  for suffix in ("html", "png", "json", "txt"):
    found.save(tmp_path / f"report.{suffix}")
  page = (tmp_path / "report.html").read_text()
  assert "vanishes" in page and "data:image/png;base64," in page
  assert "http" not in page and "<script" not in page
  told = json.loads((tmp_path / "report.json").read_text())
  assert told["layers"][0]["verdict"] == "vanishes"
  assert (tmp_path / "report.txt").read_text() == f"{found}\n"
  with pytest.raises(ValueError, match=r"must end with .*report\.pdf"):
    found.save(tmp_path / "report.pdf")


def test_a_watch_reports_every_so_often_and_compiles_once():
  traced = []
  loss_fn, w, x = scanned(lambda w, x, u: x @ w + u)

  def counted(w, us):
    traced.append(1)
    return loss_fn(w, us)

  watch = GradientWatch(counted, every=2)
  for step in range(5):
    found = watch(step, w * (1 + step / 10), x)
    assert (found is None) == (step % 2 == 1)
    if step == 0:
      first = len(traced)
  assert len(traced) == first and [*watch.reports] == [0, 2, 4]
  slopes = [r.layers[0].slope for r in watch.reports.values()]
  wanted = [math.log(0.7 * (1 + step / 10)) for step in (0, 2, 4)]
  np.testing.assert_allclose(slopes, wanted, atol=1e-4)
  with pytest.raises(ValueError, match="every must be"):
    GradientWatch(loss_fn, every=0)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_an_exponent_is_the_growth_of_a_small_difference(name):
  """Against two runs a little apart, all leaves of the state together."""
  model = made(CELLS[name]())
  params = jax.tree.map(lambda p: 3 * p, model.init(jax.random.key(0)))
  layers = gradient_report(model, params, batch(), loss=TASK.loss).layers
  cell, theta, us = model.cell, params["cell"], batch().us
  taps = _taps.zeros(
    _taps.tapped(
      lambda p, b: TASK.loss(model.apply(p, b.us), b), params, batch()
    ).scans
  )
  keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(taps))))
  directions = [jax.random.normal(next(keys), x.shape[1:]) for x in taps[0].own]
  first = cell.initial_state(theta, B)
  tangent = jax.tree.unflatten(jax.tree.structure(first), directions)

  def pushed(steps):
    step = lambda x, u: (cell.step(theta, x, u), None)
    last = lambda x: jax.lax.scan(step, x, us[:steps])[0]
    leaves = jax.tree.leaves(jax.jvp(last, (first,), (tangent,))[1])
    return jnp.sqrt(sum(jnp.sum(x**2, -1) for x in leaves))

  grown = jnp.log(pushed(T) / pushed(1)) / (T - 1)
  for layer in layers:
    assert layer.exponent == pytest.approx(float(grown.mean()), rel=1e-3)


def tanh_loss(w, us):
  step = lambda x, u: (jnp.tanh(x @ w + u), None)
  return jnp.sum(jax.lax.scan(step, jnp.zeros((B, 64)), us)[0])


@pytest.mark.parametrize("steps", [150, 300, 600])
def test_a_signal_that_overflows_explodes(steps):
  w = 0.5 * jax.random.normal(jax.random.key(0), (64, 64))
  us = jax.random.normal(jax.random.key(1), (steps, B, 64))
  found = gradient_report(tanh_loss, w, us)
  (layer,) = found.layers
  assert layer.verdict == "explodes" and layer.slope > 0.2
  assert 0.2 < layer.exponent < 1
  assert "clip the norm" in str(found)


@pytest.mark.parametrize("steps", [60, 300, 600])
def test_an_exponent_does_not_underflow(steps):
  loss_fn, w, _ = scanned(lambda w, x, u: x @ w + u)
  (layer,) = gradient_report(loss_fn, w, jnp.ones((steps, B, N))).layers
  assert layer.exponent == pytest.approx(math.log(0.7), abs=1e-4)
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-3)


def _in_carry(w, us):
  step = lambda c, u: ((x := c[0] @ w + u, c[1] + jnp.sum(x**2)), None)
  (_, total), _ = jax.lax.scan(step, (jnp.zeros((B, N)), 0.0), us)
  return total


def _of_sequences(w, us):
  step = lambda c, u: ((x := c[0] @ w + u, c[1] + jnp.sum(x**2, 1)), None)
  return jnp.sum(
    jax.lax.scan(step, (jnp.zeros((B, N)), jnp.zeros(B)), us)[0][1]
  )


def _pooled(w, us):
  step = lambda c, u: ((x := c[0] @ w + u, c[1] + x), None)
  zeros = jnp.zeros((B, N))
  return jnp.sum(jax.lax.scan(step, (zeros, zeros), us)[0][1] ** 2)


def _fori(w, us):
  def body(i, c):
    return (x := c[0] @ w + us[i], c[1] + jnp.sum(x**2))

  return jax.lax.fori_loop(0, 20, body, (jnp.zeros((B, N)), 0.0))[1]


def _stacked(w, us):
  step = lambda x, u: ((x := x @ w + u), jnp.sum(x**2))
  return jnp.sum(jax.lax.scan(step, jnp.zeros((B, N)), us)[1])


@pytest.mark.parametrize(
  "loss_fn", [_in_carry, _of_sequences, _pooled, _fori, _stacked]
)
def test_a_sum_in_the_carry_is_no_state(loss_fn):
  us = jax.random.normal(jax.random.key(0), (20, B, N))
  (layer,) = gradient_report(loss_fn, W, us).layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-3)
  assert layer.verdict == "vanishes"


def test_the_signal_has_the_loss_of_its_own_step():
  us = jax.random.normal(jax.random.key(0), (20, B, N))
  found = [gradient_report(f, W, us).layers[0] for f in (_in_carry, _stacked)]
  np.testing.assert_allclose(found[0].signal, found[1].signal, rtol=1e-5)


def test_a_leaf_that_no_step_reads_is_said_to_be_so():
  def loss_fn(w, us):
    step = lambda c, u: ((x := c[0] @ w + u, 2 * x), None)
    zeros = jnp.zeros((B, N))
    return jnp.sum(jax.lax.scan(step, (zeros, zeros), us)[0][1])

  found = gradient_report(loss_fn, W, jnp.ones((20, B, N)))
  state, shown = found.layers
  assert (state.verdict, shown.verdict) == ("vanishes", "unfed")
  assert "scan_0[1]  no later step reads it" in str(found)
  assert not any(line.startswith("scan_0[1]") for line in found.advice)


def test_a_rule_for_reverse_mode_alone_in_a_body():
  @jax.custom_vjp
  def through(x):
    return x

  through.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1, 1),))
  body = lambda w, x, u: through(x @ w + u)
  (layer,) = gradient_report(*scanned(body)).layers
  assert layer.slope == pytest.approx(math.log(0.7), abs=1e-4)
  assert math.isnan(layer.exponent)


def test_leaves_of_different_first_axes():
  def loss_fn(w, us):
    def step(c, u):
      x, memory = c
      x = 0.7 * x + u @ memory
      return (x, 0.9 * memory), None

    begin = jnp.ones((B, N)), jnp.eye(N)
    return jnp.sum(jax.lax.scan(step, begin, us)[0][0])

  layers = gradient_report(loss_fn, W, jnp.ones((20, B, N))).layers
  assert len(layers) == 2 and all(math.isfinite(x.exponent) for x in layers)


def test_held_steps_do_not_flatten_the_slope():
  model = made(CELLS["elman_h"]())
  params = model.init(jax.random.key(0))
  short = batch()._replace(lengths=jnp.full(B, 12))
  (held,) = gradient_report(model, params, short, loss=TASK.loss).layers
  cut = short._replace(us=short.us[:12], lengths=None)
  (whole,) = gradient_report(model, params, cut, loss=TASK.loss).layers
  assert held.slope == pytest.approx(whole.slope, rel=1e-3)


def test_of_a_module_only_parameters_have_a_norm():
  class Net(nnx.Module):
    def __init__(self, rngs):
      self.norm = nnx.BatchNorm(3, use_running_average=True, rngs=rngs)
      self.rnn = nnx.RNN(nnx.GRUCell(3, 5, rngs=rngs))

    def __call__(self, x):
      return self.rnn(self.norm(x))[:, -1]

  net, loss_fn = Net(nnx.Rngs(0)), lambda net, x: jnp.mean(net(x) ** 2)
  us = jax.random.normal(jax.random.key(0), (4, 20, 3))
  found = gradient_report(loss_fn, net, us)
  wanted = optax.tree.norm(nnx.grad(loss_fn)(net, us))
  np.testing.assert_allclose(found.norms[0], wanted, rtol=1e-5)


def test_two_time_scales_of_one_scan_are_told_apart():
  """As an LSTM's two leaves have them: one halves in 69 steps, one in 1."""

  def loss_fn(factors, us):
    def step(x, u):
      return {name: factors[name] * x[name] + u for name in x}, None

    start = {name: jnp.zeros((2, 3)) for name in factors}
    x, _ = jax.lax.scan(step, start, us)
    return jnp.sum(x["slow"]) + jnp.sum(x["fast"])

  factors = {"slow": jnp.float32(0.99), "fast": jnp.float32(0.5)}
  report = gradient_report(loss_fn, factors, jnp.ones((100, 2, 3)))
  fast, slow = report.layers  # By name.
  assert fast.slope == pytest.approx(math.log(0.5), abs=1e-4)
  assert slow.slope == pytest.approx(math.log(0.99), abs=1e-4)
  assert slow.half_life == pytest.approx(68.97, rel=1e-2)
  assert fast.half_life == pytest.approx(1.0, rel=1e-3)
  assert (fast.reach, slow.reach) == (24, None)  # 2^-23 is not under it yet.


def test_an_lstm_of_many_time_scales_keeps_longer_in_its_memory():
  cell = cells.lstm(4, 20, forget_bias="chrono", memory=50)
  model = models.recurrent(cell, models.linear_readout(20, 1))
  us = jax.random.normal(jax.random.key(1), (50, 20, 4))
  report = gradient_report(
    lambda params, us: jnp.mean(model.apply(params, us) ** 2),
    model.init(jax.random.key(0)),
    us,
  )
  memory, output = report.layers
  assert output.slope + 2 * output.stderr < memory.slope < 0
