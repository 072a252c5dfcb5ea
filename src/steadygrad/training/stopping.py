"""When a seed has done what it was asked to, and what is kept of it.

`until_solved` asks for an error on fresh sequences of a task. `by_patience`
validates on a part of a corpus, keeps the best parameters, and halves the
learning rate. Both are pure: one seed is written here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from steadygrad import numerics, varying
from steadygrad._unroll import select
from steadygrad.data.corpus import SPLITS
from steadygrad.training import evaluation
from steadygrad.training.batches import Data
from steadygrad.training.state import Status, Stream, TrainState
from steadygrad.types import Array, Model, PyTree, Task


class Stopping(NamedTuple):
  """When a seed ends; pure functions.

  Attributes:
    init: params -> verdict, which has a `status`.
    judge: (data, key, state) -> (state, info), after each period of the
      batches; info is {name: float []}.
    active: verdict -> whether the seed trains on, bool [].
    test: (data, key, state) -> {name: array}, what is measured at the end.
  """

  init: Callable[[PyTree], Any]
  judge: Callable[[Data, Array, TrainState], tuple[TrainState, dict]]
  active: Callable[[Any], Array]
  test: Callable[[Data, Array, TrainState], dict[str, Array]]


class Solving(NamedTuple):
  """The verdict of `until_solved`.

  Attributes:
    status: a `Status`, int32 [].
    solved_at: updates at the first passing check, −1 before, int32 [].
    relapses: failing checks after the first passing one, int32 [].
  """

  status: Array
  solved_at: Array
  relapses: Array


def until_solved(
  task: Task, model: Model, check_size: int, test_size: int, *, go_on: bool
) -> Stopping:
  """A seed ends when it has solved the task, or diverged.

  The error is measured on `check_size` fresh sequences; where that passes, on
  `test_size` others, which decide. It is that of the running average of the
  parameters, where there is one. A seed has diverged when a parameter is not
  finite.

  Args:
    task: the task.
    model: the model.
    check_size: sequences of the screen.
    test_size: sequences that decide.
    go_on: whether a seed trains on after its first success, and counts the
      checks that fail again.

  Raises:
    ValueError: if the task does not say what is wrong, or how much of it a
      guess gets wrong, beside which its records show every error.
  """
  for name in ("wrong", "chance_error"):
    if getattr(task, name) is None:
      raise ValueError(
        f"task {task.name} must have {name} to be trained until it is solved,"
        " got None; a loop of your own needs neither"
      )

  def init(params):
    del params
    zero = jnp.zeros([], jnp.int32)
    return Solving(zero, zero - 1, zero)

  def judge(data, key, state):
    del data
    verdict = state.verdict
    sizes = check_size, test_size
    error = _checked_error(task, model, sizes, key, state.step, state.shown)
    finite = numerics.all_finite(state.params)
    passed = (error < task.solved_below) & finite
    was_solved = verdict.solved_at >= 0
    status = jnp.where(was_solved | passed, Status.SOLVED, Status.RUNNING)
    status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
    now = passed & ~was_solved
    verdict = Solving(
      status=status,
      solved_at=jnp.where(now, state.step, verdict.solved_at),
      relapses=verdict.relapses + (was_solved & ~passed).astype(jnp.int32),
    )
    return state._replace(verdict=verdict), {"error": error}

  def active(verdict):
    running = verdict.status == Status.RUNNING
    return running | (verdict.status == Status.SOLVED) if go_on else running

  def test(data, key, state):
    del data
    key = jax.random.fold_in(key, Stream.TEST)
    error = evaluation.error(task, model, state.shown, key, test_size)
    return {"test_error": error}

  return Stopping(init, judge, active, test)


def _checked_error(
  task: Task,
  model: Model,
  sizes: tuple[int, int],
  key: Array,
  step: Array,
  params: PyTree,
) -> Array:
  """Error of the screen, or of the sample that decides where that passes."""
  batch_size = evaluation.batch_size_for(*sizes)
  seen = jnp.array([Stream.CHECK, Stream.CONFIRM])

  # A loop over the two stages, so that the evaluation is compiled once.
  def measure(stage, error):
    stream_key = jax.random.fold_in(key, seen[stage])
    step_key = jax.random.fold_in(stream_key, step)
    size = jnp.array(sizes)[stage]
    needed = (stage == 0) | (error < task.solved_below)
    wrong = evaluation.count_wrong(
      task,
      model,
      params,
      step_key,
      batch_size,
      jnp.where(needed, size // batch_size, 0),
    )
    share = wrong.astype(jnp.float32) / size.astype(jnp.float32)
    return jnp.where(needed, share, error)

  start = varying.alike(jnp.float32(jnp.nan), params, step, key)
  return jax.lax.fori_loop(0, len(sizes), measure, start)


class Patience(NamedTuple):
  """The verdict of `by_patience`.

  Attributes:
    status: a `Status`, int32 [].
    epoch: passes completed, int32 [].
    rate: learning rate, [].
    best_params: at the best validation error; of the average, with one.
    best_valid: the best validation error, nats per step, [].
    best_epoch: pass after which that was, int32 [].
    last_valid: validation error of the last pass, [].
    waited: passes since the best one or the last halving, int32 [].
  """

  status: Array
  epoch: Array
  rate: Array
  best_params: PyTree
  best_valid: Array
  best_epoch: Array
  last_valid: Array
  waited: Array


class Halving(NamedTuple):
  """When the learning rate is halved, and when a seed ends.

  Attributes:
    patience: passes without a new best validation error that end a seed.
    max_halvings: of the learning rate; one more ends a seed.
    min_gain: the rate is halved where the validation error is not below
      (1 − min_gain) times that of the pass before.
    halve_after: if given, it is halved after so many passes that were not the
      best so far, whatever min_gain is.
    go_back: whether a halving goes back to the best parameters.
  """

  patience: int
  max_halvings: int
  min_gain: float = 0.0
  halve_after: int | None = None
  go_back: bool = False


def by_patience(
  rule: Halving,
  rate: float | Array,
  evaluate: Callable[[Data, str, PyTree], Array],
  steps: Callable[[Data, str], Array],
  begin: Callable[[PyTree, Any], PyTree],
) -> Stopping:
  """A seed ends when its validation error has not fallen for long enough.

  The validation error is that of the running average of the parameters, where
  there is one. The best parameters are kept. A seed has diverged when its
  validation error is not finite; with `go_back` and a best to go back to, it
  goes back instead, and the next pass is compared with the best.

  At the end the best parameters are tested: "train_losses", "valid_losses" and
  "test_losses" are what `evaluate` gives of them.

  Args:
    rule: see `Halving`. arXiv v2's appendix halves when the error rises, which
      is min_gain 0; Mikolov's rnnlm has .003.
    rate: learning rate of the first pass; may be traced.
    evaluate: (data, split, params) -> total loss of each piece, in nats.
    steps: (data, split) -> steps of that split.
    begin: (params, verdict) -> state of the chain before its first update.
  """
  # Half a halving of room for rounding.
  least = rate * 2 ** -(rule.max_halvings + 0.5)

  def init(params):
    zero, inf = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf)
    first = jnp.asarray(rate, jnp.float32)
    return Patience(zero, zero, first, params, inf, zero, inf, zero)

  def judge(data, key, state):
    del key
    old = state.verdict
    totals = evaluate(data, "valid", state.shown)
    valid = jnp.sum(totals) / steps(data, "valid").astype(totals.dtype)
    finite = jnp.isfinite(valid) & numerics.all_finite(state.params)
    valid = jnp.where(finite, valid, jnp.inf)
    better = valid < old.best_valid
    waited = jnp.where(better, 0, old.waited + 1)
    halves = _halves(rule, old, valid, waited, finite)
    epoch = old.epoch + 1
    best_epoch = jnp.where(better, epoch, old.best_epoch)
    new_rate = jnp.where(halves, old.rate / 2, old.rate)
    over = (epoch - best_epoch >= rule.patience) | (new_rate < least)
    status = jnp.where(over, Status.STOPPED, Status.RUNNING)
    verdict = Patience(
      status=status,
      epoch=epoch,
      rate=new_rate,
      best_params=select(better, state.shown, old.best_params),
      best_valid=jnp.minimum(valid, old.best_valid),
      best_epoch=best_epoch,
      last_valid=valid,
      waited=jnp.where(halves, 0, waited),
    )
    state = state._replace(verdict=verdict)
    if rule.go_back:
      state = _gone_back(state, halves, begin)
      finite |= best_epoch > 0
    status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
    verdict = state.verdict._replace(status=status)
    return state._replace(verdict=verdict), {"valid": valid, "rate": old.rate}

  def test(data, key, state):
    del key
    best = state.verdict.best_params
    return {f"{s}_losses": evaluate(data, s, best) for s in SPLITS}

  return Stopping(
    init, judge, lambda verdict: verdict.status == Status.RUNNING, test
  )


def _halves(
  rule: Halving, old: Patience, valid: Array, waited: Array, finite: Array
) -> Array:
  """Whether the learning rate is halved after a pass, bool []."""
  halves = ~(valid < (1 - rule.min_gain) * old.last_valid)
  if rule.halve_after is not None:
    halves = waited >= rule.halve_after
  return halves | ~finite if rule.go_back else halves


def _gone_back(
  state: TrainState, halves: Array, begin: Callable[[PyTree, Any], PyTree]
) -> TrainState:
  """The state at the best parameters, where the rate was halved."""
  verdict = state.verdict
  back = halves & (verdict.best_epoch > 0)
  params = select(back, verdict.best_params, state.params)
  average = state.average
  if average is not None:
    average = select(back, verdict.best_params, average)
  blank = begin(params, verdict)
  last_valid = jnp.where(halves, verdict.best_valid, verdict.last_valid)
  return state._replace(
    params=params,
    average=average,
    opt_state=select(halves, blank, state.opt_state),
    verdict=verdict._replace(last_valid=last_valid),
  )
