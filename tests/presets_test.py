"""Presets: each expands to valid runs, as many as it says."""

import importlib
import itertools
import pathlib
import re
import statistics

import jax
import pytest
from absl import flags

import steadygrad
from steadygrad import options, records, training, transforms
from steadygrad.programs import presets as corpora
from steadygrad.runs import gather, grids, kinds, starts
from steadygrad.runs.names import run_name, stem
from steadygrad.tasks import TASKS
from steadygrad.training import CorpusConfig, TaskConfig
from steadygrad.training import options as flags_of_fields
from steadygrad.training.config import ALGORITHMS
from steadygrad.training.networks import MODELS

PROGRAMS = pathlib.Path(steadygrad.__file__).parent / "programs"
EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1] / "experiments"
RESULTS = EXPERIMENTS / "results"
NAMES = sorted(p.stem for p in (EXPERIMENTS / "presets").glob("[a-z]*.py"))


def docstring(name):
  return importlib.import_module(f"presets.{name}").__doc__


def preset(name):
  return importlib.import_module(f"presets.{name}").GRIDS


def runs_of(name, **given):
  return grids.expand(preset(name), given, grids.kind_of(preset(name)))


def names_of(configs):
  return {run_name(c) for c in configs}


def given(command):
  """{field: values} of the flags of a command."""
  values = flags.FlagValues()
  flags_of_fields.define_flags(values, several=True)
  values(["sweep.py", *command.split()])
  return flags_of_fields.lists_from_flags(values)


def from_flags(command):
  """The runs of the flags of a command."""
  return grids.expand([{}], given(command))


@pytest.mark.parametrize("name", NAMES)
def test_every_run_can_be_built_and_is_counted(name):
  configs = runs_of(name)
  said = f"{len(configs)} runs"
  if isinstance(configs[0], TaskConfig):
    for config in {training.program(c): c for c in configs}.values():
      assert training.experiment(config).task.name == config.task
    said += f", at most {sum(c.max_updates for c in configs):,} updates"
  assert said in docstring(name).replace("\n", " ")
  assert f"--preset={name} " in docstring(name)
  assert "Source: " in docstring(name)


def test_a_preset_of_both_kinds_is_refused():
  with pytest.raises(ValueError, match="data in all of its grids or in none"):
    grids.kind_of([{"data": "jsb"}, {"length": 10}])


def test_networks_of_matched_have_as_many_parameters_as_it_says():
  sizes = {"nottingham": (139e3, 145e3), "ptb": (293e3, 301e3)}
  symbols = {"nottingham": 88, "ptb": 50}
  for config in runs_of("matched"):
    width = symbols[config.data]
    model = MODELS[config.model](config, width, width, "every", None)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    low, high = sizes[config.data]
    assert low - 500 < count < high + 500, config


@pytest.mark.parametrize("name", NAMES)
def test_grids_name_fields_of_the_configuration(name):
  for grid in preset(name):
    assert grid.keys() <= options.fields(grids.kind_of([grid])).keys()


def test_every_experiment_of_section_4_1_and_every_task_has_one():
  experiments = {"figure_7", "one_model", "learning_rates", "omega_modes"}
  experiments |= {"thresholds", "omega_without_clipping"}
  ours = {"sigmoid_start", "quiet_start", "identity_start", "settled"}
  ours |= {"settled_identity", "quickened", "comparators_search"}
  ours |= {"comparators", "comparators_floors", "forget_bias", "lengths"}
  ours |= {"matched", "time_constant", "residual_clipping", "clipping"}
  ours |= {"clipping_text"}
  # These tasks are columns of `comparators`, or of the paper's figure.
  columns = {"temporal_order", "parity", "flip_flop"}
  assert set(NAMES) == experiments | ours | set(TASKS) - columns


# The runs by their flags alone: both ways give files of the same names.
BY_FLAGS = {
  "figure_7": "--task=temporal_order --length=50,100,150,200,250"
  " --init=sigmoid,basic_tanh,smart_tanh --algorithm=msgd,msgd_c,msgd_cr"
  " --seeds=5",
  "omega_modes": "--length=50 --algorithm=msgd_cr --form=x,h"
  " --omega_ratio=squared,norm --omega_reduction=mean,sum --seeds=8",
  "learning_rates": "--length=50 --init=basic_tanh"
  " --algorithm=msgd,msgd_c,msgd_cr --learning_rate=0.001,0.01,0.1 --seeds=5",
  "one_model": "--length=50 --max_length=200 --algorithm=msgd_cr --seeds=10",
  "memorization_5_bits": "--task=memorization_5_bits --length=50,100,150,200"
  " --algorithm=msgd,msgd_c,msgd_cr --init=orthogonal_quiet"
  " --learning_rate=0.01 --seeds=5 --first_seed=100",
}


@pytest.mark.parametrize("name", BY_FLAGS)
def test_the_same_runs_as_by_flags(name):
  whole = {"solved_below": [None]} if name == "one_model" else {}
  by_preset = grids.expand(preset(name), whole)
  assert names_of(by_preset) == names_of(from_flags(BY_FLAGS[name]))


@pytest.mark.parametrize(
  "name,other,command",
  [
    ("settled", "one_model", ""),
    (
      "settled_identity",
      "identity_start",
      "--task=temporal_order --algorithm=msgd_cr --length=50 --max_length=200"
      " --solved_below=1e-4",
    ),
  ],
)
def test_what_a_preset_starts_with_are_the_runs_of_another(
  name, other, command
):
  begun = runs_of(name)
  assert command in re.sub(r"[\s\\]+", " ", docstring(name))
  found = names_of(grids.expand(preset(other), given(command)))
  assert found == {f"{c.start}-{c.first_seed}" for c in begun}


def test_what_presets_start_with_is_committed():
  committed = records.read_json(pathlib.Path(__file__).parent / "digests.json")
  begun = {
    f"{config.start}-{config.first_seed}"
    for name in NAMES
    for config in runs_of(name)
    if isinstance(config, TaskConfig) and config.start is not None
  }
  assert len(begun) > 20 and begun <= {
    n for runs in committed.values() for n in runs
  }


def test_the_turns_of_quickened_follow_on_settled_identity():
  turns = starts.stages(runs_of("quickened"))
  assert [len(turn) for turn in turns] == [5] * 4
  before = runs_of("settled_identity")
  for turn in turns:
    assert {starts.first(c) for c in turn} == names_of(before)
    before = turn


def test_a_part_of_a_preset_is_a_part_of_its_runs():
  whole = runs_of("figure_7")
  part = runs_of("figure_7", length=[50])
  assert len(part) == 45
  assert names_of(part) < names_of(whole)


@pytest.mark.parametrize("name", ["learning_rates", "omega_without_clipping"])
def test_runs_of_figure_7_are_shared(name):
  shared = names_of(runs_of("figure_7"))
  shared &= names_of(runs_of(name))
  assert (
    len(shared) == {"learning_rates": 15, "omega_without_clipping": 20}[name]
  )


def test_methods_that_are_compared_share_seeds_and_settings():
  """But for what is compared: initial weights and data follow the seed."""
  for config in runs_of("figure_7"):
    assert (config.learning_rate, config.batch_size) == (0.01, 20)
    assert config.first_seed in range(5)


def test_thresholds_are_half_to_ten_times_the_average_norm():
  record = records.read_json(
    EXPERIMENTS / "results" / "temporal_order_50_32_seeds.json"
  )
  norms = records.numbers(record["curves"]["gradient_norm"])
  advice = transforms.choose_max_norm(norms[norms == norms])
  configs = runs_of("thresholds")
  tried = sorted({c.max_norm for c in configs})
  assert tried[0] == 1.0  # The paper's.
  # The preset rounds the average to 12.
  for got, times in zip(tried[1:], (0.5, 1, 2, 5, 10), strict=True):
    assert got == pytest.approx(times * advice.suggested, rel=0.05)


def test_commands_name_figures_that_there_are():
  text = (PROGRAMS / "draw.py").read_text()
  said = [re.findall(r"--figure=(\w+)", docstring(n)) for n in NAMES]
  for figure in itertools.chain(*said):
    assert f'"{figure}"' in text


# These are of flags beside a preset: other rates, or the budget of another.
BY_HAND = {"ptb-60-longer", "ptb-longer", "ptb-rate"}


def test_presets_of_corpora_are_those_of_the_committed_records():
  """Each is of every data set and algorithm."""
  made = {
    name: {
      stem(CorpusConfig(data=d, algorithm=a, **preset_of(d, a)))
      for d in corpora.DATA
      for a in ALGORITHMS
    }
    for name, preset_of in corpora.PRESETS.items()
  }
  named = 0
  for path in sorted((EXPERIMENTS / "results" / "natural").glob("*.json")):
    record = records.read_json(path)
    if record["kind"] != "natural" or path.stem in BY_HAND:
      continue
    of = path.stem.split("-")[1]
    of = "paper" if of.startswith("msgd") else of
    of = "ours" if of in ("average", "c") else of
    assert stem(kinds.config_of(record, path)) in made[of], path
    named += 1
  assert named > 20


def test_the_rates_of_comparators_are_the_best_of_their_search():
  from presets import comparators

  runs = gather.read(RESULTS / "comparators_search.json").values()
  found = {}
  for run in runs:
    config = run["config"]
    method = config["model"], config["optimizer"], config["algorithm"]
    rates = found.setdefault(method, {})
    rates.setdefault(config["learning_rate"], []).append(run)

  def rank(rate, runs):
    solved = [r["updates"] for r in runs if r["outcome"] == "solved"]
    error = sum(r["test_error"] for r in runs)
    return -len(solved), statistics.median(solved or [0]), error, rate

  assert all(len(r) == 3 for rates in found.values() for r in rates.values())
  best = {
    method: min(rates, key=lambda rate: rank(rate, rates[rate]))
    for method, rates in found.items()
  }
  said = {(m, "adam", "msgd_c"): r for m, r in comparators.ADAM.items()}
  said |= {(m, "sgd", "msgd_c"): r for m, r in comparators.SGD.items()}
  said |= {(m, "adam", "msgd_cr"): r for m, r in comparators.OMEGA.items()}
  assert said == best
