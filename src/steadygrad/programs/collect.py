"""Gathers the records of sweeps into one small JSON file for the repository.

A sweep's directory has a record and a state for each run; what figures and
tables need of them fits into one file. It takes directories of sweep.py and
files that it has made itself; of a run that is in several the one that got
furthest. The last line on standard output is one JSON object.

  python -m steadygrad collect --records=runs/figure_7 \
    --out=experiments/results/figure_7.json --states=carried/figure_7

On another machine the sweep goes on with what is in them:

  python -m steadygrad sweep --preset=figure_7 --sweep_dir=runs/figure_7 \
    --done=experiments/results/figure_7.json --merge=carried/figure_7
"""

from steadygrad import records
from steadygrad.runs import commands, directories, gather

_RECORDS = commands.paths_flag(
  "records", [], "Directories of sweep.py, or files made by this program."
)
_OUT = commands.path_flag("out", None, "The file, *.json.")
_STATES = commands.path_flag(
  "states",
  None,
  "If given, a directory for the states of runs that have not ended, which"
  " --merge of sweep.py takes over.",
)


def main() -> dict:
  """Collects; what there is in the file, for the last line."""
  if not _RECORDS.value:
    raise ValueError("records must name at least one, got none")
  out = commands.writable("out", _OUT.value, suffix=".json")
  runs = gather.read(*_RECORDS.value)
  if not runs:
    raise ValueError(f"no run has ended in {', '.join(_RECORDS.value)}")
  kept = gather.read(out) if out.exists() else {}
  if lost := sorted(kept.keys() - runs.keys()):
    raise ValueError(
      f"{out} has {len(lost)} runs that records have not, such as {lost[0]};"
      f" give it among --records too, or remove it"
    )
  records.write_json(out, gather.pack(runs))
  copied = 0
  if _STATES.value:
    copied = directories.carry(_RECORDS.value, _STATES.value, runs)
  told = {"out": str(out), "runs": len(runs), "states": copied}
  return told | {"bytes": out.stat().st_size}
