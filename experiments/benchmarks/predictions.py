"""What the changed kernels should do, before a GPU says what they do.

A model of few numbers, each measured at 06c551e on an H100 or counted in the
programs of then and now, so that the next measurement has something to be held
against:

  pass    a step of a program takes so many ns for each instruction of a warp in
          the kernel's loop; its bytes take theirs at the bandwidth of a copy.
          The longer of the two counts, and 5 us for each launch. Programs that
          do not fit on the card at once share it: at 1024 seeds they took 1.43
          times as long as their instructions, bytes or shared memory would.
  rest    sampling, weight gradient, clip: what an update took beside both
          passes, unchanged

  python experiments/benchmark.py --of=gpu --sections=predictions
"""

import json
import pathlib

from steadygrad.kernels import _pallas_gpu

# A new measurement takes this name; the one of 06c551e then has another, here
# too.
RECORD = pathlib.Path(__file__).parents[1] / "results/benchmark/gpu.json"
LAUNCHES = 10.0  # us
BANDWIDTH = 2730e3  # bytes a us
MULTIPROCESSORS, MHZ = 132, 1755
CONTENTION = 1.43
# Of an instruction of a warp: at 50 units the slope between 2 and 4 warps, (312
# - 191) us / 100 steps / (1176 - 588) instructions; at 128, which read the
# weights from shared memory, (409 - 170) us / 100 / 720, where the padding took
# the 170.
NS = {50: 2.06, 128: 3.3}
# Instructions of a warp in the loops of the forward and backward kernel, of
# a loss on the last state: {units: {warps: ...}}. Triton 3.9, sm_90.
LOOP = {50: {4: (427, 453), 8: (259, 270)}, 128: {8: (555, 574)}}
# us an update took beside its passes, by seeds: `parts` of the record, scaled
# to an update in a loop. That of 256 seeds lies on the line between the others.
REST = {64: 197.0, 256: 536.0, 1024: 1893.0}
PASSES_THEN = 390.0  # us, of 64 seeds


def passes(length: int, units: int, seeds: int, batch: int = 20) -> float:
  """us of both kernels."""
  programs = seeds * -(-batch // _pallas_gpu.BLOCK_ROWS)
  warps = _pallas_gpu.num_warps(units, programs)
  number = sum(LOOP[units][warps])
  waiting = 1e-3 * NS[units] * number * length
  moved = 4 * 4 * length * batch * units * seeds / BANDWIDTH
  if programs <= _pallas_gpu.FEW_PROGRAMS:
    return max(waiting, moved) + LAUNCHES
  # Four schedulers of a multiprocessor issue an instruction a cycle each.
  issued = programs / MULTIPROCESSORS * warps * number * length / 4 / MHZ
  return max(waiting, CONTENTION * max(issued, moved)) + LAUNCHES


def predicted(length: int, units: int, seeds: int, rest: float) -> float:
  """Run-updates per second."""
  return seeds / (passes(length, units, seeds) + rest) * 1e6


def rows() -> list[dict]:
  """MSGD-C at the sizes whose rest is known; MSGD-CR with Ω's time of then."""
  updates = json.loads(RECORD.read_text())["sections"]["updates"]
  measured = {
    (r["algorithm"], r["length"], r["units"], r["seeds"]): r
    for r in updates
    if r["implementation"] == "steadygrad"
  }

  def then(*size):
    return 1e6 * size[-1] / measured[size]["run_updates_per_second"]

  found = []
  for (algorithm, length, units, seeds), row in measured.items():
    if seeds not in REST or units != 50 or length != 100:
      continue
    of_omega = then(algorithm, 100, 50, seeds) - then("msgd_c", 100, 50, seeds)
    speed = predicted(length, units, seeds, REST[seeds] + of_omega)
    found.append(_row(algorithm, length, units, seeds, row, speed))
  rest = then("msgd_c", 1000, 50, 64) - 10 * PASSES_THEN
  row = measured["msgd_c", 1000, 50, 64]
  speed = predicted(1000, 50, 64, rest)
  found.append(_row("msgd_c", 1000, 50, 64, row, speed))
  # The rest of 128 units was not measured: somewhere between that of 50 and as
  # much more as there are numbers.
  row = measured["msgd_c", 100, 128, 64]
  for more in (1, 128 / 50):
    speed = predicted(100, 128, 64, more * REST[64])
    found.append(_row("msgd_c", 100, 128, 64, row, speed))
  return found


def _row(algorithm, length, units, seeds, row, speed) -> dict:
  measured = row["run_updates_per_second"]
  return {
    "algorithm": algorithm,
    "length": length,
    "units": units,
    "seeds": seeds,
    "measured": measured,
    "predicted": int(round(speed, -3)),
    "times": round(speed / measured, 1),
  }
