"""Cells and models that came after the paper's: definitions, masks, positions.

`contracts_test` holds what every model promises; here each is compared with its
definition written another way.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import cells, initializers, models, unroll
from steadygrad.models.positions import POSITIONS

pytestmark = pytest.mark.usefixtures("quickly_compiled")

T, B, M, N = 7, 3, 2, 8


def inputs(seed=0):
  return jax.random.normal(jax.random.key(seed), (T, B, M))


def states(cell, us):
  params = cell.init(jax.random.key(1))
  xs = unroll(cell, params, us)
  return jax.tree.map(np.asarray, params), np.asarray(cell.output(xs))


def elman_input(p, x, u):
  return x @ p["w_rec"] + u @ p["w_in"] + p["b"]


DEFINITIONS = {
  "leaky": (
    cells.leaky(M, N, rate=0.3),
    lambda p, x, u: 0.7 * x + 0.3 * np.tanh(elman_input(p, x, u)),
  ),
  "leaky of a time constant": (
    cells.leaky(M, N, tau=100.0, dt=20.0),
    lambda p, x, u: 0.8 * x + 0.2 * np.tanh(elman_input(p, x, u)),
  ),
  "residual": (
    cells.residual(M, N, rate=0.2),
    lambda p, x, u: x + 0.2 * np.tanh(elman_input(p, x, u)),
  ),
  "highway": (cells.highway(M, N), lambda p, x, u: _highway(p, x, u)),
  "layer norm": (cells.layer_norm(M, N), lambda p, x, u: _layer_norm(p, x, u)),
}


def _highway(p, x, u):
  z = 1 / (1 + np.exp(-(x @ p["w_gate"] + u @ p["w_in_gate"] + p["b_gate"])))
  return (1 - z) * x + z * np.tanh(elman_input(p, x, u))


def _layer_norm(p, x, u):
  a = x @ p["w_rec"] + u @ p["w_in"]
  a = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6)
  return np.tanh(a * p["gain"] + p["b"])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_states_are_those_of_the_definition(name):
  cell, step = DEFINITIONS[name]
  us = inputs()
  params, ys = states(cell, us)
  x = np.zeros((B, N), np.float32)
  for t in range(T):
    x = step(params, x, np.asarray(us[t]))
    np.testing.assert_allclose(ys[t], x, atol=2e-6)


def test_a_leaky_x_form_reads_the_rates():
  us = inputs()
  params, ys = states(cells.leaky(M, N, rate=0.3, form="x"), us)
  x = np.zeros((B, N), np.float32)
  for t in range(T):
    x = 0.7 * x + 0.3 * elman_input(params, np.tanh(x), np.asarray(us[t]))
    np.testing.assert_allclose(ys[t], np.tanh(x), atol=2e-6)


def test_irnn_is_a_relu_network_from_the_identity():
  cell = cells.elman(
    M, N, form="h", activation="relu", initializers=initializers.irnn()
  )
  params = cell.init(jax.random.key(0))
  np.testing.assert_array_equal(params["w_rec"], np.eye(N))
  assert 5e-4 < np.std(params["w_in"]) < 2e-3


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_the_gates_bias_starts_where_it_is_told(bias):
  lstm = cells.lstm(M, N, forget_bias=bias).init(jax.random.key(0))
  gru = cells.gru(M, N, forget_bias=bias).init(jax.random.key(0))
  np.testing.assert_array_equal(lstm["hf"]["bias"], np.full(N, bias))
  np.testing.assert_array_equal(lstm["hi"]["bias"], np.zeros(N))
  np.testing.assert_array_equal(gru["iz"]["bias"], np.full(N, bias))


def test_a_bias_for_a_memory_keeps_states_so_long():
  params = cells.lstm(M, 500, forget_bias="chrono", memory=100).init(
    jax.random.key(0)
  )
  kept = np.exp(params["hf"]["bias"])  # τ - 1 of a gate sigmoid(b).
  assert 1 <= kept.min() and kept.max() <= 99
  assert abs(np.mean(kept) - 50) < 4
  np.testing.assert_array_equal(params["hi"]["bias"], -params["hf"]["bias"])


def test_of_the_gru_the_biased_gate_is_the_one_that_keeps():
  cell = cells.gru(M, N, forget_bias=30.0)
  params = cell.init(jax.random.key(0))
  x = jax.random.normal(jax.random.key(1), (B, N))
  np.testing.assert_allclose(cell.step(params, x, inputs()[0]), x, atol=1e-6)


PARALLEL = {
  "lru": (cells.lru, cells.lru_in_parallel),
  "mingru": (cells.mingru, cells.mingru_in_parallel),
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", PARALLEL)
def test_all_steps_at_once_are_the_recurrence(name, bits):
  make, in_parallel = PARALLEL[name]
  with jax.enable_x64(bits == 64):
    cell = make(M, N)
    params = cell.init(jax.random.key(0))
    us = jax.random.normal(jax.random.key(1), (65, B, M))
    one_by_one = cell.output(unroll(cell, params, us))
    at_once = jax.jit(in_parallel)(params, us)
  assert at_once.dtype == f"float{bits}"
  gap = np.abs(at_once - one_by_one).max() / np.abs(one_by_one).max()
  assert gap < (1e-6 if bits == 32 else 1e-12)


def test_a_minimal_unit_is_its_definition():
  cell, us = cells.mingru(M, N), inputs()
  p, ys = states(cell, us)
  np.testing.assert_array_equal(p["b_z"], np.full(N, -1.0))
  x = np.zeros((B, N))
  for t in range(T):
    e, v = enter(p, np.asarray(us[t]))
    z = 1 / (1 + np.exp(-(v @ p["w_z"] + p["b_z"])))
    a = v @ p["w_h"]
    x = (1 - z) * x + z * np.where(a < 0, 1 / (1 + np.exp(-a)), a + 0.5)
    y = leave(p, e, x @ p["w_out"] + p["d"] * v)
    np.testing.assert_allclose(ys[t], y, atol=5e-6)


@pytest.mark.parametrize("bias", [-20.0, 30.0])
def test_what_a_minimal_unit_keeps_is_exact_at_both_ends(bias):
  """Also where z is 1 to float32's resolution, and what is kept is small."""
  cell = cells.mingru(M, N, forget_bias=bias)
  params = cell.init(jax.random.key(0))
  params["w_z"] = jnp.zeros_like(params["w_z"])

  def state(x):
    return cell.step(params, {"x": x, "y": x}, inputs()[0])["x"]

  kept = jax.jvp(state, (jnp.ones((B, N)),), (jnp.ones((B, N)),))[1]
  np.testing.assert_allclose(kept, 1 / (1 + np.exp(-bias)), rtol=1e-6)


def enter(p, u):
  e = u @ p["w_in"] + p["b_in"]
  v = (e - e.mean(-1, keepdims=True)) / np.sqrt(e.var(-1, keepdims=True) + 1e-6)
  return e, v * p["scale"] + p["offset"]


def leave(p, e, s):
  s = np.asarray(jax.nn.gelu(s.astype("f4")))
  return e + s / (1 + np.exp(-(s @ p["w_gate"] + p["b_gate"])))


def test_a_linear_recurrent_unit_is_its_complex_definition():
  cell, us = cells.lru(M, N), inputs()
  p, ys = states(cell, us)
  lam = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
  assert np.all((np.abs(lam) >= 0.9 - 1e-6) & (np.abs(lam) <= 0.999 + 1e-6))
  b, c = p["b_re"] + 1j * p["b_im"], p["c_re"] + 1j * p["c_im"]
  x = np.zeros((B, N), complex)
  for t in range(T):
    e, v = enter(p, np.asarray(us[t]))
    x = lam * x + np.sqrt(1 - np.abs(lam) ** 2) * (v @ b)
    y = leave(p, e, (x @ c).real + p["d"] * v)
    np.testing.assert_allclose(ys[t], y, atol=2e-5)


def attention_by_hand(p, ys, length, t):
  """Of one sequence, by loops: ys [T, N]."""
  query = ys[t] @ p["w_query"]
  seen = range(min(max(length, 1), t + 1))
  scores = np.array(
    [np.tanh(query + ys[s] @ p["w_key"]) @ p["v"] for s in seen]
  )
  shares = np.exp(scores - scores.max())
  shares /= shares.sum()
  context = sum(a * ys[s] for a, s in zip(shares, seen, strict=True))
  return np.concatenate([ys[t], context]) @ p["w_out"] + p["b_out"]


@pytest.mark.parametrize("reads", ["last", "every"])
def test_attention_is_its_definition_and_ends_with_a_sequence(reads):
  readout = models.attention_readout(N, 4, reads=reads)
  params = jax.tree.map(np.asarray, readout.init(jax.random.key(0)))
  ys = jax.random.normal(jax.random.key(1), (T, B, N))
  lengths = np.array([T, 4, 0])
  # As `unroll` leaves them: beyond its length a state stays.
  held = np.array(ys)
  for b, n in enumerate(lengths):
    held[n:, b] = held[max(n - 1, 0), b]
  mask = np.arange(T)[:, None] < lengths
  outputs = readout.read(params, jnp.asarray(held), jnp.asarray(mask))
  for b, n in enumerate(lengths):
    last = attention_by_hand(params, held[:, b], n, T - 1)
    found = outputs[b] if reads == "last" else outputs[-1, b]
    np.testing.assert_allclose(found, last, atol=1e-5)


def transformer(positions, reads="every", layers=2):
  size = models.Size(N, layers, heads=2, max_length=T + 3)
  readout = models.transformer_readout(
    size, 4, positions=positions, reads=reads
  )
  return models.recurrent(cells.embedding(M, N), readout)


def norm_by_hand(p, x):
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["offset"]


def turned_by_hand(x, t):
  """x [heads, D] at step t: pairs (i, i + D/2) as complex numbers."""
  half = x.shape[-1] // 2
  pairs = x[:, :half] + 1j * x[:, half:]
  pairs *= np.exp(1j * t * 10_000.0 ** (-np.arange(half) / half))
  return np.concatenate([pairs.real, pairs.imag], -1)


def sinusoid_by_hand(t, width):
  angles = t * 10_000.0 ** (-2 * np.arange(width // 2) / width)
  return np.stack([np.sin(angles), np.cos(angles)], -1).ravel()


def one_position_at_a_time(params, us, positions, heads):
  """Outputs [T, O] of one sequence [T, M]; each block keeps keys and values."""
  cell, p = params["cell"], params["readout"]
  slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
  caches = [([], []) for _ in p["blocks"]]
  outputs = []
  for t, u in enumerate(us):
    x = u @ cell["w_in"] + cell["b"]
    if positions == "sinusoidal":
      x = x + sinusoid_by_hand(t, N)
    if positions == "learned":
      x = x + p["places"][t]
    for block, (keys, values) in zip(p["blocks"], caches, strict=True):
      normed = norm_by_hand(block["norm_1"], x)
      q, k, v = ((normed @ block[name]).reshape(heads, -1) for name in "qkv")
      if positions == "rotary":
        q, k = turned_by_hand(q, t), turned_by_hand(k, t)
      keys.append(k)
      values.append(v)
      seen = np.zeros_like(v)
      for h in range(heads):
        scores = np.array([q[h] @ old[h] for old in keys]) / np.sqrt(N // heads)
        if positions == "alibi":
          scores -= slopes[h] * np.arange(t, -1, -1)
        shares = np.exp(scores - scores.max())
        for share, old in zip(shares / shares.sum(), values, strict=True):
          seen[h] += share * old[h]
      x = x + seen.ravel() @ block["out"]
      a = norm_by_hand(block["norm_2"], x) @ block["w_1"] + block["b_1"]
      inner = np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)
      x = x + 0.5 * a * (1 + np.tanh(inner)) @ block["w_2"] + block["b_2"]
    outputs.append(norm_by_hand(p["norm"], x) @ p["w_out"] + p["b_out"])
  return np.stack(outputs)


@pytest.mark.parametrize("positions", POSITIONS)
def test_all_positions_at_once_are_one_at_a_time(positions):
  """A cache of keys and values gives the same, for lengths of any kind."""
  last, every = transformer(positions, "last"), transformer(positions)
  params, us = every.init(jax.random.key(2)), inputs()
  plain = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  lengths = [T, 4, 1]
  found = every.apply(params, us, jnp.array(lengths))
  ends = last.apply(params, us, jnp.array(lengths))
  for b, n in enumerate(lengths):
    wanted = one_position_at_a_time(
      plain, np.asarray(us[:n, b], np.float64), positions, 2
    )
    np.testing.assert_allclose(found[:n, b], wanted, atol=1e-5)
    np.testing.assert_allclose(ends[b], wanted[-1], atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_no_step_sees_a_later_one(positions):
  model, us = transformer(positions), inputs()
  params = model.init(jax.random.key(2))
  outputs = model.apply(params, us)
  for t in (0, 3, T - 1):
    other = us.at[t + 1 :].set(5.0)
    np.testing.assert_allclose(
      model.apply(params, other)[: t + 1], outputs[: t + 1], atol=1e-5
    )
    if t < T - 1:
      assert (
        np.abs(model.apply(params, other)[t + 1 :] - outputs[t + 1 :]).max()
        > 0.01
      )


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_sequence_has_the_output_of_its_last_step(positions):
  us, lengths = inputs(), jnp.array([T, 4, 1])
  last, every = transformer(positions, "last"), transformer(positions)
  params = last.init(jax.random.key(2))
  found = last.apply(params, us, lengths)
  whole = every.apply(params, us)
  expected = [whole[n - 1, b] for b, n in enumerate(lengths)]
  np.testing.assert_allclose(found, jnp.stack(expected), atol=1e-5)


def test_without_positions_one_block_sees_a_set():
  model = transformer("none", "last", layers=1)
  params = model.init(jax.random.key(2))
  us = inputs()
  turned = us.at[: T - 1].set(us[: T - 1][::-1])
  np.testing.assert_allclose(
    model.apply(params, us), model.apply(params, turned), atol=1e-5
  )
  for positions in set(POSITIONS) - {"none"}:
    other = transformer(positions, "last", layers=1)
    params = other.init(jax.random.key(2))
    gap = other.apply(params, us) - other.apply(params, turned)
    assert np.abs(gap).max() > 1e-4, positions


@pytest.mark.parametrize("positions", ["rotary", "alibi"])
def test_relative_positions_do_not_know_where_a_sequence_begins(positions):
  # Scores depend on distances alone: one block's outputs at the last step stay
  # when a step is put before all others and cannot be told apart from none.
  from steadygrad.models import positions as rules

  q, k = jax.random.normal(jax.random.key(3), (2, 1, 9, 2, 4))
  q, k = (jnp.broadcast_to(x[:, :1], x.shape) for x in (q, k))  # All alike.
  turned_q, turned_k = rules.turned(positions, q, k)
  scores = jnp.einsum("bthd,bshd->bhts", turned_q, turned_k)
  scores += rules.biases(positions, 9, 2)[None]
  for distance in range(4):
    diagonal = jnp.diagonal(scores, -distance, 2, 3)
    np.testing.assert_allclose(
      diagonal, jnp.broadcast_to(diagonal[..., :1], diagonal.shape), atol=1e-5
    )


def test_learned_positions_end():
  model = transformer("learned")
  params = model.init(jax.random.key(2))
  with pytest.raises(ValueError, match=f"us must have at most {T + 3} steps"):
    model.apply(params, jnp.zeros((T + 4, B, M)))


@pytest.mark.parametrize(
  "call, said",
  [
    (lambda: cells.leaky(M, N, rate=2.0), "rate must be at most 1, got 2.0"),
    (lambda: cells.leaky(M, N, tau=1.0), "rate must be given alone, or tau"),
    (lambda: cells.leaky(M, 0), "hidden_size must be"),
    (lambda: cells.residual(M, N, rate=0.0), "rate must be"),
    (lambda: cells.lstm(M, N, forget_bias="chrono"), "memory must be given"),
    (lambda: cells.lru(M, N, radius=(0.5, 1.0)), "radius must be"),
    (lambda: cells.mingru(0, N), "input_size must be"),
    (lambda: cells.mingru(M, N, forget_bias="chrono"), "memory must be given"),
    (lambda: models.attention_readout(N, 2, reads="all"), "reads must be"),
    (
      lambda: models.transformer_readout(models.Size(7, heads=2), 2),
      "width must be a multiple of 2",
    ),
    (
      lambda: models.transformer_readout(models.Size(8), 2, positions="polar"),
      "positions must be ",
    ),
    (
      lambda: models.transformer_readout(
        models.Size(8), 2, positions="learned"
      ),
      "max_length must be",
    ),
  ],
)
def test_mistakes_are_named(call, said):
  with pytest.raises(ValueError, match=said):
    call()


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_sequence_of_no_steps_sends_nothing_into_the_blocks(positions):
  model, us = transformer(positions, "last"), inputs()
  params = model.init(jax.random.key(2))

  def blocks(lengths):
    def total(p):
      return jnp.sum(model.apply(p, us, jnp.array(lengths))[:2] ** 2)

    def with_empty(p):
      return jnp.sum(model.apply(p, us, jnp.array(lengths)) ** 2)

    return jax.grad(total)(params), jax.grad(with_empty)(params)

  alone, with_empty = blocks([T, 3, 0])
  for one, other in zip(
    jax.tree.leaves(alone["readout"]["blocks"]),
    jax.tree.leaves(with_empty["readout"]["blocks"]),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_checkpointed_blocks_take_half_precision(dtype):
  size = models.Size(8, layers=3, heads=2)
  outputs = []
  for checkpoint in (False, True):
    readout = models.transformer_readout(
      size, 2, positions="rotary", checkpoint=checkpoint
    )
    params = readout.init(jax.random.key(0))
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    ys = jax.random.normal(jax.random.key(1), (6, 3, 8), jnp.float32)
    outputs.append(readout.apply(params, ys, None).astype(jnp.float32))
  np.testing.assert_allclose(*outputs, rtol=0.1, atol=0.1)
