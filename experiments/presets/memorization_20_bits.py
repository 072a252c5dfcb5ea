"""Noiseless memorisation of ten symbols of five values.

  python experiments/sweep.py --preset=memorization_20_bits \\
    --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I]. From `orthogonal_quiet` the
symbols are there after 50 steps, ten of them side by side and small, and what
has to grow is the readout: a large rate with a small threshold, so that each
update is a step of .03, does in 40000 updates what rate .01 and threshold 1 do
not begin with. At 200 steps, steps of .03 lose W_rec (a spectral radius of 4.6
after 8000 updates) and steps of .01 do not.
"""

_OURS = {
  "task": "memorization_20_bits",
  "init": "orthogonal_quiet",
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "hidden_size": 100,
  "max_norm": 0.1,
  "omega_weight": 4.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
  "max_updates": 100_000,
}
GRIDS = [
  _OURS | {"length": 50, "learning_rate": 0.3},
  _OURS | {"length": [100, 150, 200], "learning_rate": 0.1},
]
