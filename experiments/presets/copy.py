"""The copying problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=copy --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: Arjovsky, Shah, Bengio (2016) for the task. The settings are those of
`memorization_20_bits`, for the same reason, with more units for its ten symbols
of eight values.
"""

_OURS = {
  "task": "copy",
  "init": "orthogonal_quiet",
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "hidden_size": 128,
  "max_norm": 0.1,
  "omega_weight": 4.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
  "max_updates": 100_000,
}
GRIDS = [
  _OURS | {"length": 50, "learning_rate": 0.2},
  _OURS | {"length": [100, 150, 200], "learning_rate": 0.1},
]
