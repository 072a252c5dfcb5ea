"""Noiseless memorisation of ten symbols of five values.

  python experiments/sweep.py --preset=memorization_20_bits \\
    --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I].
"""

GRIDS = [
  # Ours: from `orthogonal_quiet`, where error signals reach back far.
  {
    "task": "memorization_20_bits",
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
