"""Tasks of your own: their names, and what no name may stand for."""

import functools

import pytest
from absl import flags

from steadygrad import training
from steadygrad.activations import ACTIVATIONS
from steadygrad.runs import grids
from steadygrad.runs.names import run_name
from steadygrad.tasks import TASKS, make_task, register_task
from steadygrad.training import options
from steadygrad.training.config import CorpusConfig, TaskConfig
from steadygrad.types import Task

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def first_bit(length, max_length=None, name="first_bit"):
  """A task of one's own: `temporal_order` under another name."""
  return TASKS["temporal_order"](length, max_length)._replace(name=name)


@pytest.mark.usefixtures("own_tasks")
def test_a_task_of_your_own_has_a_name_at_any_time():
  with pytest.raises(ValueError, match="task must be one of .*'first_bit'"):
    TaskConfig(task="first_bit")
  register_task("first_bit", first_bit)
  config = TaskConfig(task="first_bit", length=12)
  exp = training.experiment(config)
  assert exp.task.name == exp.config.task == "first_bit"
  assert config.digest() != TaskConfig(length=12).digest()
  (run,) = grids.expand([{"task": "first_bit"}], {"seeds": [1]})
  assert run_name(run).startswith("first_bit-50-basic_tanh-msgd_cr-")
  with pytest.raises(ValueError, match="length must be at least 10.*got 9"):
    TaskConfig(task="first_bit", length=9)
  # Without the function too.
  TASKS["last_bit"] = functools.partial(first_bit, name="last_bit")
  assert TaskConfig(task="last_bit").task == "last_bit"


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize("name", ["wrong", "chance_error"])
def test_a_regression_is_for_loops_of_your_own(name):
  """A `Task` may leave it out; `training` says that it needs it."""

  def regression(length, max_length=None):
    return first_bit(length, max_length, "regression")._replace(**{name: None})

  task = first_bit(12)
  fields = {f: getattr(task, f) for f in task._fields[:6]}
  assert Task(**fields).wrong is Task(**fields).chance_error is None
  register_task("regression", regression)
  config = TaskConfig(task="regression", length=12)
  with pytest.raises(ValueError, match=f"task regression must have {name}"):
    training.experiment(config)


def test_an_error_needs_what_is_wrong():
  task = first_bit(12)._replace(wrong=None)
  with pytest.raises(ValueError, match="task first_bit must have wrong"):
    training.evaluation.count_wrong(
      task, training.experiment(TaskConfig()).model, {}, None, 10, 1
    )


def test_an_activation_of_your_own_has_a_name_at_any_time(monkeypatch):
  monkeypatch.setitem(ACTIVATIONS, "mine", ACTIVATIONS["tanh"])
  assert TaskConfig(activation="mine").activation == "mine"
  assert CorpusConfig(activation="mine").activation == "mine"


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
  "name,factory,said",
  [
    ("temporal_order", first_bit, "name must be new.*'temporal_order'"),
    ("first-bit", first_bit, "name must be letters.*'first-bit'"),
    ("../first", first_bit, "name must be letters.*'../first'"),
    ("", first_bit, "name must be letters.*''"),
    (5, first_bit, "name must be letters.*5"),
    ("first_bit", "first_bit", "factory must be a function.*'first_bit'"),
  ],
)
def test_what_cannot_be_registered_is_named(name, factory, said):
  before = dict(TASKS)
  with pytest.raises(ValueError, match=said):
    register_task(name, factory)
  assert before == TASKS


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
  "factory,said",
  [
    (lambda *_: None, "task mine must be a Task, .* made None"),
    (lambda *_: ("mine", 1), "task mine must be a Task"),
    (first_bit, "task mine must have this name, but has 'first_bit'"),
    (lambda: None, "task mine cannot be made of length=50 and max_length=None"),
    (lambda length: None, "task mine cannot be made"),
    ("mine", "task mine cannot be made .* not callable"),
  ],
)
def test_what_makes_no_task_is_named(factory, said):
  TASKS["mine"] = factory
  for make in (lambda: TaskConfig(task="mine"), lambda: make_task("mine", 50)):
    with pytest.raises(ValueError, match=said):
      make()


@pytest.mark.usefixtures("own_tasks")
def test_an_experiment_has_the_task_that_its_configuration_names():
  exp = training.experiment(TaskConfig())
  own = exp.batches._replace(name="first_bit")
  with pytest.raises(
    ValueError, match="task must be temporal_order, .*first_b"
  ):
    training.Experiment(**exp._asdict() | {"batches": own})
  register_task("first_bit", first_bit)
  config = TaskConfig(task="first_bit")
  by_hand = exp._asdict() | {"config": config, "batches": own}
  assert training.Experiment(**by_hand).config == config
  assert training.Experiment(**by_hand)._replace(model=None).batches == own


@pytest.mark.usefixtures("own_tasks")
def test_a_module_and_a_function_are_a_task_of_the_launchers():
  """As of --task=my_tasks:first_bit, in train.py and in sweep.py."""
  word = f"{__name__}:first_bit"
  for several in (False, True):
    values = flags.FlagValues()
    options.define_flags(values, several=several)
    values(["train.py", f"--task={word}", "--length=12"])
    if several:
      assert options.lists_from_flags(values) == {
        "task": ["first_bit"],
        "length": [12],
      }
    else:
      config = options.from_flags(values, lambda data, algorithm: {})
      assert config == TaskConfig(task="first_bit", length=12)
  assert TASKS["first_bit"] is first_bit
