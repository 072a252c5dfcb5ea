"""The copying problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=copy --sweep_dir=runs/tasks

40 runs, at most 8,000,000 updates.

Source: Arjovsky, Shah, Bengio (2016) for the task.
"""

GRIDS = [
  # Ours.
  {
    "task": "copy",
    "length": [10, 50, 100, 200],
    "init": "basic_tanh",
    "algorithm": ["msgd_c", "msgd_cr"],
    "hidden_size": 50,
    "learning_rate": 0.1,
    "max_norm": 1.0,
    "omega_weight": 4.0,
    "seeds": 5,
    "max_updates": 200_000,
  },
]
