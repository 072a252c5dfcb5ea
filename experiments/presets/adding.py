"""The adding problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=adding --sweep_dir=runs/tasks

30 runs, at most 6,000,000 updates.

Source: Le, Jaitly, Hinton (2015) and Arjovsky, Shah, Bengio (2016) for the
task; the settings are ours.
"""

GRIDS = [
  # Ours: an orthogonal start, and short sequences among the long ones.
  {
    "task": "adding",
    "length": 10,
    "max_length": [100, 200],
    "init": "orthogonal",
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],
    "hidden_size": 50,
    "learning_rate": 0.03,
    "max_norm": 1.0,
    "omega_weight": 2.0,
    "seeds": 5,
    "first_seed": 100,  # Chosen with others.
    "max_updates": 200_000,
  },
]
