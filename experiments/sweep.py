"""Runs a grid of training runs through a fixed number of slots.

Every field of a configuration is a flag that takes a list, and the grid is
their product; --preset names a grid of experiments/presets. A run that is
solved, has diverged or is out of budget gives its slot to the next, shortest
sequences first. Kill it at any time and start it again: finished runs are not
repeated, unfinished ones go on. A larger --max_updates goes on with the runs
that were cut. The last line on standard output is one JSON object.

  python experiments/sweep.py --task=temporal_order --length=50,100 \
    --init=basic_tanh,smart_tanh --algorithm=msgd,msgd_c,msgd_cr --seeds=5
"""

from steadygrad.runs import launch

if __name__ == "__main__":
  launch.begin()

import pathlib

import grids
import starts
import sweep_loop
import sweep_records
from absl import flags
from sweep_store import Store

from steadygrad.runs import commands
from steadygrad.runs.signals import say

_PRESET = flags.DEFINE_string(
  "preset", None, "A grid of experiments/presets; flags go before its values."
)
_SWEEP_DIR = commands.path_flag(
  "sweep_dir",
  None,
  "Directory of records and states. Default: runs/ and the preset's name, or"
  " runs/sweep. It may hold other grids' runs as well.",
)
_MERGE = commands.paths_flag(
  "merge", [], "Directories of other sweeps, whose runs are taken over first."
)
_DONE = commands.paths_flag(
  "done", [], "Files of collect.py; runs that ended there are not repeated."
)
_STARTS = commands.path_flag(
  "starts", None, "Directory of the sweep in which runs find their --start."
)
_SLOTS = flags.DEFINE_integer(
  "slots",
  None,
  "Runs at a time on each device. Default: 1 on a CPU's core, 64 elsewhere.",
  lower_bound=1,
  upper_bound=10_000,
)
_PLAN = flags.DEFINE_bool("plan", False, "Print what is left to do, and stop.")
_PROGRESS = flags.DEFINE_bool("progress", True, "Show a progress bar.")
grids.define_flags()
flags.adopt_module_key_flags(grids)


def main() -> dict:
  preset = grids.preset(_PRESET.value) if _PRESET.value else [{}]
  configs = grids.expand(preset, grids.values_from_flags(flags.FLAGS))
  done = sweep_records.read(*_DONE.value)
  configs = [c for c in configs if not sweep_records.ended_in(done, c)]
  launch.use_jax()
  sweep_loop.refuse_too_large(configs, _SLOTS.value)
  default = pathlib.Path("runs", _PRESET.value or "sweep")
  store = Store(_SWEEP_DIR.value or default)
  for other in _MERGE.value:
    say(f"{store.merge(other)} runs taken from {other}")
  if _PLAN.value:
    left = [c for c in configs if store.finished(c) is None]
    starts.check(_STARTS.value, left, store.directory)
    ledger = sweep_loop.Tally(store, configs, False).ledger()
  else:
    ledger = sweep_loop.run_in_turns(
      configs,
      store,
      _STARTS.value,
      slots_per_device=_SLOTS.value,
      progress=_PROGRESS.value,
    )
  return ledger | {"sweep_dir": str(store.directory)}


if __name__ == "__main__":
  launch.main(main)
