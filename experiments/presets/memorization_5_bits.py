"""Noiseless memorisation of five bits.

  python experiments/sweep.py --preset=memorization_5_bits \\
    --sweep_dir=runs/tasks

50 runs, at most 10,000,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I].
"""

GRIDS = [
  # Ours.
  {
    "task": "memorization_5_bits",
    "length": [10, 50, 100, 150, 200],  # [I]: 50 to 200
    "init": "basic_tanh",
    "algorithm": ["msgd_c", "msgd_cr"],
    "hidden_size": 50,
    "learning_rate": 0.1,
    "max_norm": 1.0,
    "omega_weight": 0.5,
    "seeds": 5,
    "max_updates": 200_000,
  },
]
