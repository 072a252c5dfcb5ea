"""The copying problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=copy --sweep_dir=runs/tasks

65 runs, at most 1,700,000 updates.

Source: Arjovsky, Shah, Bengio (2016) for the task. The settings are those of
`memorization_20_bits`, for the same reason, with more units for its ten symbols
of eight values.
"""

_OURS = {
  "task": "copy",
  "init": "orthogonal_quiet",
  "hidden_size": 128,
  "max_norm": 0.1,
  "omega_weight": 4.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
}
GRIDS = [
  _OURS
  | {
    "length": [50, 100, 150, 200],
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],
    "learning_rate": 0.01,
    "readout_learning_rate": 10.0,
    "max_updates": 20_000,
  },
  # Clipped once, as the paper does.
  _OURS
  | {
    "length": 50,
    "algorithm": "msgd_cr",
    "learning_rate": 0.2,
    "max_updates": 100_000,
  },
]
