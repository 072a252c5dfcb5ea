"""Temporal order of three symbols: the paper's settings, and ours.

  python experiments/sweep.py --preset=three_bit_temporal_order \\
    --sweep_dir=runs/tasks

75 runs, at most 12,000,000 updates.

Source: arXiv v2's appendix, from memory [M]. One model for 50 to 200, which
5 of 5 seeds solve [I].
"""

from presets import _quiet

GRIDS = [
  # The paper's: one network for 50 to 200 steps.
  {
    "task": "three_bit_temporal_order",
    "length": 50,  # [I]
    "max_length": 200,  # [I]
    "init": "basic_tanh",  # not read
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],  # [I]
    "hidden_size": 100,  # [M]
    "learning_rate": 0.001,  # [M]
    "max_norm": 6.0,  # [M]
    "omega_weight": 2.0,  # [M]
    "seeds": 5,  # [I]
    "max_updates": 400_000,
  },
  _quiet.at_each_length("three_bit_temporal_order"),
]
