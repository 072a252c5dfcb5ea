"""Fig. 7: which method learns temporal order at which length, from which start.

  python experiments/sweep.py --preset=figure_7 --sweep_dir=runs/figure_7
  python experiments/draw.py --figure=success_rate --records=runs/figure_7

225 runs, at most 22,500,000 updates. `--length=50` runs a part of it; the
records of all parts lie in the one directory.

Source: ICML, section 4.1 [I]; batch 20 in the authors' code [C]. The budget is
ours: the paper's is 5,000,000 updates [I].
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": [50, 100, 150, 200, 250],  # [I]
    "init": ["sigmoid", "basic_tanh", "smart_tanh"],  # [I]
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],  # [I]
    "hidden_size": 50,  # [I]
    "batch_size": 20,  # [C]
    "learning_rate": 0.01,  # [I]
    "max_norm": 1.0,  # [I]
    "omega_weight": 4.0,  # [I]; the code's default is 2 [C]
    "seeds": 5,  # [I]
    "max_updates": 100_000,
  }
]
