"""The modes of Omega at equal budget: ratio, reduction, and form of the state.

  python experiments/sweep.py --preset=omega_modes --sweep_dir=runs/omega_modes
  python experiments/draw.py --figure=omega_modes --records=runs/omega_modes

64 runs, at most 3,200,000 updates.

Source: eq. 9 is (norm, sum) [I], the authors' code (squared, mean) in the
h-form [C]. Weight 4 in all [I], so a sum over 50 steps weighs 50 times as much.
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,
    "init": "basic_tanh",
    "algorithm": "msgd_cr",
    "form": ["x", "h"],
    "omega_ratio": ["squared", "norm"],
    "omega_reduction": ["mean", "sum"],
    "seeds": 8,
    "max_updates": 50_000,
  }
]
