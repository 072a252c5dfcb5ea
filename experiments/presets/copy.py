"""The copying problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=copy --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: Arjovsky, Shah, Bengio (2016) for the task.
"""

GRIDS = [
  # Ours: from `orthogonal_quiet`, where error signals reach back far.
  {
    "task": "copy",
    "length": [50, 100, 150, 200],
    "init": "orthogonal_quiet",
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],
    "hidden_size": 100,
    "learning_rate": 0.01,
    "max_norm": 1.0,
    "omega_weight": 4.0,
    "seeds": 5,
    "first_seed": 100,  # Chosen with others.
    "max_updates": 100_000,
  },
]
