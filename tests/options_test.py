"""Fields of both configurations: kinds, limits, and the names they make."""

import ast
import dataclasses
import enum
import fractions
import math
import pathlib
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad import options, records
from steadygrad.runs import gather, kinds
from steadygrad.runs.names import run_name
from steadygrad.training.config import MAX_SEEDS, CorpusConfig, TaskConfig
from steadygrad.training.options import integers

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
FIELDS = [
  pytest.param(config, field, id=f"{config.__name__}.{field.name}")
  for config in (TaskConfig, CorpusConfig)
  for field in dataclasses.fields(config)
]
# What is not of a kind, by the kind.
WRONG = {
  int: (50.5, 50.0, np.float64(50), "50", True, np.True_, math.inf, 1j,
        np.array(50), jnp.array(50), fractions.Fraction(50),
        np.timedelta64(50, "s"), [50], (50,), b"50", range(50)),
  float: ("0.5", True, np.False_, 0.5j, np.array(0.5), jnp.float32(0.5), [0.5],
          b"0.5", np.timedelta64(1, "s")),
  bool: ("no", "yes", "true", 0, 1, 1.0, np.int64(1), np.array(True),
         jnp.array(True), []),
  str: (5, True, 0.5, ["x"], b"x", np.array("x"), {}, ""),
}  # fmt: skip


def said(config, **fields):
  with pytest.raises(ValueError) as error:
    config(**fields)
  return str(error.value)


@pytest.mark.parametrize("config,field", FIELDS)
def test_a_value_of_another_kind_names_field_and_value(config, field):
  kind = field.metadata["kind"]
  wrong = [*WRONG[kind], object()]
  if field.name == "checkpoint_every":
    wrong.remove(5)  # A number of steps may be given as one.
  if field.default is not None:
    wrong.append(None)
  for value in wrong:
    message = said(config, **{field.name: value})
    assert message.startswith(f"{field.name} must ")
    assert repr(value) in message
    allowed = options.KINDS[kind]
    if kind is str:
      allowed = "one of" if field.metadata["choices"] else ("text", "empty")
    assert any(a in message for a in np.atleast_1d(allowed))


def test_a_traced_number_is_none():
  with pytest.raises(ValueError, match="learning_rate must be a number that"):
    jax.make_jaxpr(lambda x: TaskConfig(learning_rate=x) and x)(0.1)


@pytest.mark.parametrize("config,field", FIELDS)
def test_the_kind_is_the_annotations(config, field):
  annotation = typing.get_type_hints(config)[field.name]
  kind, optional = field.metadata["kind"], field.default is None
  assert annotation == (kind | None if optional else kind)
  assert isinstance(annotation, types.UnionType) == optional


@pytest.mark.parametrize("config,field", FIELDS)
def test_numbers_are_those_that_a_program_can_hold(config, field):
  kind, infinite = field.metadata["kind"], field.metadata["infinite"]
  if kind is int:
    most = field.metadata["high"]
    own = {"seeds": MAX_SEEDS, "first_seed": 2**32 - 1, "layers": 100}
    assert most == own.get(field.name, 2**31 - 1)
    for value in (most + 1, 3_000_000_000_000, 10**5000):
      message = said(config, **{field.name: value})
      assert f"{field.name} must be at most {most}, got" in message
    with pytest.raises(ValueError, match=f"{field.name} must be at least"):
      config(**{field.name: -(10**30)})
  if kind is float:
    for value in (1e-50, 5e-324, 1e-40, 1e39, 1e300, 10**400, -(10**400)):
      message = said(config, **{field.name: value})
      assert message.startswith(f"{field.name} must be ")
      assert "1.1754944e-38 to 3.4028235e+38" in message
      assert str(value) in message
    assert infinite == (field.name == "max_norm")
    assert "nan" in said(config, **{field.name: math.nan})
    said(config, **{field.name: -math.inf})
    if infinite:
      assert config(**{field.name: math.inf}).max_norm == math.inf
    else:
      assert "finite" in said(config, **{field.name: math.inf})


@pytest.mark.parametrize(
  "config,name,value,allowed",
  [
    (TaskConfig, "max_norm", 0, "greater than 0"),
    (CorpusConfig, "max_norm", 0.0, "greater than 0"),
    (TaskConfig, "label_smoothing", 1 - 1e-12, "under 1.*in float32 1.0"),
    (CorpusConfig, "min_gain", 1.0, "under 1"),
    (CorpusConfig, "min_gain", 1 - 1e-12, "under 1.*in float32 1.0"),
    (CorpusConfig, "average", 1.5, "at most 1"),
    (CorpusConfig, "halve_after", 0, "at least 1"),
    (CorpusConfig, "seeds", 100_000, "at most 10000"),
    (TaskConfig, "seeds", 100_000, "at most 10000"),
  ],
)
def test_a_number_beyond_a_limit_is_refused(config, name, value, allowed):
  with pytest.raises(ValueError, match=f"^{name} must be {allowed}"):
    config(**{name: value})


def test_the_largest_numbers_are_taken():
  config = TaskConfig(
    task="copy",  # Whose chance loss is a mean over all lengths.
    length=1,
    max_length=2**31 - 1,
    max_updates=2**31 - 1,
    first_seed=2**32 - 4,
    learning_rate=3.4028235e38,
    omega_min_squared_norm=1.1754944e-38,
  )
  assert config.digest()


class Task(str, enum.Enum):  # noqa: UP042
  ADDING = "adding"


def test_scalars_of_numpy_are_pythons_and_name_the_same_run():
  given = dict(
    task=np.str_("adding"),
    length=np.int64(60),
    hidden_size=np.uint8(9),
    learning_rate=np.float64(0.02),
    max_norm=np.int32(3),
    omega_weight=-0.0,
    go_on=np.True_,
    solved_below=fractions.Fraction(1, 4),
  )
  own = dict(
    task="adding",
    length=60,
    hidden_size=9,
    learning_rate=0.02,
    max_norm=3.0,
    omega_weight=0.0,
    go_on=True,
    solved_below=0.25,
  )
  got, expected = TaskConfig(**given), TaskConfig(**own)
  assert got == expected and repr(got) == repr(expected)
  assert got.digest() == expected.digest()
  assert run_name(got) == run_name(expected)
  for field in dataclasses.fields(got):
    value = getattr(got, field.name)
    assert value is None or type(value) is field.metadata["kind"]
  assert type(TaskConfig(task=Task.ADDING).task) is str
  assert CorpusConfig(use_bias=np.False_).use_bias is False


def test_single_precision_is_not_rounded():
  single = TaskConfig(learning_rate=np.float32(0.01))
  assert single.learning_rate == 0.009999999776482582
  assert single.digest() != TaskConfig().digest()
  exact = TaskConfig(learning_rate=np.float32(0.5))
  assert exact.digest() == TaskConfig(learning_rate=0.5).digest()


def test_a_number_wider_than_a_float_is_not_inf():
  wide = np.longdouble("1e400")
  if np.isinf(wide):
    pytest.skip("long double is double here")
  assert "3.4028235e+38" in said(TaskConfig, max_norm=wide)


def test_an_option_states_its_kind():
  assert options.option(None, "Help.", kind=int).metadata["kind"] is int
  for default, kind in ((None, None), ([], None), (5, complex)):
    with pytest.raises(ValueError, match="kind must be int, float, bool or"):
      options.option(default, "Help.", kind=kind)


def test_a_later_field_at_its_default_is_in_no_name():
  @dataclasses.dataclass(frozen=True)
  class Old:
    size: int = options.option(3, "Help.")

  @dataclasses.dataclass(frozen=True)
  class New(Old):
    rate: float = options.option(0.5, "Help.", later=True)

  assert options.digest(New()) == options.digest(Old())
  # Zero is a value as others are.
  assert options.digest(New(rate=0.0)) != options.digest(Old())
  assert options.digest(New(size=4)) == options.digest(Old(size=4))


def test_a_field_keeps_its_old_name_in_digests():
  @dataclasses.dataclass(frozen=True)
  class Old:
    size: int = options.option(3, "Help.")

  @dataclasses.dataclass(frozen=True)
  class New:
    width: int = options.option(3, "Help.", was="size")

  @dataclasses.dataclass(frozen=True)
  class Other:
    width: int = options.option(3, "Help.")

  assert options.digest(New(4)) == options.digest(Old(4))
  assert options.digest(New(4)) != options.digest(Other(4))


def test_a_field_like_another_differs_in_what_is_said():
  @dataclasses.dataclass(frozen=True)
  class Part:
    size: int | None = options.option(None, "Help.", kind=int, low=1)

  field = options.like(Part, "size", 7, later=True)
  about = options.fields(Part)["size"].metadata
  assert field.default == 7
  assert field.metadata == {**about, "later": True}
  assert options.like(Part, "size").default is None


# {file: {run's name, or what tells rows of it apart: digest}}, made by the code
# of commit 4762e34. No line ever changes: a digest names the files of a run.
DIGESTS = records.read_json(pathlib.Path(__file__).parent / "digests.json")


def configurations(path):
  """{name: configuration} of a committed record; {} if it has none."""
  record = records.read_json(path, (dict, list))
  if isinstance(record, list):
    return {}
  kind, shared = record.get("kind"), record.get("config")
  if kind == "sweep":
    runs = gather.unpack(path)
    found = {name: run["config"] for name, run in runs.items()}
  elif kind in ("waits", "every_step"):
    found = {name: run["config"] for name, run in record["runs"].items()}
  elif kind == "natural_signals":
    found = {str(i): values for i, values in enumerate(shared)}
  elif kind == "natural_search":
    rows = [{n: r[n] for n in record["varied"]} for r in _rows(record)]
    found = {
      ",".join(f"{n}={v}" for n, v in row.items()): shared | row for row in rows
    }
  elif kind in ("training", "natural"):
    found = {"": shared}
  else:
    return {}
  return {n: kinds.config_of({"config": v}, path) for n, v in found.items()}


def _rows(record):
  return record["results"]["runs"]


@pytest.fixture(scope="module")
def committed():
  """{file: {name: configuration}}; of single runs on tasks, `run_name`."""
  found = {}
  for path in sorted(RESULTS.rglob("*.json")):
    if configs := configurations(path):
      if isinstance(configs.get(""), TaskConfig):
        configs = {run_name(configs[""]): configs[""]}
      found[str(path.relative_to(RESULTS))] = configs
  return found


def test_committed_records_keep_their_digests(committed):
  for file, digests in DIGESTS.items():
    made = {name: config.digest() for name, config in committed[file].items()}
    assert made.items() >= digests.items(), file


def test_runs_of_committed_records_keep_their_names(committed):
  for file, configs in committed.items():
    for name, config in configs.items():
      if isinstance(config, TaskConfig):
        assert run_name(config) == name, file


@pytest.mark.parametrize(
  "words,message",
  [
    ([], "lengths must be at least one integer, got none"),
    (["5", "x"], "lengths must be integers, got 5,x"),
    (["50.0"], "lengths must be integers, got 50.0"),
    ([""], "lengths must be integers, got "),
    (["20", "9"], "lengths must be at least 10 and at most 2147483647, got 9"),
    (["3000000000"], "at most 2147483647, got 3000000000"),
  ],
)
def test_a_list_of_integers_is_checked(words, message):
  with pytest.raises(ValueError, match=message):
    integers("lengths", words, 10)
  assert integers("lengths", ["10", " 20"], 10) == [10, 20]


def test_numbers_of_launchers_have_limits():
  """Every number that is a flag of its own: both bounds, and no nan."""
  found = 0
  programs = ROOT / "src" / "steadygrad" / "programs"
  scripts = [*programs.glob("*.py"), *(ROOT / "experiments").rglob("*.py")]
  for path in sorted(scripts):
    calls = [
      node
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Call)
      and ast.unparse(node.func).startswith("flags.")
    ]
    checked = [
      c.args[0].value
      for c in calls
      if ast.unparse(c.func) == "flags.register_validator"
    ]
    for call in calls:
      given = {keyword.arg for keyword in call.keywords}
      kind = ast.unparse(call.func)
      if kind == "flags.DEFINE_integer":
        assert {"lower_bound", "upper_bound"} <= given, (path, call.args)
        found += 1
      elif kind == "flags.DEFINE_float":
        assert "lower_bound" in given, (path, call.args)
        assert call.args[0].value in checked, (path, call.args)
        found += 1
  assert found > 10
