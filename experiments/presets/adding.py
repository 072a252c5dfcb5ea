"""The adding problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=adding --sweep_dir=runs/tasks

50 runs, at most 10,000,000 updates.

Source: Le, Jaitly, Hinton (2015) and Arjovsky, Shah, Bengio (2016) for the
task; the settings are ours.
"""

GRIDS = [
  # Ours.
  {
    "task": "adding",
    "length": [10, 30, 50, 100, 200],
    "init": "basic_tanh",
    "algorithm": ["msgd_c", "msgd_cr"],
    "hidden_size": 50,
    "learning_rate": 0.03,
    "max_norm": 1.0,
    "omega_weight": 0.5,
    "seeds": 5,
    "max_updates": 200_000,
  },
]
