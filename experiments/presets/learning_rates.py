"""Each method at three learning rates: clipping and Omega change the step size.

  python experiments/sweep.py --preset=learning_rates --sweep_dir=runs/figure_7
  python experiments/draw.py --figure=learning_rates --records=runs/figure_7

45 runs, at most 4,500,000 updates. A third of them are runs of `figure_7` and
are not repeated in its directory.

Source: the paper has the rate 0.01 [I]; the two others are ours.
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,
    "init": "basic_tanh",
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],
    "learning_rate": [0.001, 0.01, 0.1],
    "seeds": 5,
    "max_updates": 100_000,
  }
]
