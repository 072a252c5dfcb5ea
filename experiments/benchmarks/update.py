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
"""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import peers

from steadygrad.runs import placement
from steadygrad.training.config import ALGORITHMS

HEADLINE = peers.Case("msgd_c", 100, 50, 20, 8)
MATMUL_SIZE = 2048


def cases(
  sizes: dict[str, Sequence[int]], batch: int, algorithms: Sequence[str]
) -> list[peers.Case]:
  """The headline size, and from it one size at a time.

  Args:
    sizes: values of "length", "units" and "seeds".
    batch: sequences of an update.
    algorithms: each at every size.
  """
  # The size from which the others are varied: the headline's where it is asked
  # for, else the first.
  centre = {
    name: at if (at := getattr(HEADLINE, name)) in values else values[0]
    for name, values in sizes.items()
  }
  found = []
  for name, values in sizes.items():
    for value in values:
      for algorithm in algorithms:
        size = centre | {name: value, "batch": batch}
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


def in_turns(
  runners: dict[str, peers.Runner], rounds: int, turn: float
) -> dict[str, np.ndarray]:
  """Seconds of one update of all seeds, by implementation and round.

  Args:
    runners: by implementation.
    rounds: turns of each.
    turn: about how many seconds one lasts.
  """
  counts = {}
  for name, runner in runners.items():
    n, seconds = 1, 0.0
    while seconds < turn / 4 and n < 10_000:
      n = n if not seconds else n * 2
      started = time.perf_counter()
      runner.run(n)
      seconds = time.perf_counter() - started
    counts[name] = max(1, round(n * turn / seconds))
  times = {name: [] for name in runners}
  for _ in range(rounds):
    for name, runner in runners.items():
      started = time.perf_counter()
      runner.run(counts[name])
      times[name].append((time.perf_counter() - started) / counts[name])
  return {name: np.array(t) for name, t in times.items()}


def measure(
  case: peers.Case,
  flops_runner: peers.Runner,
  *,
  implementations: Sequence[str],
  rounds: int,
  seconds: float,
) -> list[dict]:
  """Rows of one size."""
  runners = {
    name: runner
    for name in implementations
    if (runner := peers.IMPLEMENTATIONS[name](case)) is not None
  }
  references = {"products": peers.products(case), "matmul": flops_runner}
  times = in_turns(runners | references, rounds, seconds)
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


def run(  # noqa: PLR0913 (its arguments are flags)
  *,
  lengths: Sequence[int] = (50, 100, 200, 1000, 5000),
  units: Sequence[int] = (50, 128, 256, 512, 1024),
  seeds: Sequence[int] = (1, 8, 64, 256),
  batch: int = HEADLINE.batch,
  algorithms: Sequence[str] = ALGORITHMS,
  implementations: Sequence[str] = tuple(peers.IMPLEMENTATIONS),
  rounds: int = 7,
  seconds: float = 0.3,
  keep: Callable[[list[dict]], None] = lambda _: None,
) -> None:
  """Measures all sizes on all devices and prints their table as it grows.

  Args:
    lengths: values of T; one of these three is varied at a time.
    units: values of N.
    seeds: values of S.
    batch: B.
    algorithms: any of msgd, msgd_c and msgd_cr.
    implementations: any of `peers.IMPLEMENTATIONS`; ratios are against the
      first.
    rounds: turns of each.
    seconds: about how long one turn lasts.
    keep: is given the rows so far after every size.
  """
  sizes = {"length": lengths, "units": units, "seeds": seeds}
  print(
    "implementation algorithm size        run-updates/s (range)     of matmul"
    "  of products  compile s  peak MiB  times the first's time"
  )
  flops_runner = matmul()
  rows = []
  for case in cases(sizes, batch, algorithms):
    found = measure(
      case,
      flops_runner,
      implementations=implementations,
      rounds=rounds,
      seconds=seconds,
    )
    show(found)
    rows += found
    keep(rows)
  ratios(rows)
