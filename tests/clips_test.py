"""The rules of clipping: the contract of a link, and each against NumPy."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from steadygrad import training, transforms
from steadygrad.runs import store
from steadygrad.training import Data, TaskConfig
from steadygrad.transforms import clipping
from tests import oracles

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# The registry's two names of Algorithm 1 are one function.
NAMES = sorted(set(clipping.CLIPS) - {"by_norm"})
every_rule = pytest.mark.parametrize("name", NAMES)
# A number of each rule that may be traced, and values of it that bind on the
# gradients of the recorded sequence.
NUMBERS = {
  "adagc": ("ratio", (0.5, 1.05)),
  "agc": ("ratio", (0.01, 0.3)),
  "autoclip": ("percentile", (10.0, 90.0)),
  "by_leaf": ("max_norm", (0.3, 1.0)),
  "none": (None, (None, None)),
  "norm": ("max_norm", (0.3, 2.0)),
  "normalise": ("norm", (0.5, 1.0)),
  "skip": ("deviations", (3.0, 6.0)),
  "spam": ("threshold", (2.0, 50.0)),
  "value": ("max_value", (0.1, 1.0)),
  "zclip": ("z_score", (1.5, 2.5)),
}
# What is not the published default, so that it happens in 1,000 updates of a
# small network, or at any scale of the gradients.
ALWAYS = {
  "zclip": {"max_norm": np.inf},
  "adagc": {"max_norm": np.inf},
  "agc": {"min_norm": 0.0},
  "norm": {"max_norm": 1.0},
  "spam": {"every": 300},
}
STATIC = {"window"}
STEPS = 1000
# float32 statistics of 1,000 steps against float64.
CLOSE = 2e-4


def build(name, **numbers):
  return clipping.CLIPS[name](**ALWAYS.get(name, {}) | numbers)


def weights():
  return {"a": np.ones((2, 3), np.float32), "b": np.full(3, 2, np.float32)}


@functools.cache
def sequence():
  """1,000 gradients with spikes, slow drift, zeros; and losses with spikes."""
  rng = np.random.default_rng(0)
  sizes = np.exp(0.3 * rng.normal(size=STEPS) - np.arange(STEPS) / 500)
  sizes[rng.choice(np.arange(150, STEPS), 20, replace=False)] *= 40
  sizes[[700, 701]] = 0
  grads = {
    k: (sizes.reshape(-1, *[1] * w.ndim) * rng.normal(size=(STEPS, *w.shape)))
    for k, w in weights().items()
  }
  grads = {k: g.astype(np.float32) for k, g in grads.items()}
  losses = rng.gamma(9, 0.1, STEPS)
  losses[[300, 555]] += 30
  return grads, losses.astype(np.float32)


BROKEN = {250: np.nan, 600: np.inf, 640: -np.inf}


def norm_of(g):
  return oracles.norm(g.values())


def times(g, factor):
  return {k: factor * x for k, x in g.items()}


# Each rule once more: a generator, to which (gradient, loss, update) is sent.


def limited(limit_of):
  """A rule on the joint norm: limit_of(norm) -> limit."""

  def rule():
    g, *_ = yield
    limit = limit_of()
    while True:
      n = norm_of(g)
      bound = limit(n)
      g, *_ = yield times(g, bound / n) if n > bound else g

  return rule


def norm_rule(max_norm):
  return limited(lambda: lambda n: max_norm)()


def none_rule():
  return norm_rule(np.inf)


def normalise_rule(norm):
  g, *_ = yield
  while True:
    n = norm_of(g)
    g, *_ = yield times(g, norm / n) if n else g


def value_rule(max_value):
  g, *_ = yield
  while True:
    g, *_ = yield {k: np.clip(x, -max_value, max_value) for k, x in g.items()}


def by_leaf_rule(max_norm):
  g, *_ = yield
  while True:
    clipped = {k: oracles.clip([x], max_norm)[0] for k, x in g.items()}
    g, *_ = yield clipped


def agc_rule(ratio):
  g, *_ = yield
  w = {k: x.astype(np.float64) for k, x in weights().items()}
  while True:
    out = {}
    for k, x in g.items():
      axis = 0 if x.ndim == 2 else None
      size = np.sqrt(np.sum(x**2, axis, keepdims=True))
      most = ratio * np.sqrt(np.sum(w[k] ** 2, axis, keepdims=True))
      out[k] = x * np.where(size > most, most / np.where(size, size, 1), 1)
    g, *_ = yield out


def autoclip_rule(percentile):
  history = []

  def limit(n):
    history.append(n)
    return np.percentile(history[-1000:], percentile)

  return limited(lambda: limit)()


def zclip_rule(z_score):
  first, state = [], {}

  def limit(n):
    if len(first) < 25:
      first.append(n)
      state["m"], state["v"] = np.mean(first), np.var(first)
      return np.inf
    m, s = state["m"], np.sqrt(state["v"])
    z, bound = (n - m) / s, np.inf
    if z > z_score:
      bound = m + z_score * s / (z / z_score)
    c = min(n, bound)
    state["m"] = 0.97 * m + 0.03 * c
    state["v"] = 0.97 * state["v"] + 0.03 * (c - state["m"]) ** 2
    return bound

  return limited(lambda: limit)()


def adagc_rule(ratio):
  gamma, step = dict.fromkeys(weights(), np.inf), 0
  g, *_ = yield
  while True:
    step += 1
    out = dict(g)
    for k, x in g.items():
      n = np.linalg.norm(x)
      if step < 100:
        gamma[k] = min(gamma[k], n)
      else:
        h = min(1, ratio * gamma[k] / n) if n else 1
        out[k] = h * x
        gamma[k] = 0.98 * gamma[k] + 0.02 * h * n
    g, *_ = yield out


def skip_rule(deviations):
  losses, norms = [], []
  g, loss, _ = yield
  while True:
    n = norm_of(g)
    skipped = False
    for seen, x in ((losses, loss), (norms, n)):
      if len(seen) + 1 >= 64:
        last = seen[-128:]
        skipped |= x > np.mean(last) + deviations * np.std(last, ddof=1)
      seen.append(x)
    g, loss, _ = yield times(g, 0.0 if skipped else 1.0)


def spam_rule(threshold):
  v = {k: np.zeros(w.shape) for k, w in weights().items()}
  g, _, step = yield
  while True:
    since = step % 300
    if since == 0:
      v = times(v, 0.0)
    out = {}
    for k, x in g.items():
      over = (x**2 > threshold * v[k]) & (v[k] > 0) & (since >= 20)
      out[k] = np.where(over, np.sign(x) * np.sqrt(threshold * v[k]), x)
      v[k] = 0.999 * v[k] + 0.001 * out[k] ** 2
    scale = 1.0
    if step >= 300 and since < 150:
      scale -= 0.99 * (1 + np.cos(np.pi * (since + 1) / 151)) / 2
    g, _, step = yield times(out, scale)


def expected(name, number):
  """What the rule makes of the sequence, {leaf: [steps, ...]} in float64."""
  grads, losses = sequence()
  rule = globals()[f"{name}_rule"](*([] if number is None else [number]))
  next(rule)
  made = []
  for t in range(STEPS):
    g = {k: x[t].astype(np.float64) for k, x in grads.items()}
    # What is not finite passes the rule, and leaves no trace.
    made.append(g if t in BROKEN else rule.send((g, float(losses[t]), t + 1)))
  return {k: np.stack([m[k] for m in made]) for k in grads}


SCALES = (1.0, 1e-30, 1e30)
# These have a threshold of their own, which is scaled with the gradients.
ABSOLUTE = ("norm", "value", "by_leaf", "normalise")


@functools.cache
def run(name):
  """(updates, telemetry, states' first and last) at each number and scale."""
  argument, values = NUMBERS[name]
  grads, losses = sequence()
  grads = {k: g.copy() for k, g in grads.items()}

  def one(number, scale):
    limit = number * scale if name in ABSOLUTE else number
    tx = build(name, **({argument: limit} if argument else {}))
    params = jax.tree.map(lambda w: w * scale, weights())
    before = tx.init(params)

    def step(state, given):
      g, loss, broken = given
      g = jax.tree.map(lambda x: x * scale, g)
      g["b"] = jnp.where(jnp.isfinite(broken), g["b"], broken)
      updates, state = tx.update(g, state, params, value=loss)
      return state, (updates, transforms.telemetry(state))

    broken = np.zeros(STEPS, np.float32)
    for t, value in BROKEN.items():
      broken[t] = value
    after, made = jax.lax.scan(step, before, (grads, losses, broken))
    return made, before, after

  numbers = jnp.array([x or 0 for x in values], jnp.float32)
  both = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
  return jax.device_get(jax.jit(both)(numbers, jnp.array(SCALES)))


@every_rule
def test_equals_numpy_at_every_scale_and_number(name):
  """Under scan, and vmap over numbers and scales; spikes, zeros, inf, NaN."""
  (updates, _), _, _ = run(name)
  fine = ~np.isin(np.arange(STEPS), list(BROKEN))
  for i, number in enumerate(NUMBERS[name][1]):
    wanted = expected(name, number)
    size = np.max([np.abs(w).max() for w in wanted.values()])
    for j, scale in enumerate(SCALES):
      for k, w in wanted.items():
        got = updates[k][i, j].astype(np.float64) / scale
        np.testing.assert_allclose(
          got[fine], w[fine], rtol=CLOSE, atol=1e-6 * size
        )
        # The finite leaf of a gradient that is not; spam's warm up there.
        if k == "a" and name != "spam":
          g = np.float64(np.float32(sequence()[0][k]) * np.float32(scale))
          np.testing.assert_array_equal(updates[k][i, j][~fine], g[~fine])
    for t, value in BROKEN.items():
      assert (np.isnan(value) and np.isnan(updates["b"][i, :, t]).all()) or (
        updates["b"][i, :, t] == value
      ).all()


@every_rule
def test_telemetry_and_a_state_that_is_never_poisoned(name):
  (_, told), before, after = run(name)
  chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
  finite = told["finite"][0, 0]
  assert set(np.flatnonzero(~finite)) == set(BROKEN)
  grads, _ = sequence()
  norms = [norm_of({k: g[t] for k, g in grads.items()}) for t in range(STEPS)]
  np.testing.assert_allclose(
    told["gradient_norm"][0, 0][finite], np.array(norms)[finite], rtol=1e-5
  )
  memory = getattr(after, "memory", ())
  if name == "autoclip":  # NaN is where there is no norm yet.
    assert (np.isnan(memory.norms).sum(-1) == 1000 - memory.count).all()
    memory = np.nan_to_num(memory.norms, nan=0)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(memory))
  acted = told["clipped"] | told.get("skipped", False)
  assert not acted[..., ~finite].any()
  # A number that is twice as strict acts more often.
  assert name == "none" or acted.sum(-1).min() > 0
  if argument := NUMBERS[name][0]:
    if argument != "norm":
      assert (acted[0].sum(-1) > acted[1].sum(-1)).all()
  if "warming_up" in told and name in ("zclip", "adagc", "skip", "spam"):
    first = np.flatnonzero(~told["warming_up"][0, 0])[0]
    assert first == {"zclip": 25, "adagc": 99, "skip": 63, "spam": 19}[name]


@every_rule
def test_zeros_stay_zeros(name):
  (updates, told), *_ = run(name)
  for t in (700, 701):
    assert not any(x[:, :, t].any() for x in updates.values())
  assert np.isfinite(told["gradient_norm"][..., :250]).all()


def compositions(name):
  """{wrapper: transformation} that all equal the rule by itself."""
  argument, values = NUMBERS[name]
  own = {argument: values[0]} if argument else {}
  factory = functools.partial(build, name)
  static = STATIC & {*inspect.signature(clipping.CLIPS[name]).parameters}
  masked = optax.masked(factory(**own), {"a": True, "b": True})
  parts = optax.partition(
    {"x": optax.chain(optax.identity(), masked)}, {"a": "x", "b": "x"}
  )
  # One in the other, which compiles in half the time of all by themselves.
  nested = optax.MultiSteps(parts, 1).gradient_transformation()
  found = {"nested": nested}
  if own:
    inject = optax.inject_hyperparams(
      clipping.CLIPS[name], static_args=tuple(static)
    )
    found["inject"] = inject(**ALWAYS.get(name, {}) | own)
  return found


@pytest.mark.usefixtures("promotion")
@every_rule
def test_inside_wrappers(name):
  """One compilation for three updates, in a jitted step of all of them."""
  txs, traces = compositions(name), []
  grads, losses = sequence()
  (alone, told), *_ = run(name)

  @jax.jit
  def step(states, g, loss):
    traces.append(1)
    made = {
      k: tx.update(g, states[k], weights(), value=loss) for k, tx in txs.items()
    }
    return {k: u for k, (u, _) in made.items()}, {
      k: s for k, (_, s) in made.items()
    }

  states = {k: tx.init(weights()) for k, tx in txs.items()}
  for t in range(3):
    g = {k: x[t] for k, x in grads.items()}
    updates, states = step(states, g, losses[t])
    wanted = {k: x[0, 0, t] for k, x in alone.items()}
    for other in updates.values():
      chex.assert_trees_all_close(other, wanted, rtol=1e-5)
  assert len(traces) == 1
  for state in states.values():
    assert transforms.telemetry(state).keys() >= told.keys()


@every_rule
def test_dtypes_and_leaves_without_a_derivative(name):
  """Traced alone, which compiles nothing."""
  tx = build(name)
  for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64):
    params = {
      "w": jnp.zeros((2, 3), dtype),
      "b": jnp.zeros(3, dtype),
      "n": jnp.zeros(2, jnp.int32),
      "on": jnp.zeros(2, bool),
    }
    state = jax.eval_shape(tx.init, params)
    new = jax.eval_shape(
      lambda p, s: tx.update(p, s, p, value=jnp.float32(1)), params, state
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(new, (params, state))
    assert state.gradient_norm.dtype == jnp.float32
    empty = jax.eval_shape(
      lambda: tx.update({}, tx.init({}), {}, value=jnp.float32(1))
    )
    assert empty[0] == {}


@every_rule
def test_one_seed_a_device(name):
  """A scan under shard_map, whose checks refuse a carry of another kind."""
  tx = build(name)
  mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec("d")

  def run(params, losses):
    params, losses = jax.tree.map(lambda x: x[0], (params, losses))

    def step(state, loss):
      updates, state = tx.update(params, state, params, value=loss)
      return state, updates

    _, made = jax.lax.scan(step, tx.init(params), losses)
    return jax.tree.map(lambda x: x[None], made)

  two = jax.tree.map(lambda w: np.stack([w, w]), weights())
  mapped = jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec)
  made = jax.eval_shape(mapped, two, np.ones((2, 5), np.float32))
  assert made["a"].shape == (2, 5, 2, 3)


def test_without_jit_and_with_unknown_extra_arguments():
  tx = build("zclip")
  g = {k: x[0] for k, x in sequence()[0].items()}
  got, _ = tx.update(g, tx.init(weights()), weights(), value=1.0, nonsense=3)
  wanted, _ = jax.jit(lambda g: tx.update(g, tx.init(weights()), weights()))(g)
  chex.assert_trees_all_close(got, wanted, rtol=1e-5)


def moved(tx, grads):
  """(updates, state) after some gradients of one parameter."""

  def step(state, g):
    updates, state = tx.update(g, state, g)
    return state, updates

  return jax.lax.scan(step, tx.init(grads[0]), grads)[::-1]


def test_a_skipped_step_leaves_the_optimiser_as_it_was():
  grads = jnp.array([1.0, 1.1] * 40 + [50.0])
  inner = transforms.adam(0.1)
  updates, state = moved(clipping.skip_spikes(inner), grads)
  before = moved(inner, grads[:-1])
  assert updates[-1] == 0 and state.skipped
  chex.assert_trees_all_equal(state.memory.inner, before[1])
  np.testing.assert_array_equal(updates[:-1], before[0])


def test_moments_start_anew_and_counts_and_schedules_do_not():
  rate = optax.exponential_decay(0.1, 3, 0.5)
  inner = transforms.adam(rate)
  grads = jnp.array([1.0, 2.0, 3.0, 4.0])
  tx = clipping.spam(inner, every=4, grace=3, warm_up=1, threshold=1e30)
  updates, state = moved(tx, grads)
  adam = optax.tree.get(state, "mu"), optax.tree.get(state, "nu")
  np.testing.assert_allclose(adam, (0.1 * 4, 0.001 * 16), rtol=1e-5)
  assert [int(x) for _, x in optax.tree.get_all_with_path(state, "count")] == [
    4
  ] * 3
  plain, _ = moved(inner, grads)
  np.testing.assert_array_equal(updates[:-1], plain[:-1])


def test_a_leaf_that_was_zero_in_the_warm_up_of_adagc_moves_later():
  """Where gamma was 0 it would be held at 0 for ever."""
  grads = jnp.array([[1.0, 0.0]] * 3 + [[1.0, 5.0]] * 3)
  tx = clipping.adagc(warm_up=3)

  def step(state, g):
    updates, state = tx.update({"a": g[0], "b": g[1]}, state)
    return state, updates

  start = tx.init({"a": grads[0, 0], "b": grads[0, 1]})
  state, updates = jax.lax.scan(step, start, grads)
  np.testing.assert_allclose(updates["b"], [0, 0, 0, 5, 5, 5], rtol=1e-5)
  np.testing.assert_allclose(state.memory.norms, [1, 5], rtol=1e-5)


def test_an_element_that_begins_late_is_not_held_at_zero_by_spam():
  """Where v was 0 all gradients would be 0 until the next reset."""
  grads = jnp.array([[1.0, 0.0]] * 3 + [[1.0, 2.0]] * 2)
  updates, _ = moved(clipping.spam(grace=2), grads)
  np.testing.assert_array_equal(updates, grads)


def test_agc_spares_what_it_is_told_to():
  tree = {"cell": jnp.ones((2, 2)), "readout": jnp.ones((2, 2))}
  tx = clipping.agc()
  updates, state = jax.jit(tx.update)(tree, tx.init(tree), tree)
  np.testing.assert_array_equal(updates["readout"], tree["readout"])
  np.testing.assert_allclose(updates["cell"], 0.01, rtol=1e-6)
  assert state.clipped and state.measured == 1


def in_training(name):
  """An experiment with this rule."""
  config = TaskConfig(
    length=10, hidden_size=3, batch_size=2, algorithm="msgd_c", clip=name,
    optimizer="adam",
  )  # fmt: skip
  return training.experiment(config)


@every_rule
def test_a_run_of_it_has_its_telemetry(name):
  """Traced alone: the chain, the state, and what an update tells."""
  exp, key = in_training(name), jax.random.key(0)
  start = jax.eval_shape(lambda: training.init(exp, key))
  step = functools.partial(training.update, exp, Data(), key)
  state, info = jax.eval_shape(step, start)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
  assert {"gradient_norm", "clipped"} <= info.keys() <= {*start.sums}
  assert ("threshold" in info) == (name not in ("norm", "none"))


def test_training_is_bit_equal_after_a_file():
  """Rules with a memory in one chain: 6 updates are 4 and 2 from a file."""
  adam = clipping.spam(transforms.adam(0.01), every=3, grace=1)
  tx = optax.chain(
    clipping.zclip(warm_up=2),
    clipping.adagc(warm_up=3),
    clipping.autoclip(50.0),
    clipping.skip_spikes(adam, window=2),
  )
  exp = in_training("norm")._replace(chain=lambda _: tx)
  data, key = Data(), jax.random.key(0)
  step = functools.partial(training.update, exp, data, key)

  @jax.jit
  def advance(state, n):
    return jax.lax.fori_loop(0, n, lambda _, s: step(s)[0], state)

  start = jax.jit(training.init, static_argnums=0)(exp, key)
  whole, part = advance(start, 6), advance(start, 4)
  stored = store.flatten(jax.device_get(part))
  again = advance(store.unflatten(part, stored), 2)
  chex.assert_trees_all_equal(again, whole)
  chex.assert_tree_all_finite(whole.params)
  assert whole.opt_state[-1].memory.counts.all()  # The loss came too.
  before, after = (jax.tree.leaves(s.params) for s in (start, whole))
  assert all((a != b).any() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
  "name, arguments, said",
  [
    ("adagc", {"decay": 1.0}, "decay must be .* below 1, got 1.0"),
    ("adagc", {"warm_up": 0}, "warm_up must be an integer"),
    ("agc", {"ratio": -1.0}, "ratio must be a number .* not negative"),
    ("agc", {"spared": "readout"}, "spared must be a collection of names"),
    ("autoclip", {"percentile": 101.0}, "percentile must be at most 100"),
    ("autoclip", {"window": 0}, "window must be an integer of at least 1"),
    ("by_leaf", {"max_norm": np.nan}, "max_norm must be a number"),
    ("normalise", {"norm": np.inf}, "norm must be a finite number"),
    ("skip", {"inner": 3}, "inner must be an Optax transformation"),
    ("skip", {"deviations": 0.0}, "deviations must be .* above 0"),
    ("spam", {"inner": 0.1}, "inner must be an Optax transformation"),
    ("spam", {"grace": -1}, "grace must be an integer of at least 0"),
    ("value", {"max_value": "1"}, "max_value must be a number"),
    ("zclip", {"z_score": -1.0}, "z_score must be .* above 0"),
  ],
)
def test_bad_arguments(name, arguments, said):
  with pytest.raises(ValueError, match=said):
    clipping.CLIPS[name](**arguments)


@every_rule
def test_a_python_number_as_a_leaf_is_refused(name):
  tx = build(name)
  with pytest.raises(ValueError, match="updates must be arrays, got 1.0"):
    tx.update({"a": 1.0}, tx.init({"a": np.ones(())}), {"a": np.ones(())})
