"""Networks for 50 to 200 steps that go on until they can wait.

  python experiments/sweep.py --preset=one_model --sweep_dir=runs/one_model
  python experiments/sweep.py --preset=settled --starts=runs/one_model \\
    --sweep_dir=runs/settled
  python experiments/generalise.py --runs=runs/settled

5 runs, at most 750,000 updates, from the networks of `one_model`'s second grid.
At 50 to 200 steps a network waits at most 39 of them for the first symbol, and
where it waits is as a rule a saddle: after more distractors it is in the state
of one of the symbols (`waits.py`). Here every sequence begins with a state that
must be forgotten before the first symbol comes, which makes the waiting state
attract. Without Ω, which wants no error signal to fade and so no state to
attract, and at a small rate.

Source: ours. Chosen with seed 0 (scales .1 to 1, rates .0003 and .001, weights
0 to 4).
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,
    "max_length": 200,
    "start": "temporal_order-50_200-basic_tanh-msgd_cr-06cc92a6",
    "init": "basic_tanh",
    "algorithm": "msgd_c",
    "learning_rate": 0.0003,
    "max_norm": 1.0,
    "initial_state_scale": 0.5,
    "seeds": 5,
    "max_updates": 150_000,
    "solved_below": 1e-4,
    "go_on": True,
  },
]
