"""The GPU path in one command: is it right, how fast, and where the time goes.

  cases     every kernel against the XLA loop in float64, see kernel_cases
  updates   whole updates: ours, the XLA loop, naive JAX at the same precision
            and at JAX's default; at the first size also ours in TF32, Flax and
            PyTorch (cuDNN)
  passes    the kernels alone, by precision and warps
  parts     an update as it grows from sampling to the whole
  card      bandwidth of a copy, and rates of products by precision
  traffic   bytes that operations of the lowered update read and write
  predictions  what the kernels should do, by figures of before

Sections stop when their share of --limit is over, and `keep` has all rows there
are after each: a run that is cut leaves what it measured, and `left_out` says
what it did not come to. Programs are compiled side by side, and timed when none
is compiled. On a machine without a GPU the kernels are interpreted, a few small
cases of each.
"""

import functools
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import kernel_cases, peers, predictions, traffic, update

from steadygrad import adjoints, training
from steadygrad.kernels import elman_scan
from steadygrad.numerics import PRECISIONS
from steadygrad.runs import results
from steadygrad.training.config import TaskConfig

# What of --limit each section may have taken when it ends.
SECTIONS = {
  "cases": 0.25,
  "updates": 0.75,
  "passes": 0.88,
  "parts": 0.93,
  "card": 0.98,
  "traffic": 1.0,
  "predictions": 1.0,
}
CENTRE = {"length": 100, "units": 50, "seeds": 64}
WORKERS = 12  # Programs compiled side by side.
EVERYWHERE = ("steadygrad", "naive_jax", "naive_float32", "xla_loop")


def _naive(precision: str | None, case: peers.Case) -> peers.Runner:
  """Plain JAX with its products at a precision of JAX's."""
  with jax.default_matmul_precision(precision):
    return peers.naive_jax(case)


IMPLEMENTATIONS = {
  "steadygrad": peers.steadygrad,
  "naive_jax": functools.partial(_naive, None),
  "naive_float32": functools.partial(_naive, "highest"),
  "xla_loop": functools.partial(peers.steadygrad, implementation="xla"),
  "steadygrad_tf32": functools.partial(peers.steadygrad, precision="tf32"),
  "flax_rnn": peers.flax_rnn,
  "torch_rnn": peers.torch_rnn,
}


class Report:
  """Rows by section, and the time that is left.

  Attributes:
    interpret: whether there is no GPU.
  """

  def __init__(self, config: dict, limit: float, keep: Callable[[dict], None]):
    self.interpret = jax.default_backend() != "gpu"
    self._keep, self._ends = keep, 0.0
    self._began, self._limit = time.perf_counter(), limit
    self._record: dict[str, Any] = {
      "kind": "gpu",
      "config": config,
      "sections": {},
      "left_out": [],
      "provenance": results.provenance(jax.devices()),
    }

  def begin(self, section: str) -> None:
    """Rows are of this section from now on."""
    self._section = self._record["sections"].setdefault(section, [])
    self._ends = self._began + self._limit * SECTIONS[section]

  def is_late(self, what: str) -> bool:
    """Whether the section's time is over; then it is noted what is left out."""
    late = time.perf_counter() > self._ends
    if late:
      self._record["left_out"].append(what)
    return late

  def left(self, share: float = 1.0) -> float:
    """Seconds that a part of what the section still has may take."""
    return share * max(0.0, self._ends - time.perf_counter())

  def add(self, row: dict, shown: str) -> None:
    """A row of the section, and what is printed of it."""
    self._section.append(row)
    print(shown, flush=True)
    self._keep(self._record)


def _side_by_side(makers: list[Callable[[], Any]], seconds: float) -> list[Any]:
  """Their results in order; an exception stands for what failed or was late.

  A row that fails must not end the others.
  """
  pool = futures.ThreadPoolExecutor(WORKERS)
  started = [pool.submit(make) for make in makers]
  done, _ = futures.wait(started, timeout=seconds)
  pool.shutdown(wait=False, cancel_futures=True)
  late = TimeoutError("was not compiled in time")
  return [
    (one.exception() or one.result()) if one in done else late
    for one in started
  ]


def seconds_of(run: Callable[[], Any], rounds: int, turn: float) -> list[float]:
  """Seconds a call, of some dispatched together, in each round."""
  jax.block_until_ready(run())
  began = time.perf_counter()
  jax.block_until_ready(run())
  count = max(1, min(1000, int(turn / (time.perf_counter() - began))))
  found = []
  for _ in range(rounds):
    began = time.perf_counter()
    last = None
    for _ in range(count):
      last = run()
    jax.block_until_ready(last)
    found.append((time.perf_counter() - began) / count)
  return found


def card(report: Report, size: dict, rounds: int, turn: float) -> None:
  """What the device gives at best."""
  del size
  small = report.interpret
  floats = jnp.ones(2**20 if small else 2**28)
  copy = jax.jit(lambda x: x + 1)
  seconds = np.median(seconds_of(lambda: copy(floats), rounds, turn))
  rate = 2 * floats.nbytes / seconds / 1e9
  report.add({"name": "copy", "gb_per_second": rate}, f"copy {rate:.0f} GB/s")
  n = 256 if small else 4096
  a = jnp.ones((n, n))
  for name, how in PRECISIONS.items():
    precision = PRECISIONS["highest"].cuda if small else how.cuda
    product = jax.jit(functools.partial(jnp.matmul, precision=precision))
    seconds = np.median(seconds_of(lambda f=product: f(a, a), rounds, turn))
    rate = 2 * n**3 / seconds / 1e12
    row = {"name": f"product {name}", "size": n, "tflop_per_second": rate}
    report.add(row, f"product {name} {n}^3 {rate:.2f} TFLOP/s")


def cases(report: Report, size: dict, rounds: int, turn: float) -> None:
  """The bounds of errors are in kernel_cases."""
  del size, rounds, turn
  chosen = list(kernel_cases.some(report.interpret))
  makers = [
    functools.partial(kernel_cases.errors, case, report.interpret)
    for case in chosen
  ]
  made = _side_by_side(makers, report.left())
  for case, row in zip(chosen, made, strict=True):
    if isinstance(row, Exception):
      row = case._asdict() | {"agrees": None, "error": str(row)[:500]}
    worst = max(row.get("errors", [np.nan]))
    told = {True: "ok", False: "WRONG", None: "not told"}[row["agrees"]]
    report.add(row, f"{told} {worst:.1e} {tuple(case)}")


def _centre(size: dict) -> dict:
  """The size from which the others are varied, where it is asked for."""
  return {n: at if at in size[n] else size[n][0] for n, at in CENTRE.items()}


def _sizes(size: dict) -> list[dict]:
  """The centre, and from it one value at a time."""
  centre = _centre(size)
  found = [centre]
  for name in centre:
    found += [centre | {name: value} for value in size[name]]
  return [s for i, s in enumerate(found) if s not in found[:i]]


def updates(report: Report, size: dict, rounds: int, turn: float) -> None:
  """All are compiled first: it disturbs what is timed."""
  makers = {}
  for one in _sizes(size):
    for algorithm in size["algorithms"]:
      case = peers.Case(algorithm, batch=size["batch"], **one)
      for name in size["implementations"]:
        if one == _centre(size) or name in EVERYWHERE:
          maker = functools.partial(IMPLEMENTATIONS[name], case)
          makers.setdefault(case, {})[name] = maker
  flat = [make for row in makers.values() for make in row.values()]
  made = iter(_side_by_side(flat, report.left(0.6)))
  for case, row in makers.items():
    runners = dict(zip(row, made, strict=False))
    if not report.is_late(f"updates: {tuple(case)}"):
      _row_of_updates(report, case, runners, rounds, turn)
    for runner in runners.values():
      if isinstance(runner, peers.Runner):
        runner.close()


def _row_of_updates(report, case, made, rounds, turn) -> None:
  runners = {n: r for n, r in made.items() if isinstance(r, peers.Runner)}
  times = update.in_turns(runners, rounds, turn)
  for name, runner in made.items():
    row = {"implementation": name, **case._asdict()}
    if isinstance(runner, Exception):
      row["error"] = str(runner)[:500]
      report.add(row, f"{name:15s} {tuple(case)} {row['error']}")
    elif runner is not None:
      speed = float(case.seeds / np.median(times[name]))
      row |= {"run_updates_per_second": speed, "peak_mib": runner.peak_mib}
      row |= {"rounds": times[name].tolist()}
      report.add(row, f"{name:15s} {tuple(case)} {speed:10.0f} updates/s")


def passes(report: Report, size: dict, rounds: int, turn: float) -> None:
  """The kernels alone, of a loss on the last state; of three sizes."""
  del size
  small = report.interpret
  chosen = [
    (n, seeds, precision, warps)
    for precision in ("tf32x3", "tf32", "highest")
    for n in ((8,) if small else (50, 128, 160))
    for seeds in ((2,) if small else (64, 1024))
    for warps in ((1,) if small else (4, 8, 16))
    if not (precision == "highest" and n > 64)
  ]
  # Lowered one after the other: the number of warps is patched meanwhile.
  lowered, given = [], []
  for one in chosen:
    if not report.left(0.5):
      break
    programs, operands = _lowered_passes(small, *one)
    lowered += [program.compile for program in programs]
    given += operands
  made = _side_by_side(lowered, report.left(0.5))
  for i, one in enumerate(chosen):
    names = ("units", "seeds", "precision", "warps")
    row = dict(zip(names, one, strict=True))
    if report.is_late(f"passes: {one}"):
      continue
    for name, j in (("forward", 2 * i), ("backward", 2 * i + 1)):
      if isinstance(made[j], Exception):
        row["error"] = str(made[j])[:500]
      else:
        run = functools.partial(made[j], *given[j])
        row[name] = 1e6 * float(np.median(seconds_of(run, rounds, turn)))
    report.add(row, f"passes {row}")


def _lowered_passes(small, units, seeds, precision, warps):
  """(two lowered passes, their arguments)."""
  from steadygrad.kernels import _pallas_gpu

  case = kernel_cases.Case(units=units, seeds=seeds, precision=precision)
  if small:
    case = case._replace(length=10, batch=2)
  w_rec, drives, x_0, dhs, _ = map(jnp.asarray, kernel_cases.operands(case))
  scan = elman_scan(
    "x",
    "tanh",
    implementation="pallas_gpu",
    precision=precision,
    interpret=small,
  )
  forward = jax.jit(jax.vmap(lambda *a: scan.forward(*a)[0]))
  backward = jax.jit(jax.vmap(lambda *a: scan.backward(*a)[0]))
  given = (w_rec, drives, x_0), (w_rec, x_0, drives, drives, dhs)
  with mock.patch.object(_pallas_gpu, "num_warps", lambda *_: warps):
    return (forward.lower(*given[0]), backward.lower(*given[1])), given


def parts(report: Report, size: dict, rounds: int, turn: float) -> None:
  """Each dispatched alone, so that launches count; microseconds."""
  for seeds in (2,) if report.interpret else (64, 1024):
    if report.is_late(f"parts: {seeds}"):
      continue
    one = CENTRE | {"seeds": seeds}
    one |= {"length": 10, "units": 8} if report.interpret else {}
    lowered, given = _parts(batch=size["batch"], **one)
    made = _side_by_side([p.compile for p in lowered.values()], report.left())
    row = dict(one)
    for name, program in zip(lowered, made, strict=True):
      if not isinstance(program, Exception):
        run = functools.partial(program, *given)
        row[name] = 1e6 * float(np.median(seconds_of(run, rounds, turn)))
    report.add(row, f"parts {row}")


def _parts(length: int, units: int, batch: int, seeds: int) -> tuple:
  """({stage: lowered program}, their arguments)."""
  config = TaskConfig(
    length=length, hidden_size=units, batch_size=batch, seeds=seeds
  )
  exp, data = training.experiment(config), training.Data()
  run = adjoints(exp.model, exp.loss, has_aux=True)

  def batch_of(key, state):
    return exp.batches.draw(data, key, state.step, state.carry, state.params)

  def forward(key, state):
    us, cell = batch_of(key, state)[0].us, exp.model.cell
    x_0 = cell.initial_state(state.params["cell"], batch)
    return cell.fused.forward(state.params["cell"], us, x_0, None)[0][-1]

  def trajectory(key, state):
    return run(state.params, *batch_of(key, state))

  def whole(key, state):
    return training.update(exp, data, key, state)[0].params

  stages = {
    "sample": lambda *a: batch_of(*a)[0].us,
    "forward": forward,
    "backward": lambda *a: trajectory(*a)[2].deltas[0],
    "gradient": lambda *a: trajectory(*a)[1],
    "update": whole,
  }
  keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
  states = jax.vmap(functools.partial(training.init, exp))(keys)
  lowered = {
    name: jax.jit(jax.vmap(stage)).lower(keys, states)
    for name, stage in stages.items()
  }
  return lowered, (keys, states)


def moved(report: Report, size: dict, rounds: int, turn: float) -> None:
  """See `traffic`; of one network, so that seeds do not matter."""
  del rounds, turn
  for one in _sizes(size | {"seeds": size["seeds"][:1]}):
    for algorithm in size["algorithms"]:
      case = peers.Case(algorithm, batch=size["batch"], **one)
      if not report.is_late(f"traffic: {tuple(case)}"):
        row = case._asdict() | traffic.of_update(case)
        report.add(row, f"traffic {row}")


def predicted(report: Report, size: dict, rounds: int, turn: float) -> None:
  """See `predictions`; they take no time."""
  del size, rounds, turn
  for row in predictions.rows():
    report.add(row, f"predicted {row}")


_RUN = {
  "card": card,
  "cases": cases,
  "updates": updates,
  "passes": passes,
  "parts": parts,
  "traffic": moved,
  "predictions": predicted,
}


def run(  # noqa: PLR0913 (its arguments are flags)
  *,
  sections: Sequence[str] = tuple(SECTIONS),
  lengths: Sequence[int] = (100, 1000),
  units: Sequence[int] = (50, 128, 256, 512),
  seeds: Sequence[int] = (1, 8, 64, 256, 1024),
  batch: int = 20,
  algorithms: Sequence[str] = ("msgd_c", "msgd_cr"),
  implementations: Sequence[str] = tuple(IMPLEMENTATIONS),
  rounds: int = 3,
  seconds: float = 0.1,
  limit: float = 140.0,
  keep: Callable[[dict], None] = lambda _: None,
) -> None:
  """Runs the sections, one after the other.

  Args:
    sections: any of `SECTIONS`, in this order.
    lengths: values of T; one of these three is varied at a time.
    units: values of N.
    seeds: values of S.
    batch: B.
    algorithms: any of msgd, msgd_c and msgd_cr.
    implementations: any of `IMPLEMENTATIONS`.
    rounds: turns of each.
    seconds: about how long one turn lasts.
    limit: about how many seconds all of it may take.
    keep: is given the record so far after every row.
  """
  size = {"length": lengths, "units": units, "seeds": seeds, "batch": batch}
  size |= {"algorithms": algorithms, "implementations": implementations}
  report = Report(dict(size), limit, keep)
  for section in SECTIONS:
    if section in sections:
      report.begin(section)
      _RUN[section](report, size, rounds, seconds)
