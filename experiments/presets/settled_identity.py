"""Networks from the identity that go on until they can wait.

  python experiments/sweep.py --preset=identity_start --task=temporal_order \\
    --algorithm=msgd_cr --length=50 --max_length=200 --solved_below=1e-4 \\
    --sweep_dir=runs/identity
  python experiments/sweep.py --preset=settled_identity \\
    --starts=runs/identity --sweep_dir=runs/settled_identity
  python experiments/evaluate.py --test=lengths --runs=runs/settled_identity

5 runs, at most 750,000 updates. Random initial states, as in `settled`, and
smoothed labels besides. Cross-entropy asks for nothing more once an answer is
right, so that a state which drifts too slowly to fail within a hundred steps is
left to drift. A smoothed label asks for one margin after every wait.

Source: ours. Chosen with seed 1 and others (rates .0003 to .01, smoothing .1
and .3).
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,
    "max_length": 200,
    "init": "identity_quiet",
    "start": "temporal_order-50_200-identity_quiet-msgd_cr-898168bd",
    "algorithm": "msgd_c",
    "learning_rate": 0.001,
    "max_norm": 1.0,
    "initial_state_scale": 0.5,
    "label_smoothing": 0.1,
    "seeds": 5,
    "first_seed": 100,
    "max_updates": 150_000,
    "solved_below": 1e-4,
    "go_on": True,
  },
]
