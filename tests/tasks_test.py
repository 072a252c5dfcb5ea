"""Every task: each sequence against a parser in NumPy, and its chance level."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, models
from steadygrad.cells import elman
from steadygrad.tasks import TASKS, temporal_order_with_waits
from steadygrad.training import evaluation
from steadygrad.types import Batch

pytestmark = pytest.mark.usefixtures("quickly_compiled")

MINIMUM = {
  "temporal_order": 10,
  "three_bit_temporal_order": 10,
  "addition": 10,
  "multiplication": 10,
  "random_permutation": 1,
  "memorization_5_bits": 1,
  "memorization_20_bits": 1,
  "copy": 1,
  "adding": 2,
  "parity": 1,
  "flip_flop": 2,
}
EXTRA_STEPS = {
  "memorization_5_bits": 10,
  "memorization_20_bits": 20,
  "copy": 20,
}
MANY = 100_000
# Four standard deviations of a share of 100000 independent sequences.
SAMPLED = 4 * math.sqrt(0.25 / MANY)
# The same of a mean squared error, whose deviation is below .1 for each.
SAMPLED_LOSS = 4 * 0.1 / math.sqrt(MANY)
# float32 sums over the steps, in another order.
SAME_TO_ROUNDING = 2e-6
# A float32 number in [0, 2).
ONE_ROUNDING = 2.5e-7
# Five deviations: a few hundred counts are compared.
FIVE_SIGMA = 5


# Parsers: inputs [L, M] and target of one sequence -> what was drawn for it.


def symbols_of(us):
  """Indices of one-hot rows."""
  assert ((us == 0) | (us == 1)).all()
  assert (us.sum(1) == 1).all()
  return us.argmax(1)


def parse_ordered(tenths, us, target):
  sequence = symbols_of(us)
  length = len(sequence)
  places = np.flatnonzero(sequence < 2)
  assert len(places) == len(tenths)
  for place, k in zip(places, tenths, strict=True):
    assert k * length // 10 <= place < (k + 1) * length // 10
  digits = "".join(str(s) for s in sequence[places])
  assert target == int(digits, 2)
  rest = np.delete(sequence, places)
  assert ((rest >= 2) & (rest < 6)).all()
  return {"places": tuple(places), "symbols": digits, "rest": rest}


def parse_marked(ranges, answer, us, target):
  marks, numbers = us.T
  assert ((marks == 0) | (marks == 1)).all()
  assert ((numbers >= 0) & (numbers < 1)).all()
  places = np.flatnonzero(marks)
  assert len(places) == 2
  for place, (low, high) in zip(places, ranges(len(us)), strict=True):
    assert low <= place < high
  assert abs(target[0] - answer(*numbers[places])) < ONE_ROUNDING
  assert target.shape == (1,)
  return {"places": tuple(places), "numbers": numbers}


def parse_permutation(us, target):
  sequence = symbols_of(us)
  assert us.shape[1] == 100
  assert sequence[0] in (0, 1)
  assert target == sequence[0]
  assert (sequence[1:] >= 2).all()
  return {"symbols": sequence[0], "rest": sequence[1:]}


def parse_recalled(values, positions, ahead, us, target):
  sequence = symbols_of(us)
  blank, trigger = values, values + 1
  wait = len(us) - 2 * positions
  symbols = sequence[:positions]
  assert (symbols < values).all()
  expected = [*symbols, *[blank] * (wait + positions)]
  expected[positions + wait - ahead] = trigger
  assert sequence.tolist() == expected
  assert target.tolist() == [blank] * (wait + positions) + symbols.tolist()
  return {"symbols": tuple(symbols), "rest": symbols}


def parse_parity(us, target):
  assert ((us == 0) | (us == 1)).all()
  assert target == us.sum() % 2
  return {"rest": us}


def parse_flip_flop(us, target):
  """By a loop that does what the instructions say."""
  kinds, bits = symbols_of(us[:, :3]), us[:, 3:]
  assert (bits[-1] == 0).all()
  bits = [*symbols_of(bits[:-1]), None]
  assert (kinds[0], kinds[-1]) == (0, 1)
  memory = None
  for kind, bit in zip(kinds, bits, strict=True):
    if kind == 0:
      memory = bit
    elif kind == 1:
      assert bit in (memory, None)
  assert target == memory
  free = [b for k, b in zip(kinds, bits, strict=True) if k != 1]
  return {"kinds": kinds[1:-1], "rest": np.array(free)}


def stretched_ranges(steps):
  return (0, steps // 10), (steps // 10, steps // 2)


def half_ranges(steps):
  return (0, steps // 2), (steps // 2, steps)


PARSERS = {
  "temporal_order": functools.partial(parse_ordered, (1, 5)),
  "three_bit_temporal_order": functools.partial(parse_ordered, (1, 3, 6)),
  "addition": functools.partial(
    parse_marked, stretched_ranges, lambda a, b: (a + b) / 2
  ),
  "multiplication": functools.partial(
    parse_marked, stretched_ranges, lambda a, b: a * b
  ),
  "random_permutation": parse_permutation,
  "memorization_5_bits": functools.partial(parse_recalled, 2, 5, 0),
  "memorization_20_bits": functools.partial(parse_recalled, 5, 10, 0),
  "copy": functools.partial(parse_recalled, 8, 10, 1),
  "adding": functools.partial(parse_marked, half_ranges, lambda a, b: a + b),
  "parity": parse_parity,
  "flip_flop": parse_flip_flop,
}


@functools.cache
def batches(name, length, max_length=None, number=40, size=20):
  """A list of batches as NumPy arrays."""
  task = TASKS[name](length, max_length)
  keys = jax.random.split(jax.random.key(3), number)
  many = jax.jit(jax.vmap(lambda key: task.sample(key, size)))(keys)
  many = jax.device_get(many)
  return [jax.tree.map(lambda x, i=i: x[i], many) for i in range(number)]


def sequences(name, length, max_length=None):
  """(inputs, target) of every sequence, cut to its length."""
  reads = TASKS[name](length, max_length).reads
  for batch in batches(name, length, max_length):
    steps = len(batch.us) if batch.lengths is None else int(batch.lengths)
    for b in range(batch.us.shape[1]):
      target = batch.targets[:steps, b] if reads == "every" else None
      yield (
        batch.us[:steps, b],
        (batch.targets[b] if target is None else target),
      )


def test_the_names_are_those_of_the_command_line():
  assert set(TASKS) == set(PARSERS) == set(MINIMUM)
  for name, factory in TASKS.items():
    task = factory(20)
    assert task.name == name
    assert factory.__module__.startswith("steadygrad.tasks.")


@pytest.mark.parametrize("lengths", [(37, None), (20, 33)])
@pytest.mark.parametrize("name", TASKS)
def test_structure_of_every_sequence(name, lengths):
  length, max_length = lengths
  task = TASKS[name](length, max_length)
  for us, target in sequences(name, length, max_length):
    assert us.dtype == np.float32
    assert us.shape[1] == task.input_size
    PARSERS[name](us, target)


@pytest.mark.parametrize("name", TASKS)
def test_shortest_length_works_and_one_less_is_refused(name):
  least = MINIMUM[name]
  for us, target in sequences(name, least):
    PARSERS[name](us, target)
  with pytest.raises(ValueError) as error:
    TASKS[name](least - 1)
  for part in ("length", f"at least {least}", f"got {least - 1}", name):
    assert part in str(error.value)
  with pytest.raises(ValueError, match=f"max_length.*{least + 5}.*got {least}"):
    TASKS[name](least + 5, least)


@pytest.mark.parametrize("name", TASKS)
def test_every_length_is_drawn_alike(name):
  length, max_length = 20, 33
  found = [int(b.lengths) for b in batches(name, length, max_length, 2000, 1)]
  longest = [int(len(b.us)) for b in batches(name, length, max_length)][0]
  extra = EXTRA_STEPS.get(name, 0)
  if name in ("addition", "multiplication"):
    expected = np.zeros(longest + 1)
    for drawn in range(length, max_length + 1):
      steps = range(drawn, drawn + drawn // 10)
      expected[list(steps)] += 1 / 14 / len(steps)
  else:
    expected = np.zeros(longest + 1)
    expected[length + extra : max_length + extra + 1] = 1 / 14
  assert expected[-1] > 0, "padded further than any sequence reaches"
  counts = np.bincount(found, minlength=longest + 1)
  assert_counts(counts, expected)


def assert_counts(counts, shares):
  """Every count within five deviations; none where the share is zero."""
  total = counts.sum()
  spread = np.sqrt(total * shares * (1 - shares))
  assert (counts[shares == 0] == 0).all()
  assert (np.abs(counts - total * shares) <= FIVE_SIGMA * spread + 1e-9).all()


@pytest.mark.parametrize("name", TASKS)
def test_places_symbols_and_numbers_are_uniform(name):
  parsed = [PARSERS[name](*s) for s in sequences(name, 37)]
  for field in ("symbols", "rest"):
    if field not in parsed[0]:
      continue
    values = [np.ravel(p[field]) for p in parsed]
    if field == "symbols" and isinstance(parsed[0][field], str):
      values = [[int(p[field], 2)] for p in parsed]
    values = np.concatenate(values).astype(int)
    kinds = values.max() - values.min() + 1
    expected = {
      ("temporal_order", "symbols"): 4,
      ("three_bit_temporal_order", "symbols"): 8,
      ("random_permutation", "symbols"): 2,
      ("random_permutation", "rest"): 98,
      ("memorization_5_bits", "rest"): 2,
      ("memorization_20_bits", "rest"): 5,
      ("copy", "rest"): 8,
      ("parity", "rest"): 2,
      ("flip_flop", "rest"): 2,
    }.get((name, field))
    if expected is None and "order" not in name:
      continue
    assert kinds == (expected or 4)
    counts = np.bincount(values - values.min())
    assert_counts(counts, np.full(kinds, 1 / kinds))
  if "numbers" in parsed[0]:
    numbers = np.concatenate([p["numbers"] for p in parsed])
    counts, _ = np.histogram(numbers, 20, (0, 1))
    assert_counts(counts, np.full(20, 1 / 20))
  if "places" in parsed[0] and name not in ("addition", "multiplication"):
    tenths = {"temporal_order": (1, 5), "three_bit_temporal_order": (1, 3, 6)}
    ranges = [
      (37 * k // 10, 37 * (k + 1) // 10) for k in tenths.get(name, ())
    ] or half_ranges(37)
    for i, (low, high) in enumerate(ranges):
      counts = np.bincount([p["places"][i] - low for p in parsed])
      assert_counts(counts, np.full(high - low, 1 / (high - low)))


@pytest.mark.parametrize("name", ["addition", "multiplication"])
def test_marks_of_the_stretched_tasks_are_uniform(name):
  """Their places depend on the steps of the batch, 37, 38 or 39."""
  by_steps = {}
  for us, target in sequences(name, 37):
    places = PARSERS[name](us, target)["places"]
    by_steps.setdefault(len(us), []).append(places)
  assert set(by_steps) == {37, 38, 39}
  for steps, places in by_steps.items():
    for i, (low, high) in enumerate(stretched_ranges(steps)):
      counts = np.bincount(np.array(places)[:, i] - low)
      assert_counts(counts, np.full(high - low, 1 / (high - low)))


def test_eight_of_ten_instructions_are_ignored():
  parsed = [parse_flip_flop(*s) for s in sequences("flip_flop", 37)]
  kinds = np.concatenate([p["kinds"] for p in parsed])
  assert_counts(np.bincount(kinds), np.array([0.1, 0.1, 0.8]))


@pytest.mark.parametrize("name", ["parity", "flip_flop"])
def test_both_answers_are_as_likely_at_every_length(name):
  """Also where lengths are drawn and the sequence ends before the padding."""
  targets = np.array([target for _, target in sequences(name, 20, 33)])
  assert_counts(np.bincount(targets), np.array([0.5, 0.5]))


# Chance: (the answer of an input-blind predictor, given a batch) -> outputs.


def one_class(task, batch):
  return jnp.zeros((*batch.targets.shape, task.output_size))


def recall_blind(task, batch, positions):
  """Blanks while blanks are due, then any of the symbols alike."""
  steps = len(batch.us)
  blank = task.output_size - 1
  recall = (jnp.arange(steps) >= steps - positions)[:, None, None]
  logits = jnp.where(jnp.arange(blank + 1) == blank, -1e9, 0.0)
  sure = jnp.where(jnp.arange(blank + 1) == blank, 0.0, -1e9)
  wide = (steps, batch.us.shape[1], blank + 1)
  return jnp.broadcast_to(jnp.where(recall, logits, sure), wide)


def constant(value, task, batch):
  del task
  return jnp.full(batch.targets.shape, value)


def permutation_blind(task, batch):
  logits = jnp.where(jnp.arange(task.output_size) < 2, 0.0, -1e9)
  return jnp.broadcast_to(logits, (*batch.targets.shape, task.output_size))


# name: (least error, its predictor, least loss, its predictor).
CHANCE = {
  "temporal_order": (1 - 1 / 4, one_class, math.log(4), one_class),
  "three_bit_temporal_order": (1 - 1 / 8, one_class, math.log(8), one_class),
  "addition": (
    # The mean of two uniforms is triangular: 1 − 2 (1/2 (2 · .3)²) is inside.
    (2 * 0.3) ** 2,
    functools.partial(constant, 0.5),
    1 / 24,
    functools.partial(constant, 0.5),
  ),
  "multiplication": (
    # ∫ P(b > .4 / a) da from .4 to 1.
    0.6 - 0.4 * math.log(1 / 0.4),
    functools.partial(constant, 0.2),
    1 / 9 - 1 / 16,
    functools.partial(constant, 0.25),
  ),
  "random_permutation": (0.5, one_class, math.log(2), permutation_blind),
  "memorization_5_bits": (
    1 - 2.0**-5,
    functools.partial(recall_blind, positions=5),
    5 * math.log(2) / (37 + 10),
    functools.partial(recall_blind, positions=5),
  ),
  "memorization_20_bits": (
    1 - 5.0**-10,
    functools.partial(recall_blind, positions=10),
    10 * math.log(5) / (37 + 20),
    functools.partial(recall_blind, positions=10),
  ),
  "copy": (
    1 - 8.0**-10,
    functools.partial(recall_blind, positions=10),
    10 * math.log(8) / (37 + 20),
    functools.partial(recall_blind, positions=10),
  ),
  "adding": (
    (1 - 0.2) ** 2,
    functools.partial(constant, 1.0),
    1 / 6,
    functools.partial(constant, 1.0),
  ),
  "parity": (1 / 2, one_class, math.log(2), one_class),
  "flip_flop": (1 / 2, one_class, math.log(2), one_class),
}


def measured(task, predict, count):
  """Mean of wrong and of the loss over many sequences."""

  def one(key):
    batch = task.sample(key, 1000)._replace(lengths=None)
    outputs = predict(task, batch)
    return task.wrong(outputs, batch).mean(), task.loss(outputs, batch)

  keys = jax.random.split(jax.random.key(11), count // 1000)
  wrong, loss = jax.jit(lambda ks: jax.lax.map(one, ks))(keys)
  return float(wrong.mean()), float(loss.mean())


@pytest.mark.parametrize("name", TASKS)
def test_chance_by_closed_form_and_by_100000_samples(name):
  # Lengths vary for the stretched tasks alone, and there the loss ignores them.
  task = TASKS[name](37)
  error, guess, loss, regress = CHANCE[name]
  assert task.chance_error == pytest.approx(error, abs=1e-6)
  assert task.chance_loss == pytest.approx(loss, rel=1e-6)
  assert measured(task, guess, MANY)[0] == pytest.approx(error, abs=SAMPLED)
  tolerance = SAMPLED_LOSS if task.output_size == 1 else 1e-5
  found = measured(task, regress, MANY)[1]
  assert found == pytest.approx(loss, abs=tolerance)


@pytest.mark.parametrize("name", ["addition", "multiplication", "adding"])
def test_no_constant_does_better(name):
  task = TASKS[name](10)
  batch = task.sample(jax.random.key(0), MANY)

  def both(value):
    outputs = jnp.full(batch.targets.shape, value)
    return task.wrong(outputs, batch).mean(), task.loss(outputs, batch)

  values = jnp.linspace(0.0, 2.0, 201)
  wrong, loss = jax.jit(lambda vs: jax.lax.map(both, vs))(values)
  assert float(wrong.min()) > task.chance_error - SAMPLED
  assert float(loss.min()) > task.chance_loss - SAMPLED_LOSS
  if name == "multiplication":  # The mean is not the best guess: 39.05 %.
    mean = float(wrong[25])
    inside = 0.45 * (1 - math.log(0.45)) - 0.05 * (1 - math.log(0.05))
    assert mean == pytest.approx(1 - inside, abs=SAMPLED)


def test_chance_loss_of_many_lengths_is_their_mean():
  task = TASKS["memorization_5_bits"](30, 50)
  each = [TASKS["memorization_5_bits"](n).chance_loss for n in range(30, 51)]
  assert task.chance_loss == pytest.approx(np.mean(each))


@pytest.mark.parametrize("name", TASKS)
def test_padded_equals_exact_length(name):
  task = TASKS[name](20, 40)
  cell = elman(task.input_size, 6)
  readout = models.linear_readout(6, task.output_size, reads=task.reads)
  model = models.recurrent(cell, readout)
  params = model.init(jax.random.key(1))
  padded = task.sample(jax.random.key(2), 5)
  steps = int(padded.lengths)
  assert steps < len(padded.us)
  targets = padded.targets[:steps] if task.reads == "every" else padded.targets
  exact = Batch(padded.us[:steps], targets)

  @jax.jit
  def all_of(batch):
    loss, grads, _ = adjoints(model, task.loss)(params, batch)
    outputs = model.apply(params, batch.us, batch.lengths)
    return loss, grads, task.wrong(outputs, batch)

  results = [all_of(batch) for batch in (padded, exact)]
  for a, b in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=SAME_TO_ROUNDING)


def test_evaluation_draws_a_length_for_every_sequence():
  """Wrong beyond 120 steps of 50..200: 80 of the 151 lengths.

  One length for each 250 of 10000 sequences would spread by .08.
  """
  task = TASKS["temporal_order"](50, 200)
  task = task._replace(
    wrong=lambda outputs, batch: jnp.broadcast_to(
      batch.lengths > 120, outputs.shape[:1]
    )
  )
  readout = models.linear_readout(1, task.output_size)
  model = models.recurrent(elman(task.input_size, 1), readout)
  params = model.init(jax.random.key(0))
  error = jax.jit(
    lambda key: evaluation.error(task, model, params, key, 10_000)
  )
  found = np.array([error(jax.random.key(k)) for k in range(3)])
  deviation = math.sqrt(80 / 151 * 71 / 151 / 10_000)
  assert (np.abs(found - 80 / 151) < 4 * deviation).all()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
  "lengths,said",
  [
    ((50.0,), "length must be an integer, got 50.0"),
    ((math.inf,), "length must be an integer, got inf"),
    (("50",), "length must be an integer, got '50'"),
    ((None,), "length must be an integer, got None"),
    ((True,), "length must be an integer, got True"),
    ((50, 60.0), "max_length must be an integer, got 60.0"),
    ((3_000_000_000,), "length must be at most 2147483647, got 3000000000"),
    ((50, 2**31), "max_length must be at most 2147483647, got 2147483648"),
  ],
)
def test_lengths_are_integers(name, lengths, said):
  with pytest.raises(ValueError, match=f"^{said}"):
    TASKS[name](*lengths)


def test_lengths_of_numpy_are_pythons():
  task = TASKS["temporal_order"](np.int64(50), np.int32(60))
  same = TASKS["temporal_order"](50, 60)
  assert str(task.sample) == str(same.sample)


def test_a_mean_over_very_many_lengths_is_an_integral():
  few = TASKS["copy"](1, 30_000).chance_loss
  each = [10 / (n + 20) for n in range(1, 30_001)]
  np.testing.assert_allclose(few, math.log(8) * np.mean(each), rtol=1e-10)
  many = TASKS["copy"](1, 2**31 - 1).chance_loss
  assert 0 < many < few


@pytest.mark.parametrize("waits", [(0, 0, 0), (3, 1, 4)])
def test_symbols_stand_where_the_waits_say(waits):
  batch = temporal_order_with_waits(waits, jax.random.key(0), 200)
  us = np.asarray(batch.us)
  assert us.shape == (sum(waits) + 2, 200, 6)
  np.testing.assert_array_equal(us.sum(-1), 1)
  symbols = us.argmax(-1)
  places = [waits[0], waits[0] + 1 + waits[1]]
  first, second = symbols[places]
  assert set(first) == set(second) == {0, 1}
  np.testing.assert_array_equal(batch.targets, 2 * first + second)
  rest = np.delete(symbols, places, axis=0)
  assert set(rest.ravel()) == ({2, 3, 4, 5} if rest.size else set())


@pytest.mark.parametrize(
  "waits,size,said",
  [
    ((1, 2), 5, "waits must be three integers"),
    ((1, -2, 3), 5, "waits must be an integer of at least 0, got -2"),
    ((1, 2, 3), 0, "batch_size must be an integer of at least 1, got 0"),
  ],
)
def test_wrong_waits_are_named(waits, size, said):
  with pytest.raises(ValueError, match=said):
    temporal_order_with_waits(waits, jax.random.key(0), size)
