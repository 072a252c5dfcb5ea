"""Does a gradient report foresee whether a network learns?

Of committed sweeps 100 networks that solved their task and 100 that ended at
chance, taken by turns from all models. Each is trained again to 1000 updates,
or to where it was solved, and `gradient_report` looks at it before and after.
Which networks these are depends on what the sweeps hold; the record names them.

Two rules were fixed before the first report was made. A network is said to
learn

  keeps    if a leaf of a carry keeps its signal over the sequence, or explodes
  reaches  if what a leaf carries stays above float32's resolution of it
"""

import dataclasses
import itertools
import pathlib

import jax
import numpy as np

from steadygrad import reports, runs, training
from steadygrad.runs import gather, kinds, names, sweeps
from steadygrad.training.evaluation import wilson_interval

RESULTS = pathlib.Path(__file__).parents[1] / "results"
# Of one length each, so that a verdict is of one T; all judged at 250 updates.
SOURCES = (
  "comparators_search",
  "comparators",
  "comparators_floors",
  "time_constant",
  "residual_clipping",
  "learning_rates",
)
EACH = 100  # Solved, and at chance.
UPDATES = 1000
SEQUENCES = 100
# Folded into a key after the streams of training: sequences nobody has seen.
STREAM = 3000
AT_CHANCE = 0.05  # Of the error.
WITHOUT_SCAN = ("transformer",)
RULES = ("keeps", "reaches")
DIRECTORY = "runs/calibration"


def calibration(_) -> dict:
  """What both rules said of 200 networks, and what became of them."""
  chosen = choose(gather.read(*(RESULTS / f"{s}.json" for s in SOURCES)))
  configs = {
    name: dataclasses.replace(
      kinds.config_of({"config": run["config"]}, name), max_updates=UPDATES
    )
    for name, run in chosen.items()
  }
  with runs.Directory(DIRECTORY) as directory:
    runs.sweep(list(configs.values()), directory)
  found = looked_at(configs)
  rows = {
    name: {
      "model": run["config"]["model"],
      "task": run["config"]["task"],
      "length": run["config"]["length"],
      "updates_to_solve": run["updates_to_solve"],
      "test_error": run["test_error"],
    }
    | found[name]
    for name, run in chosen.items()
  }
  return {
    "config": {
      "sources": SOURCES,
      "each": EACH,
      "updates": UPDATES,
      "sequences": SEQUENCES,
    },
    "results": agreements(rows),
    "curves": rows,
  }


def choose(pool: dict[str, dict]) -> dict[str, dict]:
  """`EACH` solved runs and `EACH` at chance, by turns from all models.

  Raises:
    ValueError: if there are fewer.
  """
  taken: list[str] = []
  for outcome in (True, False):
    names_of: dict[str, list[str]] = {}
    for name, run in sorted(pool.items()):
      if usable(run) and (run["outcome"] == "solved") == outcome:
        names_of.setdefault(run["config"]["model"], []).append(name)
    for model, found in names_of.items():
      order = np.random.default_rng(len(model)).permutation(len(found))
      names_of[model] = [found[i] for i in order]
    turns = itertools.zip_longest(*names_of.values())
    by_turns = [name for turn in turns for name in turn if name]
    if len(by_turns) < EACH:
      raise ValueError(f"sources must hold {EACH} runs, got {len(by_turns)}")
    taken += by_turns[:EACH]
  return {name: pool[name] for name in taken}


def usable(run: dict) -> bool:
  """Solved or at chance, of one length, of a model with a scan over time."""
  config = run["config"]
  if config["max_length"] or config["model"] in WITHOUT_SCAN:
    return False
  if config["start"] or UPDATES % config["check_every"]:
    return False
  at_chance = abs(run["test_error"] - run["chance_error"]) < AT_CHANCE
  return run["outcome"] == "solved" or (run["outcome"] == "cut" and at_chance)


def looked_at(configs: dict) -> dict[str, dict]:
  """Leaves of each network before training and after it."""

  def but_for_its_seed(name: str) -> str:
    return str(dataclasses.replace(configs[name], first_seed=0))

  found = {}
  ordered = sorted(configs, key=but_for_its_seed)
  for _, group in itertools.groupby(ordered, but_for_its_seed):
    members = list(group)
    exp = training.experiment(configs[members[0]].resolved())
    watch = reports.GradientWatch(exp.model, 1, loss=exp.task.loss)
    for name in members:
      found[name] = _looked_at(configs[name], exp, watch)
  return found


def _looked_at(config, exp, watch) -> dict:
  path = sweeps.record_path(DIRECTORY, names.run_name(config))
  run = runs.load(path)
  key = jax.random.key(config.first_seed)
  batch = exp.task.sample(jax.random.fold_in(key, STREAM), SEQUENCES)
  stages = {
    "before": exp.init(key),
    "after": jax.tree.map(lambda x: x[0], run.params),
  }
  told = {"after_updates": run.record["results"]["updates"][0]}
  for step, (stage, params) in enumerate(stages.items()):
    report = watch(step, params, batch)
    told[stage] = [leaf(layer) for layer in report.layers]
  return told


def leaf(layer: reports.Layer) -> dict:
  told = layer._asdict()
  return {
    name: told[name]
    for name in ("name", "verdict", "slope", "stderr", "reach", "exponent")
  }


def said(leaves: list[dict], rule: str) -> bool:
  """Whether a rule says that a network with these leaves learns."""
  if rule == "keeps":
    return any(leaf["verdict"] in ("keeps", "explodes") for leaf in leaves)
  read = [leaf for leaf in leaves if leaf["verdict"] not in ("unread", "unfed")]
  return any(leaf["reach"] is None for leaf in read)


def agreements(rows: dict[str, dict]) -> dict:
  """{stage: {rule: how often it was right, of solved, of the others, of all}}.

  Each is [right, of, low, high] with Wilson's interval of 95 %.
  """
  solved = {n: row["updates_to_solve"] is not None for n, row in rows.items()}
  late = {n for n, row in rows.items() if row["after_updates"] == UPDATES}
  groups = {
    "solved": [n for n in rows if solved[n]],
    "solved later": [n for n in rows if solved[n] and n in late],
    "chance": [n for n in rows if not solved[n]],
    "all": list(rows),
  }
  return {
    stage: {
      rule: {
        group: _share(
          [said(rows[n][stage], rule) == solved[n] for n in members]
        )
        for group, members in groups.items()
      }
      for rule in RULES
    }
    for stage in ("before", "after")
  }


def _share(right: list[bool]) -> list[float]:
  if not right:
    return [0, 0, 0.0, 1.0]
  return [sum(right), len(right), *wilson_interval(sum(right), len(right))]
