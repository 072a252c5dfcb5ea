"""Thresholds from half to ten times the average norm: do all of them converge?

  python experiments/sweep.py --preset=thresholds --sweep_dir=runs/thresholds
  python experiments/draw.py --figure=thresholds --records=runs/thresholds

30 runs, at most 3,000,000 updates.

Source: section 3.2 [I]. The average gradient norm of MSGD-CR at this length is
12 (32 seeds, every check of `results/temporal_order_50_32_seeds.json`); the
thresholds are .5, 1, 2, 5 and 10 times that, and the paper's 1 [I] beside them.
"""

AVERAGE_NORM = 12.0

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,
    "init": "basic_tanh",
    "algorithm": "msgd_cr",
    "max_norm": [1.0, *[k * AVERAGE_NORM for k in (0.5, 1, 2, 5, 10)]],
    "seeds": 5,
    "max_updates": 100_000,
  }
]
