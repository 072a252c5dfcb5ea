"""Runs that begin with other runs' parameters, and with random states."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import adjoints, runs, training
from steadygrad.cells import faster
from steadygrad.runs import starts, store
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from steadygrad.training import Data
from steadygrad.training.config import TaskConfig

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TINY = TaskConfig(
  length=12,
  hidden_size=8,
  batch_size=4,
  algorithm="msgd_c",
  learning_rate=0.1,
  seeds=1,
  first_seed=3,
  max_updates=2,
  check_every=1,
  check_size=50,
  test_size=100,
)


def with_scale(scale, **others):
  changes = {"initial_state_scale": scale} | others
  return training.experiment(dataclasses.replace(TINY, **changes))


def drawn(exp, key, state, step=0):
  """(batch, states before it) of an update."""
  return exp.batches.draw(Data(), key, step, (), state.params)


@pytest.mark.parametrize("init", ["basic_tanh", "sigmoid"])
def test_states_are_drawn_around_the_cells_own(init):
  exp = with_scale(0.5, init=init, form="x", batch_size=250, hidden_size=40)
  key = jax.random.key(0)
  state = training.init(exp, key)
  first, second = [drawn(exp, key, state, step)[1] for step in (0, 1)]
  both = np.stack([first, second]).reshape(2, -1)
  # 10000 numbers each: five standard errors.
  np.testing.assert_allclose(both.mean(1), 0, atol=0.025)
  np.testing.assert_allclose(both.std(1), 0.5, atol=0.018)
  assert abs(np.corrcoef(both)[0, 1]) < 0.05


def test_an_update_is_one_from_these_states():
  exp = with_scale(0.5, init="orthogonal_quiet")  # Which remembers them.
  key = jax.random.key(1)
  state = training.init(exp, key)
  update = jax.jit(lambda state: training.update(exp, Data(), key, state))
  after, info = update(state)
  batch_key = jax.random.fold_in(key, training.Stream.DATA)
  batch = exp.task.sample(jax.random.fold_in(batch_key, 0), 4)
  x_0 = drawn(exp, key, state)[1]
  run = jax.jit(adjoints(exp.model, exp.task.loss))
  loss, grads, _ = run(state.params, batch, x_0)
  assert loss != run(state.params, batch, jnp.zeros_like(x_0))[0]
  norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
  step = 0.1 * min(1, 1 / norm)
  np.testing.assert_allclose(info["loss"], loss, rtol=1e-6)
  for a, p, g in zip(
    *map(jax.tree.leaves, (after.params, state.params, grads)), strict=True
  ):
    np.testing.assert_allclose(a, p - step * g, rtol=1e-5, atol=1e-7)


def test_without_a_scale_nothing_is_drawn_and_checks_never_draw():
  key = jax.random.key(2)
  state = training.init(with_scale(0.0), key)
  assert drawn(with_scale(0.0), key, state)[1] is None
  large = {"test_size": 250, "check_size": 250}
  plain, wild = [
    with_scale(s, **large).stopping.judge(Data(), key, state)[1]
    for s in (0.0, 100.0)
  ]
  assert plain["error"] == wild["error"]
  same = [with_scale(s).stopping.test(Data(), key, state) for s in (0.0, 100.0)]
  assert same[0] == same[1]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """A sweep's directory with one run of two updates, and its name."""
  directory = tmp_path_factory.mktemp("first")
  sweep(directory, [TINY])
  return directory, run_name(TINY).rpartition("-")[0]


def sweep(home, configs, first=None):
  one = jax.devices()[:1]  # Each further one compiles the sweep's again.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    with Directory(home) as directory:
      return runs.sweep(configs, directory, first_runs=first, progress=False)


def state_of(directory, config):
  name = run_name(config)
  path = directory / "states" / f"{name}.safetensors"
  arrays = store.read_arrays(path, name).arrays
  template = jax.eval_shape(
    training.experiment(config).model.init, jax.random.key(0)
  )
  template = jax.tree.map(lambda x: jnp.zeros((1, *x.shape)), template)
  params = store.unflatten(template, arrays, "state.params")
  return jax.tree.map(lambda x: x[0], params)


def test_a_run_goes_on_from_the_parameters_of_another(ended, tmp_path):
  directory, name = ended
  config = dataclasses.replace(TINY, start=name, max_updates=1)
  loaded = starts.load(str(directory), [config])
  first = state_of(directory, TINY)
  (params,) = loaded.values()
  jax.tree.map(np.testing.assert_array_equal, params, first)
  sweep(tmp_path, [config], str(directory))
  exp, key = training.experiment(config), jax.random.key(TINY.first_seed)
  expected, _ = training.update(
    exp, Data(), key, training.init(exp, key, first)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    state_of(tmp_path, config),
    jax.device_get(expected.params),
  )
  fresh = training.init(exp, key).params["cell"]["w_in"]
  assert not np.allclose(state_of(tmp_path, config)["cell"]["w_in"], fresh)


@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_a_start_that_is_so_many_times_as_fast(ended, speed):
  """From any state, all of a step but x - tanh(x) is so many times as large."""
  directory, name = ended
  config = dataclasses.replace(TINY, start=name, start_speed=speed)
  (params,) = starts.load(str(directory), [config]).values()
  slow = state_of(directory, TINY)
  slow["cell"]["b"] += 0.3
  fast = faster(slow["cell"], speed)
  exp = training.experiment(config)
  rng = np.random.default_rng(0)
  x, u = [rng.normal(size=(5, n)).astype(np.float32) for n in (8, 6)]
  own = np.tanh(x) - x
  moved = [exp.model.cell.step(p, x, u) - x for p in (slow["cell"], fast)]
  np.testing.assert_allclose(
    moved[1] - own, speed * (moved[0] - own), rtol=1e-5, atol=1e-6
  )
  first = state_of(directory, TINY)
  jax.tree.map(
    np.testing.assert_array_equal,
    params,
    first | {"cell": faster(first["cell"], speed)},
  )
  if speed == 1:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
      params,
      first,
    )


def test_turns_run_one_after_the_other(ended, tmp_path):
  """A run, one from it, and one from that: of one sweep, wherever it stops."""
  directory, name = ended
  chain = [dataclasses.replace(TINY, start=name, start_speed=2.0)]
  for _ in range(2):
    before = run_name(chain[-1]).rpartition("-")[0]
    chain.append(dataclasses.replace(chain[-1], start=before))
  assert starts.stages(chain[::-1]) == [[c] for c in chain]
  assert starts.stages([chain[2], TINY]) == [[chain[2], TINY]]
  assert starts.stages([]) == [[]]

  with pytest.raises(ValueError, match=f"starts .*{name}.* None"):
    sweep(tmp_path, chain[::-1])
  # After one it goes on from what is in the sweep's own directory.
  sweep(tmp_path, chain[:1], str(directory))
  ledger = sweep(tmp_path, chain[::-1])
  assert ledger["runs"] == 3 and ledger["updates_left"] == 0
  exp, key = training.experiment(chain[2]), jax.random.key(TINY.first_seed)
  first = state_of(tmp_path, chain[1])
  params = first | {"cell": faster(first["cell"], 2.0)}
  state = training.init(exp, key, params)
  for _ in range(2):
    state, _ = training.update(exp, Data(), key, state)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    state_of(tmp_path, chain[2]),
    jax.device_get(state.params),
  )


def test_names_tell_runs_with_another_start_apart(ended):
  other = dataclasses.replace(TINY, start=ended[1])
  assert run_name(other) != run_name(TINY)
  assert training.program(other) == training.program(TINY)
  quick = dataclasses.replace(other, start_speed=2.0)
  assert run_name(quick) != run_name(other)
  assert training.program(quick) == training.program(TINY)
  wider = dataclasses.replace(TINY, initial_state_scale=0.5)
  assert run_name(wider) != run_name(TINY)
  assert training.program(wider) != training.program(TINY)


def test_what_cannot_be_begun_with_is_named(ended):
  directory, name = ended
  begun = dataclasses.replace(TINY, start=name)
  assert starts.load(None, [TINY]) == {}
  with pytest.raises(ValueError, match=f"starts .*{name}.* None"):
    starts.load(None, [begun])
  missing = dataclasses.replace(begun, first_seed=4)
  with pytest.raises(ValueError, match=f"must have ended.*{name}-4.json"):
    starts.load(str(directory), [missing])
  for where, said in ((None, "starts .* None"), (directory, "must have ended")):
    with pytest.raises(ValueError, match=said):
      starts.check(where, [missing])
  # What begins with a run that is left too is not missed, nor what is there.
  after = dataclasses.replace(TINY, start=run_name(begun)[: -len("-3")])
  starts.check(str(directory), [TINY, after, begun])
  starts.check(None, [begun], own=directory)
  larger = dataclasses.replace(begun, hidden_size=9)
  with pytest.raises(ValueError, match=r"start must .*\(9, 9\).*\(8, 8\)"):
    starts.load(str(directory), [larger])


def test_only_the_x_form_is_made_faster(ended):
  directory, name = ended
  quick = dataclasses.replace(TINY, start=name, start_speed=2.0, form="h")
  with pytest.raises(ValueError, match="start_speed .* 2.0 with form=h"):
    starts.load(str(directory), [quick])


def test_the_training_launcher_has_no_starts(server, tmp_path):
  words = ("train.py", "--start=somewhere")
  status, _, err, _ = server.launch(*words, cwd=tmp_path)
  assert status == 1
  assert "start must be none here, got somewhere" in err
