"""Examples of docs/examples: each runs, and changes little of a loop.

In an example a line that ends with `# steadygrad` is new, and `# was:` stands
above one that changed. Without those lines it is the loop that was there.
"""

import ast
import contextlib
import difflib
import importlib.util
import pathlib
import re

import jax
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
GUIDE = FOLDER.parent / "guides" / "own_loop.md"
# Those that the guide shows as what changes.
SHOWN = ("plain_jax", "linen_lstm", "nnx_gru", "equinox_rnn")
MARK = "# steadygrad"
WAS = re.compile(r"^( *)# was: (.*)$", re.MULTILINE)

# Of each leaf's largest number, in float32.
UNCHANGED = 1e-6
MOST_LINES = 60
# Statements that change, beside imports.
MOST_CHANGES = 5


def original(source):
  """The loop before the change."""
  kept = [x for x in source.splitlines() if not x.endswith(MARK)]
  return WAS.sub(r"\1\2", "\n".join(kept)) + "\n"


def difference(source):
  """What changes, a line of context around it, as the guide shows it."""
  after = "\n".join(x for x in source.splitlines() if not WAS.match(x))
  after = after.replace(f"  {MARK}", "")
  lines = difflib.unified_diff(
    original(source).splitlines(), after.splitlines(), n=1, lineterm=""
  )
  kept = [x for x in list(lines)[3:] if x != " "]
  return "\n".join("" if x.startswith("@@") else x for x in kept) + "\n"


def changes(source):
  """Statements with a marked line, imports aside."""
  lines = source.splitlines()
  marked = {i for i, x in enumerate(lines, 1) if x.endswith(MARK)}
  found = []
  for node in ast.walk(ast.parse(source)):
    simple = isinstance(node, ast.stmt) and not hasattr(node, "body")
    if simple and marked & set(range(node.lineno, node.end_lineno + 1)):
      marked -= set(range(node.lineno, node.end_lineno + 1))
      if not isinstance(node, ast.Import | ast.ImportFrom):
        found.append(ast.unparse(node))
  assert not marked, f"lines {marked} are marked and in no statement"
  return found


@contextlib.contextmanager
def as_most_users_have_it():
  with (
    jax.numpy_rank_promotion("allow"),
    jax.numpy_dtype_promotion("standard"),
  ):
    yield


def main_of(source, name):
  """num_updates -> (loss, grads) of the last, in a module of its own."""
  module = {"__name__": name}
  exec(compile(source, f"{name}.py", "exec"), module)
  return lambda num_updates: module["main"](num_updates)[:2]


def source_of(name):
  needs = {"equinox_rnn": "equinox", "tensorboard": "tensorboardX"}.get(name)
  if needs and not importlib.util.find_spec(needs):
    pytest.skip(f"{needs} is not installed")
  return (FOLDER / f"{name}.py").read_text()


def test_they_are_there():
  wanted = "adamw_multisteps bfloat16 bidirectional equinox_rnn linen_lstm"
  wanted += " nnx_gru numpy_regression plain_jax stacked tensorboard"
  assert set(wanted.split()) <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_few_lines_change(name):
  source = (FOLDER / f"{name}.py").read_text()
  assert len(source.splitlines()) <= MOST_LINES
  assert 1 <= len(changes(source)) <= MOST_CHANGES, changes(source)
  before = original(source)
  compile(before, name, "exec")
  for word in ("add_omega_gradient", "trajectory=", "clip_by_global_norm"):
    assert word in source
    assert word not in before


@pytest.mark.parametrize("name", SHOWN)
def test_the_guide_shows_what_changes(name):
  shown = difference((FOLDER / f"{name}.py").read_text())
  assert f"```diff\n{shown}```\n" in GUIDE.read_text()
  new = [x for x in shown.splitlines() if x.startswith("+")]
  assert len([x for x in new if "import " not in x]) <= MOST_CHANGES


def test_the_guide_shows_no_other_change():
  assert GUIDE.read_text().count("```diff") == len(SHOWN)


@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.parametrize("name", EXAMPLES)
def test_loss_and_gradients_stay_and_updates_change(name):
  source = source_of(name)
  with as_most_users_have_it():
    mains = main_of(source, name), main_of(original(source), name)
    (loss, grads), (wanted_loss, wanted) = (main(1) for main in mains)
    np.testing.assert_allclose(loss, wanted_loss, rtol=UNCHANGED)
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True)
    for got, leaf in pairs:
      atol = UNCHANGED * float(np.max(np.abs(leaf)))
      np.testing.assert_allclose(got, leaf, rtol=UNCHANGED, atol=atol)
    # The warm-up of `adamw_multisteps` begins at zero.
    after, before = (main(9)[0] for main in mains)
  assert np.isfinite(after) and after != before
