"""Times whole updates: every implementation and installed peer in one run.

Implementations of a size are run in turn, round after round, so that a drift of
the machine meets them alike; a row is the median over rounds with its range.
Beside each stand, measured in the same process and in the same turns:

  of matmul    arithmetic of the update's products over the rate of a float32
               product 2048^3 on all devices. Counted are 2 T B N N operations
               for each of the recursion's two products and the weight
               gradient's, and one more for msgd_cr
  of products  time of four bare products of the same shapes (the recursion's
               two in scans, the weight gradient's and Omega's as one each)
               over the time of the update

By default the headline size (T 100, N 50, B 20, S 8) and from it one size at a
time; flags narrow that down. The headline alone takes under a minute:

  python experiments/benchmarks/update.py --lengths=100 --units=50 --seeds=8
"""

import math
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402
from benchmarks import peers  # noqa: E402

from steadygrad import config as configuration  # noqa: E402
from steadygrad import placement, records  # noqa: E402
from steadygrad.options import INT32  # noqa: E402
from steadygrad.runs import commands, launch  # noqa: E402

_LENGTHS = flags.DEFINE_list(
  "lengths", ["50", "100", "200", "1000", "5000"], "Values of T."
)
_UNITS = flags.DEFINE_list(
  "units", ["50", "128", "256", "512", "1024"], "Values of N."
)
_BATCH = flags.DEFINE_integer(
  "batch", 20, "B.", lower_bound=1, upper_bound=INT32
)
_SEEDS = flags.DEFINE_list("seeds", ["1", "8", "64", "256"], "Values of S.")
_ALGORITHMS = flags.DEFINE_list(
  "algorithms", ["msgd", "msgd_c", "msgd_cr"], "Any of msgd, msgd_c, msgd_cr."
)
_IMPLEMENTATIONS = flags.DEFINE_list(
  "implementations",
  list(peers.IMPLEMENTATIONS),
  f"Any of {', '.join(peers.IMPLEMENTATIONS)}.",
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 7, "Turns of each.", lower_bound=1, upper_bound=INT32
)
_SECONDS = flags.DEFINE_float(
  "seconds",
  0.3,
  "About how long one turn lasts.",
  lower_bound=0.001,
  upper_bound=3600,
)
flags.register_validator(
  "seconds", lambda seconds: not math.isnan(seconds), "must be a number"
)
_JSON = commands.path_flag("json", None, "File for the list of rows.")

HEADLINE = peers.Case("msgd_c", 100, 50, 20, 8)
MATMUL_SIZE = 2048


def cases() -> list[peers.Case]:
  """The headline size, and from it one size at a time."""
  sizes = {
    "length": configuration.integers("--lengths", _LENGTHS.value, 10),
    "units": configuration.integers("--units", _UNITS.value),
    "seeds": configuration.integers("--seeds", _SEEDS.value),
  }
  # The size from which the others are varied: the headline's where it is asked
  # for, else the first.
  centre = {
    name: at if (at := getattr(HEADLINE, name)) in values else values[0]
    for name, values in sizes.items()
  }
  found = []
  for name, values in sizes.items():
    for value in values:
      for algorithm in _ALGORITHMS.value:
        size = centre | {name: value, "batch": _BATCH.value}
        case = peers.Case(algorithm=algorithm, **size)
        if case not in found:
          found.append(case)
  return found


def matmul() -> peers.Runner:
  """Products 2048^3 in float32, one on every device at a time."""
  shape = (MATMUL_SIZE, MATMUL_SIZE)

  def multiply(a, n):
    step = lambda _, b: jnp.matmul(  # noqa: E731
      a, b, precision=jax.lax.Precision.HIGHEST
    )
    return jax.lax.fori_loop(0, n, step, jnp.ones(shape))

  devices = jax.devices()
  mapped, sharding = placement.map_seeds(multiply, devices)
  a = jax.device_put(np.full((len(devices), *shape), 5e-4, "f"), sharding)
  counts = jax.device_put(np.ones(len(devices), np.int32), sharding)
  return peers.compiled(
    lambda n, counts, a: mapped(counts, a, jnp.full(len(a), n)), counts, a
  )


def operations(case: peers.Case) -> float:
  """Of the update's products, for one run."""
  number = 4 if case.algorithm == "msgd_cr" else 3
  return 2.0 * number * case.length * case.batch * case.units**2


def in_turns(runners: dict[str, peers.Runner]) -> dict[str, np.ndarray]:
  """Seconds of one update of all seeds, by implementation and round."""
  counts = {}
  for name, runner in runners.items():
    n, seconds = 1, 0.0
    while seconds < _SECONDS.value / 4 and n < 10_000:
      n = n if not seconds else n * 2
      started = time.perf_counter()
      runner.run(n)
      seconds = time.perf_counter() - started
    counts[name] = max(1, round(n * _SECONDS.value / seconds))
  times = {name: [] for name in runners}
  for _ in range(_ROUNDS.value):
    for name, runner in runners.items():
      started = time.perf_counter()
      runner.run(counts[name])
      times[name].append((time.perf_counter() - started) / counts[name])
  return {name: np.array(t) for name, t in times.items()}


def measure(case: peers.Case, flops_runner: peers.Runner) -> list[dict]:
  """Rows of one size."""
  runners = {
    name: runner
    for name in _IMPLEMENTATIONS.value
    if (runner := peers.IMPLEMENTATIONS[name](case)) is not None
  }
  references = {"products": peers.products(case), "matmul": flops_runner}
  times = in_turns(runners | references)
  for runner in runners.values():
    runner.close()
  # In one turn every device multiplies once.
  rate = len(jax.devices()) * 2 * MATMUL_SIZE**3 / np.median(times["matmul"])
  rows = []
  for name, runner in runners.items():
    seconds = times[name]
    speeds = case.seeds / seconds
    rows.append(
      {
        "implementation": name,
        **case._asdict(),
        "run_updates_per_second": float(np.median(speeds)),
        "slowest": float(speeds.min()),
        "fastest": float(speeds.max()),
        "fraction_of_matmul": float(
          operations(case) * np.median(speeds) / rate
        ),
        "products_fraction": float(np.median(times["products"] / seconds)),
        "compile_seconds": runner.compile_seconds,
        "peak_mib": runner.peak_mib,
        "platform": jax.devices()[0].platform,
        "matmul_gflops": float(rate / 1e9),
        "rounds": [float(s) for s in seconds],
      }
    )
  return rows


def show(rows: list[dict]) -> None:
  """The table of one size, with ratios against the first implementation."""
  first = rows[0]
  for row in rows:
    size = "T{length} N{units} B{batch} S{seeds}".format(**row)
    ratio = np.median(np.array(row["rounds"]) / np.array(first["rounds"]))
    seconds, peak = row["compile_seconds"], row["peak_mib"]
    print(
      f"{row['implementation']:11s} {row['algorithm']:8s} {size:20s}"
      f" {row['run_updates_per_second']:9.1f}"
      f" ({row['slowest']:.1f} to {row['fastest']:.1f})"
      f" {row['fraction_of_matmul']:7.2f} {row['products_fraction']:7.2f}"
      f" {'-' if seconds is None else format(seconds, '7.2f'):>7s}"
      f" {'-' if peak is None else format(peak, '8.1f'):>8s} {ratio:7.2f}",
      flush=True,
    )


def main() -> None:
  for name, values, known in (
    ("implementations", _IMPLEMENTATIONS.value, peers.IMPLEMENTATIONS),
    ("algorithms", _ALGORITHMS.value, ("msgd", "msgd_c", "msgd_cr")),
  ):
    if wrong := sorted(set(values) - set(known)):
      raise ValueError(f"--{name} must be among {list(known)}, got {wrong}")
  launch.use_all_cores()
  todo = cases()
  print(
    "implementation algorithm size        run-updates/s (range)     of matmul"
    "  of products  compile s  peak MiB  times the first's time"
  )
  flops_runner = matmul()
  rows = []
  for case in todo:
    found = measure(case, flops_runner)
    show(found)
    rows += found
    if _JSON.value:
      records.write_json(_JSON.value, rows)
  ratios(rows)


def ratios(rows: list[dict]) -> None:
  """What Omega costs, wherever both algorithms were timed at one size."""
  sizes = ("implementation", "length", "units", "batch", "seeds")
  speeds = {
    (r["algorithm"], *(r[s] for s in sizes)): r["run_updates_per_second"]
    for r in rows
  }
  for (algorithm, *size), speed in speeds.items():
    with_omega = speeds.get(("msgd_cr", *size))
    if algorithm == "msgd_c" and with_omega:
      name, length, units, batch, seeds = size
      print(
        f"{name} T{length} N{units} B{batch} S{seeds}: msgd_cr takes"
        f" {speed / with_omega:.2f} times as long as msgd_c"
      )


if __name__ == "__main__":
  launch.main(main)
