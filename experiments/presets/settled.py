"""Networks for 50 to 200 steps that go on until they can wait.

  python experiments/sweep.py --preset=one_model --sweep_dir=runs/one_model
  python experiments/sweep.py --preset=settled --starts=runs/one_model \\
    --sweep_dir=runs/settled
  python experiments/evaluate.py --test=lengths --runs=runs/settled

15 runs, at most 4,000,000 updates, from the networks of `one_model`, solved
ones and others; --seeds and --first_seed choose. At 50 to 200 steps a network
waits for at most 39 of them for the first symbol, and after more distractors
it answers as if one of the symbols had come (`--test=waits`). Here every
sequence begins with a state that must be forgotten before the first symbol
comes, so that the state in which it waits attracts. Without Ω, which wants no
error signal to fade, and at a small rate.

Source: ours. Chosen with seed 0 (scales .1 to 1, rates .0003 and .001, weights
0 to 4).
"""

_OURS = {
  "task": "temporal_order",
  "length": 50,
  "max_length": 200,
  "init": "basic_tanh",
  "algorithm": "msgd_c",
  "learning_rate": 0.0003,
  "max_norm": 1.0,
  "initial_state_scale": 0.5,
  "max_updates": 150_000,
  "solved_below": 1e-4,
  "go_on": True,
}
_NAME = "temporal_order-50_200-basic_tanh-msgd_cr"
GRIDS = [
  # From networks under 1 % wrong, and from those with none of 10000 wrong.
  _OURS | {"start": f"{_NAME}-44efb209", "seeds": 5, "max_updates": 500_000},
  _OURS | {"start": f"{_NAME}-06cc92a6", "seeds": 10},
]
