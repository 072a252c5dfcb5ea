"""Runs that ended, as they are read: of all launchers, and mistakes."""

import shutil

import jax
import numpy as np
import pytest

from steadygrad import runs, training
from steadygrad.runs import corpora, names, store, sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.names import run_name
from steadygrad.training.config import CorpusConfig, TaskConfig
from tests import corpora_cases

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TINY = TaskConfig(
  length=12,
  hidden_size=6,
  batch_size=2,
  algorithm="msgd_c",
  seeds=2,
  max_updates=2,
  check_every=2,
  check_size=10,
  test_size=10,
)
ONE = TaskConfig(**vars(TINY) | {"seeds": 1, "first_seed": 1}).resolved()
TEXT = CorpusConfig(
  data="ptb", hidden_size=5, chunk_length=8, max_epochs=1, batch_size=2,
  eval_lanes=2, seeds=2, algorithm="msgd_c",
)  # fmt: skip


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """{launcher: path of a run that ended}."""
  home = tmp_path_factory.mktemp("runs")
  corpora_cases.small_text(home)
  one = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: one)
    runs.train(TINY, home / "train", progress=False)
    with Directory(home / "sweep") as swept:
      runs.sweep([ONE], swept, progress=False)
    load = corpora.loader(home, check=False)
    runs.train(TEXT, home / "text", corpora=load, progress=False)
  return {
    "train": home / "train",
    "sweep": home / "sweep" / "records" / f"{run_name(ONE)}.json",
    "text": home / "text",
  }


@pytest.mark.parametrize(
  "launcher,config,seeds", [("train", TINY, 2), ("sweep", ONE, 1)]
)
def test_a_run_on_a_task(ended, launcher, config, seeds):
  run = runs.load(str(ended[launcher]))
  assert run.config == config.resolved()
  assert run.record["results"]["updates"] == [2] * seeds
  exp = training.experiment(config)
  template = jax.eval_shape(exp.model.init, jax.random.key(0))
  jax.tree.map(
    lambda x, s: np.testing.assert_equal(x.shape, (seeds, *s.shape)),
    run.params, template,
  )  # fmt: skip
  us = exp.task.sample(jax.random.key(0), 3).us
  assert jax.vmap(run.model.apply, (0, None))(run.params, us).shape == (
    (seeds, 3, 4)
  )


def test_both_launchers_leave_the_same_parameters(ended):
  many, one = (runs.load(ended[name]).params for name in ("train", "sweep"))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1:], b), many, one)


def test_a_run_on_text_has_the_symbols_of_its_text(ended):
  run = runs.load(ended["text"])
  assert run.config == TEXT.resolved() and run.record["kind"] == "corpus"
  symbols = run.params["readout"]["w_out"].shape[-1]
  assert run.params["cell"]["w_in"].shape == (2, symbols, 5)
  us = np.zeros((4, 3, symbols), np.float32)
  params = jax.tree.map(lambda x: x[0], run.params)
  assert run.model.apply(params, us).shape == (4, 3, symbols)


def test_a_seed_of_a_run_is_read_by_itself(ended):
  many = runs.load(ended["train"])
  for seed, config in enumerate(names.of_seeds(TINY)):
    path = sweeps.record_path(ended["train"], run_name(config))
    one = runs.load(path)
    assert one.config == config.resolved()
    for name in ("updates", "test_error"):
      found = many.record["results"][name][seed]
      assert one.record["results"][name] == [found]
    jax.tree.map(
      lambda a, b, s=seed: np.testing.assert_array_equal(a[s], b[0]),
      many.params,
      one.params,
    )


def state(run_dir, config):
  (first, *_) = names.of_seeds(config)
  return sweeps.state_path(run_dir, run_name(first))


@pytest.mark.parametrize("file", ["record.json", "state"])
@pytest.mark.parametrize("launcher,config", [("train", TINY), ("text", TEXT)])
def test_a_run_without_a_file_has_not_ended(
  ended, launcher, config, file, tmp_path
):
  shutil.copytree(ended[launcher], tmp_path / "run")
  path = tmp_path / "run" / file
  if file == "state":
    path = state(tmp_path / "run", config)
  path.unlink()
  said = f"runs must have ended, but .*{path.name}"
  with pytest.raises(ValueError, match=said):
    runs.load(tmp_path / "run")


def test_parameters_of_another_run_are_refused(ended, tmp_path):
  shutil.copytree(ended["train"], tmp_path / "run")
  path = state(tmp_path / "run", TINY)
  shutil.copy(state(ended["text"], TEXT), path)
  with pytest.raises(ValueError, match=f"{path} holds the run ptb-elman-.*not"):
    runs.load(tmp_path / "run")


def test_parameters_of_another_shape_are_refused(ended, tmp_path):
  """With the right name, which only an edited file can have."""
  shutil.copytree(ended["train"], tmp_path / "run")
  path = state(tmp_path / "run", TINY)
  arrays, meta, name = store.read_arrays(path)
  first = next(key for key in arrays if "w_rec" in key)
  wrong = arrays | {first: arrays[first][:, :1]}
  store.write_arrays(path, wrong, meta, name=name)
  with pytest.raises(ValueError, match="holds no parameters of this run"):
    runs.load(tmp_path / "run")
  with pytest.raises(ValueError, match=f"{path} holds no parameters of this"):
    runs.load(sweeps.record_path(tmp_path / "run", path.stem))


def test_load_is_an_attribute_and_others_are_not():
  assert runs.load is runs.loading.load
  with pytest.raises(AttributeError, match="no attribute 'lode'"):
    runs.lode  # noqa: B018
