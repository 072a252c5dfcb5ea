"""Times this project against what users of other libraries would write.

  --of=update   updates of many networks, sampling and optimiser included, by
                size and on all cores; see benchmarks/update.py
  --of=epoch    a pass over long sequences in chunks, of music or text, on one
                core; see benchmarks/epoch.py
  --of=checkpointing
                one update with all states kept and with some, by length: time
                and memory; see benchmarks/checkpointing.py
  --of=gpu      the GPU path: right, fast, and where the time goes, in under
                150 seconds; see benchmarks/gpu.py
  --of=networks an update of each network: parameters, time, memory; see
                benchmarks/networks.py

  python experiments/benchmark.py --of=update --lengths=100 --units=50 --seeds=8
  python experiments/benchmark.py --of=epoch --problem=text --batch=16

The first of these takes under a minute.
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import functools
import math
from collections.abc import Collection
from typing import Any

import jax
from absl import flags
from benchmarks import checkpointing, epoch, gpu, networks, peers, update

from steadygrad import records
from steadygrad.options import INT32
from steadygrad.runs import commands, results
from steadygrad.training.config import ALGORITHMS
from steadygrad.training.networks import MODELS
from steadygrad.training.options import integers

RUN = {
  "update": update.run,
  "epoch": epoch.run,
  "checkpointing": checkpointing.run,
  "networks": networks.run,
  "gpu": gpu.run,
}
CORES = {
  "update": None,
  "epoch": 1,
  "checkpointing": 1,
  "networks": 1,
  "gpu": 1,
}  # None: all.
IMPLEMENTATIONS = {
  "update": peers.IMPLEMENTATIONS,
  "epoch": epoch.IMPLEMENTATIONS,
  "gpu": gpu.IMPLEMENTATIONS,
}
# Flags are the arguments of these functions, where their defaults stand.
SHARED = ("units", "batch", "rounds")
OWN = {
  "update": ("implementations", "lengths", "seeds", "algorithms", "seconds"),
  "epoch": ("implementations", "problem", "length", "updates"),
  "checkpointing": ("lengths", "models"),
  "networks": ("lengths", "models"),
  "gpu": (
    "implementations",
    "lengths",
    "seeds",
    "algorithms",
    "seconds",
    "sections",
    "limit",
  ),
}
PICKED = {"checkpointing": checkpointing.MODELS, "networks": [*MODELS]}
ONE_SIZE = ("epoch", "checkpointing", "networks")  # Of --units.

_OF = flags.DEFINE_enum("of", None, [*RUN], "What to time.", required=True)
flags.DEFINE_list(
  "units",
  None,
  "Values of N; one for --of=epoch, 300 for music, 500 for text, and one for"
  " --of=checkpointing and networks.",
)
flags.DEFINE_integer(
  "batch", None, "B. Default 20, for --of=epoch 4.",
  lower_bound=1, upper_bound=INT32,
)  # fmt: skip
flags.DEFINE_list(
  "implementations",
  None,
  "Which, in this order; ratios are against the first. For --of=update"
  f" {', '.join(IMPLEMENTATIONS['update'])}; for --of=epoch"
  f" {', '.join(IMPLEMENTATIONS['epoch'])}; for --of=gpu"
  f" {', '.join(IMPLEMENTATIONS['gpu'])}.",
)
flags.DEFINE_integer(
  "rounds",
  None,
  "Turns of each. Default 7, for --of=checkpointing 5, for gpu 3.",
  lower_bound=1,
  upper_bound=INT32,
)
flags.DEFINE_list("lengths", None, "Values of T; not for --of=epoch.")
flags.DEFINE_list(
  "models",
  None,
  f"--of=checkpointing: any of {', '.join(checkpointing.MODELS)};"
  " --of=networks: values of --model.",
)
flags.DEFINE_list("seeds", None, "--of=update and gpu: values of S.")
flags.DEFINE_list(
  "algorithms", None, f"--of=update and gpu: any of {', '.join(ALGORITHMS)}."
)
flags.DEFINE_list(
  "sections", None, f"--of=gpu: any of {', '.join(gpu.SECTIONS)}."
)
flags.DEFINE_float(
  "limit", None, "--of=gpu: about how many seconds it may take. Default 140.",
  lower_bound=1, upper_bound=86_400,
)  # fmt: skip
flags.register_validator(
  "limit", lambda s: s is None or not math.isnan(s), "must be a number"
)
flags.DEFINE_float(
  "seconds", None, "--of=update and gpu: about how long a turn lasts. Default"
  " 0.3, of gpu 0.1.",
  lower_bound=0.001, upper_bound=3600,
)  # fmt: skip
flags.register_validator(
  "seconds", lambda s: s is None or not math.isnan(s), "must be a number"
)
flags.DEFINE_enum(
  "problem", None, [*epoch.PROBLEMS], "--of=epoch: cost and sizes."
)
flags.DEFINE_integer(
  "length", None, "--of=epoch: T. Default 200.",
  lower_bound=2, upper_bound=INT32,
)  # fmt: skip
flags.DEFINE_integer(
  "updates", None, "--of=epoch: updates of a pass. Default 25.",
  lower_bound=1, upper_bound=INT32,
)  # fmt: skip
_JSON = commands.path_flag("json", None, "File for the rows, *.json.")


def main() -> None:
  of = _OF.value
  options = _options(of)
  if _JSON.value:
    path = commands.writable("json", _JSON.value, suffix=".json")
    keep = _write_epoch if of == "epoch" else records.write_json
    options["keep"] = functools.partial(keep, path)
  launch.use_all_cores(CORES[of])
  RUN[of](**options)


def _options(of: str) -> dict[str, Any]:
  """Those arguments of `RUN[of]` that the flags give.

  Raises:
    ValueError: naming a flag, its value and what is allowed.
  """
  given = {
    name: flags.FLAGS[name].value
    for name in dict.fromkeys(
      (*SHARED, *(n for own in OWN.values() for n in own))
    )
    if flags.FLAGS[name].value is not None
  }
  for name, value in given.items():
    if name not in (*SHARED, *OWN[of]):
      text = ",".join(value) if isinstance(value, list) else value
      raise ValueError(
        f"{name} must be left out with --of={of}, which has"
        f" {', '.join((*SHARED, *OWN[of]))}; got {text}"
      )
  for name, least in (("lengths", 10), ("units", 1), ("seeds", 1)):
    if name in given:
      given[name] = integers(name, given[name], least)
  if of in ONE_SIZE and "units" in given:
    if len(given["units"]) > 1:
      text = ",".join(map(str, given["units"]))
      raise ValueError(f"units must be one with --of={of}, got {text}")
    (given["units"],) = given["units"]
  allowed = {"algorithms": ALGORITHMS, "models": PICKED.get(of, ())}
  if of == "networks":
    given.setdefault("models", [*MODELS])
  allowed["sections"] = gpu.SECTIONS
  allowed["implementations"] = IMPLEMENTATIONS.get(of, ())
  for name in given.keys() & allowed:
    _check(name, given[name], allowed[name])
  return given


def _check(name: str, values: list[str], allowed: Collection[str]) -> None:
  """ValueError unless there is a value, and all of them are allowed."""
  wrong = [value for value in values if value not in allowed]
  if wrong or not values:
    raise ValueError(
      f"{name} must be among {', '.join(allowed)}, got"
      f" {', '.join(wrong) or 'none'}"
    )


def _write_epoch(path, size: dict, rows: list[dict]) -> None:
  origin = results.provenance(jax.devices())
  record = {"kind": "epoch", "config": size, "results": rows}
  records.write_json(path, record | {"provenance": origin})


if __name__ == "__main__":
  launch.main(main)
