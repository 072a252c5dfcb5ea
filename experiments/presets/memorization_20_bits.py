"""Noiseless memorisation of ten symbols of five values.

  python experiments/sweep.py --preset=memorization_20_bits \\
    --sweep_dir=runs/tasks

70 runs, at most 2,200,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I]. From `orthogonal_quiet` the
symbols stay in the state, small, and the readout has to grow. Under a joint
norm it hardly does: the gradient of the cell, mostly of its bias and W_rec, is
250 to 1350 times the readout's and turns with every update. With a rate and a
norm of its own the readout learns in 2000 to 5000 updates.
"""

_OURS = {
  "task": "memorization_20_bits",
  "init": "orthogonal_quiet",
  "hidden_size": 100,
  "max_norm": 0.1,
  "omega_weight": 4.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
}
# The readout by a rate and a norm of its own.
APART = _OURS | {
  "length": [50, 100, 150, 200],
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "learning_rate": 0.01,
  "readout_learning_rate": 10.0,
  "max_updates": 20_000,
}
# Clipped once, as the paper does.
JOINT = _OURS | {"algorithm": "msgd_cr", "max_updates": 100_000}
GRIDS = [
  APART,
  JOINT | {"length": 50, "learning_rate": 0.3},
  JOINT | {"length": 100, "learning_rate": 0.1},
]
