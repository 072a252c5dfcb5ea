"""Sigmoid units from a start at which error signals keep their norm.

  python experiments/sweep.py --preset=sigmoid_start --sweep_dir=runs/sigmoid

10 runs, at most 1,000,000 updates.

Source: ours, beside the paper's sigmoid units, all N(0, .01), in `figure_7`;
the other settings are those. In the h-form from h_0 = 0, as there.
"""

GRIDS = [
  # Ours.
  {
    "task": "temporal_order",
    "length": 50,
    "init": "orthogonal_sigmoid",
    "activation": "sigmoid",
    "form": "h",
    "algorithm": ["msgd_c", "msgd_cr"],
    "seeds": 5,
    "max_updates": 100_000,
  }
]
