"""Spikes and recoveries of a run, against a loop over its losses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from steadygrad import training
from steadygrad.runs import directories, store
from steadygrad.training import Data, TaskConfig, stability


def by_hand(losses, clipped):
  """The record, by the definitions."""
  past, spikes, open_at, bound, longest = [], 0, None, 0, 0
  learned_at = None
  for t, loss in enumerate(losses):
    last = losses[max(t - 19, 0) : t + 1]
    if learned_at is None and np.sum(last < 0.05) >= 18:
      learned_at = t + 1
    if not np.isfinite(loss):
      continue
    if open_at is not None and loss <= bound:
      longest, open_at = max(longest, t - open_at), None
    if len(past) >= 200:
      limit = np.mean(past[-200:]) + 7 * np.std(past[-200:]) + 0.05
      if loss > limit:
        spikes += 1
        if open_at is None:
          open_at, bound = t, limit
    past.append(loss)
  return {
    "updates": len(losses),
    "spikes": spikes,
    "nonfinite": int(np.sum(~np.isfinite(losses))),
    "largest_loss": np.max(past),
    "clipped": int(clipped.sum()),
    "skipped": 0,
    "longest_recovery": longest,
    "recovering_for": 0 if open_at is None else len(losses) - open_at,
    "learned_at": learned_at,
  }


def counted(losses, clipped):
  def one(seen, given):
    info = dict(zip(("loss", "clipped"), given, strict=True))
    return stability.update(seen, info), None

  scan = jax.jit(lambda *x: jax.lax.scan(one, stability.init(), x)[0])
  return jax.device_get(scan(losses, clipped))


def sequences():
  rng = np.random.default_rng(0)
  losses = rng.gamma(9, 0.1, (4, 900))
  losses[:, [100, 300, 640]] += 60  # The first is before the window is full.
  losses[0, 301:330] += 40  # The second takes 30 updates to be over.
  losses[1, [302, 303]] = np.nan, np.inf
  losses[2, 700:] = 1e-3  # Learned; a blip of .04 is none of a spike.
  losses[2, [730, 760]] = 0.04, 0.9
  losses[3, 880:] += 200  # Not over at the end.
  return losses.astype(np.float32), rng.random((4, 900)) < 0.3


def test_spikes_recoveries_and_what_is_learned():
  losses, clipped = sequences()
  seen = jax.vmap(counted)(losses, clipped.astype(np.float32))
  wanted = [by_hand(*x) for x in zip(losses, clipped, strict=True)]
  for i, one in enumerate(wanted):
    got = stability.told(jax.tree.map(lambda x, i=i: x[i], seen))
    np.testing.assert_allclose(got.pop("largest_loss"), one.pop("largest_loss"))
    assert got == one
  assert [w["longest_recovery"] for w in wanted][0] == 30
  assert wanted[2]["learned_at"] and not wanted[0]["learned_at"]
  assert wanted[3]["recovering_for"] == 20
  assert all(w["spikes"] >= 2 for w in wanted)


def test_a_total_over_steps_is_a_mean_and_rules_may_tell_nothing():
  info = {"loss": jnp.float32(6), "steps": jnp.float32(3)}
  seen = jax.jit(stability.update)(stability.init(), info)
  told = stability.told(jax.device_get(seen), unit=2.0)
  assert (told["largest_loss"], told["clipped"], told["updates"]) == (4, 0, 1)


SMALL = TaskConfig(
  length=10, hidden_size=3, batch_size=2, check_every=4, check_size=2,
  test_size=2, max_updates=8, algorithm="msgd_c", max_norm=1e-3,
)  # fmt: skip


def after(exp, n):
  """The state after so many updates, by a program of its own."""
  key = jax.random.key(0)
  step = jax.jit(lambda s: training.advance(exp, Data(), key, s, n))
  return jax.device_get(step(training.init(exp, key)))


def test_every_update_is_counted_and_none_looks_at_it(monkeypatch):
  """The parameters have the bits of a chunk that counts nothing."""
  exp = training.experiment(SMALL)
  state = after(exp, 8)
  told = stability.told(state.stability)
  assert (told["updates"], told["clipped"]) == (8, 8)
  assert told["largest_loss"] >= state.sums["loss"] / 8
  monkeypatch.setattr(stability, "update", lambda seen, info: seen)
  plain = after(exp, 8)
  assert not plain.stability.updates
  chex.assert_trees_all_equal(state._replace(stability=plain.stability), plain)
  # A state that was saved before there was this begins to count.
  arrays = {
    k: x[None]
    for k, x in store.flatten(state).items()
    if not k.startswith("state.stability")
  }
  read = directories._state_of(state, arrays)
  chex.assert_trees_all_equal(read, plain)
