"""The adding problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=adding --sweep_dir=runs/tasks

60 runs, at most 12,000,000 updates.

Source: Le, Jaitly, Hinton (2015) and Arjovsky, Shah, Bengio (2016) for the
task; the settings are ours.
"""

_OURS = {
  "task": "adding",
  "length": 10,
  "init": "orthogonal",
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "hidden_size": 50,
  "max_norm": 1.0,
  "omega_weight": 2.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
}
GRIDS = [
  # Ours: an orthogonal start, short sequences among the long ones, and a rate
  # that falls.
  _OURS
  | {
    "max_length": 100,
    "learning_rate": 0.06,
    "learning_rate_half_life": 20_000,
    "max_updates": 150_000,
  },
  _OURS
  | {
    "max_length": 200,
    "learning_rate": 0.06,
    "learning_rate_half_life": 40_000,
    "max_updates": 250_000,
  },
  # At a constant rate.
  _OURS
  | {
    "max_length": [100, 200],
    "learning_rate": 0.03,
    "max_updates": 200_000,
  },
]
