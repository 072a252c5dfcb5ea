"""Noiseless memorisation of ten symbols of five values.

  python experiments/sweep.py --preset=memorization_20_bits \\
    --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I]. From `orthogonal_quiet` the
symbols stay in the state, small, and the readout has to grow (its norm from 2.5
to 16): a large rate with a small threshold, each update a step of .03, has
1.6 % wrong after 40000 updates over 50 blanks, where rate .01 and threshold 1
has 53 % (seed 0). Over 200 such steps lose W_rec (a spectral radius of 4.6
after 8000 updates), and steps of .01 do not.
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
